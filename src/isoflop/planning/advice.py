"""What published rules of allocation ask for at a budget, each in its paper's own counts."""

from dataclasses import dataclass

import numpy as np

from isoflop.accounting import FLOPS_PER_PARAM_TOKEN
from isoflop.laws import Estimate, Published, find_published, optimum
from isoflop.planning.counts import BLOCK_FLOPS
from isoflop.planning.frontier import largest_flops

Range = tuple[float, float]

_LAWS = ("hoffmann", "hoffmann_printed", "besiroglu")
_POWERS = (
    "kaplan",
    "hoffmann_approach1",
    "hoffmann_approach2",
    "llama3",
    "deepseek",
    "porian_refinedweb_kaplan",
    "porian_refinedweb_tuned",
)
ORDER = (
    "kaplan",
    "hoffmann_approach1",
    "hoffmann_approach2",
    "hoffmann",
    "hoffmann_printed",
    "besiroglu",
    "llama3",
    "deepseek",
    "porian_refinedweb_kaplan",
    "porian_refinedweb_tuned",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """A paper's compute-optimal size and tokens at one budget, in its own counts."""

    name: str
    title: str
    source: str
    counts: str
    """What its N counts: a convention of parameters, or BLOCK_FLOPS."""
    n_params: float
    n_tokens: float
    a: float
    """Exponent of its N ~ C^a."""
    range_flops: Range | None
    """FLOPs of its runs, by its own count; None where it does not say."""


def advice(name: str, flops: float) -> Advice:
    """What one published rule asks for at a budget [FLOPs, as its paper counts them]."""
    return _of_law(name, flops) if name in _LAWS else _of_powers(name, flops)


def _of_law(name: str, flops: float) -> Advice:
    published = find_published(name)
    component = published.estimate.best
    best = optimum(component.theta, [flops], law=component.law)
    return Advice(
        name=name,
        title=published.title,
        source=published.source,
        counts=published.estimate.n_params_convention,
        n_params=float(best.n_params[0]),
        n_tokens=float(best.n_tokens[0]),
        a=float(best.a),
        range_flops=range_of(published.estimate),
    )


def _of_powers(name: str, flops: float) -> Advice:
    tokens = find_published(f"{name}_optimal_n_tokens")
    n_tokens, b = _power(tokens, flops)
    counts = tokens.estimate.n_params_convention
    if name == "llama3":
        n_params, a = flops / (FLOPS_PER_PARAM_TOKEN * n_tokens), 1 - b
    elif name == "deepseek":
        # Its C is M·D, with M the FLOPs a token; M/6 is what other papers would call N.
        n_params, a, counts = flops / (FLOPS_PER_PARAM_TOKEN * n_tokens), 1 - b, BLOCK_FLOPS
    else:
        n_params, a = _power(find_published(f"{name}_optimal_n_params"), flops)
    return Advice(
        name=name,
        title=tokens.title.removesuffix(": optimal n_tokens"),
        source=tokens.source,
        counts=counts,
        n_params=n_params,
        n_tokens=n_tokens,
        a=a,
        range_flops=range_of((find_published("kaplan") if name == "kaplan" else tokens).estimate),
    )


def _power(published: Published, flops: float) -> tuple[float, float]:
    """c·C^a and a."""
    component = published.estimate.best
    value = component.law.predict(component.theta, {"flops": np.array([flops])})
    return float(value[0]), float(component.theta[1])


def range_of(estimate: Estimate) -> Range | None:
    """Smallest and largest FLOPs behind a law; corners of N and D where no more is known."""
    ranges, largest = estimate.ranges, largest_flops(estimate)
    if "flops" in ranges:
        return ranges["flops"]
    if largest is None:
        return None
    if "n_params*n_tokens" in ranges:
        return FLOPS_PER_PARAM_TOKEN * ranges["n_params*n_tokens"][0], largest
    return FLOPS_PER_PARAM_TOKEN * ranges["n_params"][0] * ranges["n_tokens"][0], largest
