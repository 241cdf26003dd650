"""Why published allocations of one budget differ: short sentences with the numbers of today's."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

from isoflop._errors import InputError
from isoflop.accounting import FLOPS_PER_PARAM_TOKEN, Architecture, ShapeRule, token_flops
from isoflop.planning.advice import Advice, advice
from isoflop.planning.counts import count_under, growth, shape_of
from isoflop.planning.words import count

CHAIN = (
    ("kaplan", "Kaplan's set-up"),
    ("head", "the head counted"),
    ("warmup", "a short warm-up"),
    ("cosine", "the schedule matched to the horizon"),
    ("tuned", "rate, batch and beta2 tuned at every size"),
)
"""Porian et al. 2024, arXiv:2406.19146, RefinedWeb: what is changed, one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One cause of disagreement, in a sentence or two with computed numbers."""

    code: str
    """embeddings, training, flops, rounding, optimiser or range."""
    text: str


def reasons_of(
    flops: float,
    own: Advice,
    shape: Architecture,
    family: ShapeRule,
    outside: Sequence[str],
) -> tuple[Reason, ...]:
    """Why the rules differ at a budget.

    Args:
        flops: the budget.
        own: our allocation.
        shape: a decoder of our size.
        family: the family that it is of.
        outside: the rules whose runs do not reach the budget.
    """
    return (
        Reason(code="embeddings", text=_embeddings(flops, own, shape, family)),
        Reason(code="training", text=_training(flops)),
        Reason(code="flops", text=_flops(own, shape, family)),
        Reason(code="rounding", text=_rounding(flops)),
        Reason(code="optimiser", text=_optimiser(flops)),
        *([Reason(code="range", text=_range(flops, outside))] if outside else []),
    )


def _embeddings(flops: float, own: Advice, shape: Architecture, family: ShapeRule) -> str:
    """What Kaplan's count leaves out, of his model and of ours."""
    context = family.context
    blocks, here, total = (
        count_under(shape, counts, context) for counts in ("non_embedding", own.counts, "total")
    )
    stored = "" if own.counts == "total" else f", {_percent(blocks / total)} of all that are stored"
    first = (
        f"Kaplan et al. count neither embedding nor head: {_percent(blocks / here)} of our "
        f"{count(own.n_params)} parameters{stored}."
    )
    kaplan = advice("kaplan", flops)
    try:
        their = shape_of(family, kaplan.n_params, kaplan.counts)
    except InputError:
        return f"{first} No decoder of this family has the {count(kaplan.n_params)} of theirs."
    ratio = count_under(their, own.counts, context) / count_under(their, kaplan.counts, context)
    steeper = growth(their, own.counts, context) / growth(their, kaplan.counts, context)
    return (
        f"{first} Their {count(kaplan.n_params)} at this budget are {ratio:.3g} times as many in "
        f"our count, and their exponent {kaplan.a:.2f} is {kaplan.a * steeper:.2f} in it here: the "
        "smaller the model, the more the tables of tokens weigh."
    )


def _training(flops: float) -> str:
    """Porian's chain from Kaplan's exponent to Chinchilla's, at this budget."""
    steps = []
    for name, words in CHAIN:
        one = advice(f"porian_refinedweb_{name}", flops)
        steps.append(f"{one.a:.2f} ({words}: {count(one.n_params)})")
    return (
        "On one corpus and ladder the exponent of N falls with how FLOPs are counted and runs are "
        f"trained (N at this budget behind it): {', '.join(steps)}. Source: Porian et al. 2024."
    )


def _flops(own: Advice, shape: Architecture, family: ShapeRule) -> str:
    """What other counts of FLOPs make of our run."""
    here = FLOPS_PER_PARAM_TOKEN * count_under(shape, own.counts, family.context)
    causal, full = (
        token_flops(shape, family.context, counting) / here - 1
        for counting in ("exact_causal", "exact_full")
    )
    kaplan = FLOPS_PER_PARAM_TOKEN * count_under(shape, "non_embedding", family.context) / here - 1
    return (
        f"A budget is counted in several ways. Beside 6·N·D in our count, our run takes "
        f"{_signed(causal)} by its matrices and causal attention at {family.context} tokens, "
        f"{_signed(full)} with attention unmasked, {_signed(kaplan)} as Kaplan counts."
    )


def _rounding(flops: float) -> str:
    """What printed digits do to approach 3 and to Llama 3."""
    exact, printed = advice("hoffmann", flops), advice("hoffmann_printed", flops)
    ratios = [one.n_tokens / one.n_params for one in (exact, printed)]
    llama = advice("llama3", flops)
    # The text of the paper: 0.29 C^0.53.
    text = 0.29 * exp(0.53 * log(flops))
    return (
        f"Printed constants are rounded. Chinchilla's approach 3 asks for {ratios[1]:.3g} tokens a "
        f"parameter here as printed, for {ratios[0]:.3g} unrounded "
        f"({_signed(ratios[1] / ratios[0] - 1)}); Llama 3 for {count(text)} tokens by the digits "
        f"of its text, for {count(llama.n_tokens)} by those of its figure."
    )


def _optimiser(flops: float) -> str:
    """What a converged fit of the same points changes."""
    stopped, refit = advice("hoffmann", flops), advice("besiroglu", flops)
    return (
        "Chinchilla's approach 3 is not the minimum of its own objective: the optimiser stopped "
        f"early. Fitted again to its points it asks for {refit.n_tokens / refit.n_params:.3g} "
        f"tokens a parameter here instead of {stopped.n_tokens / stopped.n_params:.3g}, with "
        f"exponent {refit.a:.2f} instead of {stopped.a:.2f}. Source: Besiroglu et al. 2024."
    )


def _range(flops: float, outside: Sequence[str]) -> str:
    """Which rules are read beyond their runs."""
    return f"{flops:.3g} FLOPs lie outside the runs behind: {'; '.join(outside)}."


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _signed(share: float) -> str:
    """+57 %, -3.1 %."""
    return f"{100 * share:+.2g} %" if abs(share) < 0.0995 else f"{100 * share:+.0f} %"
