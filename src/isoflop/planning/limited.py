"""Data-limited plans: how to split compute between parameters and epochs of the text there is."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array, Interval
from isoflop.laws import Component, Estimate
from isoflop.planning.caps import NO_CAPS, Caps
from isoflop.planning.cheapest import LossOf, drawn, settled
from isoflop.planning.constrained import (
    HALVINGS,
    LARGEST_TOKENS,
    LOG_K,
    REACH,
    Search,
    for_budget,
    for_loss,
    no_serving,
)
from isoflop.planning.frontier import MeanLine, mean_line
from isoflop.planning.losses import (
    HALF_LIFE,
    cheapest_to_train,
    effective_tokens,
    limited_estimate,
    loss_of_law,
    mean_loss_of,
    out_of_reach,
    reaching,
    with_repeats,
)
from isoflop.planning.solve import Solution, interval, run_noise, solve

__all__ = [
    "HALF_LIFE",
    "Limited",
    "effective_tokens",
    "limited_estimate",
    "limited_of",
    "require_unique",
    "solve_limited",
    "with_repeats",
]

_STEP = 1e-4
"""ln N and ln D are moved by this, against each other, to see which way the loss falls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited:
    """The text that a plan has, and how often it reads it."""

    unique_tokens: float
    epochs: Interval
    assumed: bool
    """Whether what a repeat is worth was taken from Muennighoff et al. and not from the runs."""


def solve_limited(
    estimate: Estimate,
    given: Mapping[str, float],
    unique: float,
    level: float,
    *,
    caps: Caps = NO_CAPS,
    log_loss_draws: Array | None = None,
) -> tuple[Solution, Limited]:
    """The best run where only `unique` tokens are distinct.

    Of least loss for `flops`, 6·N·D; of fewest FLOPs for a `loss`; for `n_params` the tokens on
    whose FLOPs no other size is better. A law with `n_unique_tokens` says itself what a repeat is
    worth. For any other, D tokens count as D' = U + U R (1 - exp(-(D/U - 1)/R)), R = 15.4, for all
    of its draws.

    Args:
        estimate: the law.
        given: `flops`, `loss` or `n_params`.
        unique: the U distinct tokens.
        level: level of the intervals.
        caps: the most parameters, tokens and training FLOPs; what a cap leaves of a budget is
            not spent.
        log_loss_draws: ln of the loss that each draw takes `loss` for, less ln of it.

    Raises:
        InputError: something else is given, `unique` is not positive, or the loss is out of
            reach; the text names the cap in the way.

    Source: Muennighoff et al. 2023, arXiv:2305.16264, eq. 5.
    """
    require_unique(unique)
    name, value = _asked(given)
    if name == "n_params" and np.log(value) > caps.log_params:
        raise InputError(
            f"`n_params={value:g}` is more than allowed: {caps.words}. Give a smaller size."
        )
    mean = mean_loss_of(estimate, unique)
    log_n, log_d = _point(name, value, mean, (mean_line(estimate), caps))
    if not np.isfinite(log_d):
        if not np.isfinite(cheapest_to_train(mean_loss_of(estimate, None), value)[1]):
            solve(estimate, given, level)  # raises, and says where the floor lies
        raise InputError(_impossible(mean, value, unique, caps))
    components = drawn(estimate)
    count = sum(len(rows) for _, rows in components)
    targets = np.full(count, value)
    if name == "loss":
        targets *= np.exp(-run_noise(estimate, log_n, log_d, count))
        if log_loss_draws is not None:
            targets *= np.exp(log_loss_draws)
    ends = np.cumsum([len(rows) for _, rows in components])[:-1]
    parts = [
        _of_draws(estimate, component, rows, (name, own, log_n), (unique, caps))
        for (component, rows), own in zip(components, np.split(targets, ends), strict=True)
    ]
    if name == "loss" and np.mean(np.isinf(np.concatenate([d for _, d in parts]))) > 0.5:
        solve(estimate, given, level)  # raises where most draws have a higher floor
    sizes = settled(np.concatenate([n for n, _ in parts]), log_n)
    tokens = settled(np.concatenate([d for _, d in parts]), log_d)
    solution = Solution(
        log_flops=LOG_K + log_n + log_d,
        log_params=log_n,
        log_flops_draws=LOG_K + sizes + tokens,
        log_params_draws=sizes,
        binding=caps.met(log_n, log_d),
    )
    return solution, limited_of(estimate, solution, unique, level)


def limited_of(estimate: Estimate, solution: Solution, unique: float, level: float) -> Limited:
    """How often a solution reads its text."""
    epochs = max(0.0, solution.log_tokens - float(np.log(unique)))
    spread = np.maximum(0.0, solution.log_tokens_draws - np.log(unique))
    alive = [c for c in estimate.components if c.weight > 0]
    return Limited(
        unique_tokens=unique,
        epochs=interval(epochs, spread, level),
        assumed=any("n_unique_tokens" not in c.law.inputs for c in alive),
    )


def require_unique(unique: float) -> None:
    """Raise InputError where a number of distinct tokens cannot be."""
    if not 0 < unique < np.inf:
        raise InputError(
            f"`unique_tokens > 0` must hold, but got unique_tokens={unique}. Leave it out where "
            "text is no limit."
        )


def _asked(given: Mapping[str, float]) -> tuple[str, float]:
    ((name, value),) = given.items() if len(given) == 1 else [("", 0.0)]
    if name not in ("flops", "loss", "n_params"):
        raise InputError(
            "`unique_tokens` needs one of flops (or device_hours, days, usd), loss and n_params, "
            f"but got {', '.join(given) or 'none'}. Keep one of them."
        )
    return name, value


def _point(
    name: str, value: float, loss_of: LossOf, on: tuple[MeanLine, Caps]
) -> tuple[float, float]:
    """ln N and ln D of the plan itself."""
    line, caps = on
    if name == "loss":
        return cheapest_to_train(loss_of, value, caps)
    start = line.log_params(float(np.log(value))) if name == "flops" else 0.0
    log_n, log_d = _spent(name, np.array([value]), loss_of, (start, caps))
    return float(log_n[0]), float(log_d[0])


def _spent(
    name: str, values: Array, loss_of: LossOf, on: tuple[float, Caps]
) -> tuple[Array, Array]:
    """ln N and ln D (B,) of given FLOPs, or of given sizes."""
    start, caps = on
    if name == "n_params":
        log_n = np.log(values)
        top = min(caps.log_tokens, LARGEST_TOKENS)
        return log_n, np.minimum(_balanced(loss_of, log_n, top), caps.log_flops - LOG_K - log_n)
    near = np.full(len(values), start)
    search = Search(low=near - REACH, high=near + REACH)
    return for_budget(loss_of, values, no_serving, caps, search)


def _balanced(loss_of: LossOf, log_n: Array, top: float) -> Array:
    """ln D (B,), at most `top`, at which neither more parameters nor more tokens are better."""
    size = log_n[:, None]
    low, high = np.zeros(size.shape), np.full(size.shape, top)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        larger = loss_of(size + _STEP, middle - _STEP)
        too_few = larger > loss_of(size - _STEP, middle + _STEP)
        low, high = np.where(too_few, middle, low), np.where(too_few, high, middle)
    return np.asarray((low + high)[:, 0] / 2)


def _of_draws(
    estimate: Estimate,
    component: Component,
    draws: Array,
    asked: tuple[str, Array, float],
    limits: tuple[float, Caps],
) -> tuple[Array, Array]:
    """ln N and ln D (B,) of every draw of one law; inf where its loss is out of reach."""
    name, values, start = asked
    unique, caps = limits
    count = len(draws)
    if len(component.draws) == 1 and np.ptp(values) == 0:
        # All draws are one run: it is searched once, as closely as the plan's own.
        draws, values = draws[:1], values[:1]
    if name != "loss":
        loss_of = loss_of_law(component.law, draws, unique)
        log_n, log_d = _spent(name, values, loss_of, (start, caps))
    else:
        near = np.full(len(draws), start)
        search = Search(low=near - REACH, high=near + REACH)
        reach = reaching(estimate, component, draws, values, unique)
        log_n, log_d = for_loss(reach.tokens_for, no_serving, caps, search)
    lost = ~np.isfinite(log_d)
    found = np.where(lost, np.inf, log_n), np.where(lost, np.inf, log_d)
    return np.resize(found[0], count), np.resize(found[1], count)


def _impossible(loss_of: LossOf, loss: float, unique: float, caps: Caps) -> str:
    if caps.words:
        return out_of_reach(loss_of, loss, caps)
    return (
        f"`loss={loss:g}` is not reached by any size, however often {unique:g} distinct tokens are "
        "read. Add text, or ask for a higher loss."
    )
