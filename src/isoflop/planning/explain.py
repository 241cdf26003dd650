"""`explain`: our allocation of a budget beside the published ones, and why they differ.

What to use when:
- `explain(estimate, flops)`: one budget, all rules, our law as the judge.
- `revealed_demand` (`isoflop.planning.revealed`): what a model that was trained says of its use.
"""

from dataclasses import dataclass, replace
from math import exp, inf, log

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array, Interval
from isoflop.accounting import (
    FLOPS_CONVENTIONS,
    FLOPS_PER_PARAM_TOKEN,
    PARAM_CONVENTIONS,
    Architecture,
    ShapeRule,
    token_flops,
)
from isoflop.laws import Estimate
from isoflop.planning.advice import ORDER, Advice, advice, range_of
from isoflop.planning.counts import count_under, growth, shape_of, with_vocabulary
from isoflop.planning.frontier import MeanLine, mean_line
from isoflop.planning.matched import around, matched_draws, matched_log_flops, point_law
from isoflop.planning.reasons import Reason, reasons_of

ROUNDING = 1e-9
"""A share of compute below it is none: a loss has 16 digits, its optimum half of them."""

SLOPE = 0.05
"""Half the distance in ln C over which the exponent of our size is measured."""

_LOG_K = log(FLOPS_PER_PARAM_TOKEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """One rule's size and tokens at the budget, as its paper counts and as our law counts.

    Where no decoder of the rule's family is so small or so large, what is counted `here` is None.
    """

    name: str
    title: str
    source: str
    counts: str
    """What `n_params` counts."""
    n_params: float
    n_tokens: float
    """By the paper's own line; 6·N·D is the budget only nearly, and by its own count."""
    tokens_per_param: float
    a: float
    """Exponent of N ~ C^a, in the paper's own count."""
    n_params_here: float | None = None
    """The same model, counted as our law counts."""
    n_params_total: float | None = None
    n_tokens_here: float | None = None
    """What the budget leaves that model: C/(6·N here)."""
    tokens_per_param_here: float | None = None
    a_here: float | None = None
    """The exponent in our law's count, at this budget and a fixed aspect."""
    loss: float | None = None
    """What our law expects of that model on those tokens."""
    wasted: Interval | None = None
    """Share of the budget: our own allocation reaches that loss with 1 - wasted of it."""
    outside: bool | None = None
    """Whether the budget lies outside the FLOPs of the rule's runs; None where unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Our allocation as it would be reported under one way of counting N and FLOPs."""

    n_params_convention: str
    flops_convention: str
    n_params: float
    n_tokens: float
    """What the budget buys this model, if its FLOPs are counted so."""
    tokens_per_param: float
    flops: float
    """Of our own run, so counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Allocations of one budget side by side."""

    flops: float
    n_params_convention: str
    """What our law's N counts; "unknown" is taken as non_embedding_with_head."""
    shape: Architecture
    """The decoder nearest to our size: its vocabulary is that of every translation."""
    context: int
    ours: Allocation
    others: tuple[Allocation, ...]
    counted: tuple[Counted, ...]
    reasons: tuple[Reason, ...]
    target: str
    level: float


def explain(
    estimate: Estimate, flops: float, *, rule: ShapeRule | None = None, level: float | None = None
) -> Explanation:
    """The allocations of published rules at a budget, beside ours and judged by our law.

    Every rule is given the same number C, as a user would who looks it up; its N is translated
    into our law's count through a decoder of `rule`, and trained on the tokens C/(6·N) that C
    then leaves. None of this makes our law right: it says what it expects.

    Args:
        estimate: a law of n_params and n_tokens.
        flops: C [FLOPs].
        rule: the family of decoders; its vocabulary and context matter most.
        level: level of the intervals; the estimate's own when None.

    Raises:
        InputError: a budget that is not positive, a law of something else, or no decoder of the
            family near our size.
    """
    if not 0 < flops < inf:
        raise InputError(f"`flops > 0` must hold, but got flops={flops}. Give a positive number.")
    level = estimate.level if level is None else level
    if not 0 < level < 1:
        raise InputError(f"`0 < level < 1` must hold, but got level={level}. Use e.g. 0.9.")
    line = mean_line(estimate)
    own = _own(estimate, line, flops)
    shape = shape_of(rule or ShapeRule(), own.n_params, own.counts)
    family = with_vocabulary(rule or ShapeRule(), shape)
    rows = [
        _placed(one, estimate, shape, family, flops)
        for one in (own, *(advice(name, flops) for name in ORDER))
    ]
    judged = _judged(estimate, line, rows, flops, level)
    return Explanation(
        flops=flops,
        n_params_convention=estimate.n_params_convention,
        shape=shape,
        context=family.context,
        ours=judged[0],
        others=tuple(judged[1:]),
        counted=_counted(own, shape, family, flops),
        reasons=reasons_of(flops, own, shape, family, [row.title for row in rows if row.outside]),
        target=estimate.target,
        level=level,
    )


def _own(estimate: Estimate, line: MeanLine, flops: float) -> Advice:
    """Our own allocation, as a plan takes it."""
    log_c = log(flops)
    log_n = line.log_params(log_c)
    slope = (line.log_params(log_c + SLOPE) - line.log_params(log_c - SLOPE)) / (2 * SLOPE)
    return Advice(
        name="ours",
        title="this law",
        source=estimate.source,
        counts=estimate.n_params_convention,
        n_params=exp(log_n),
        n_tokens=exp(log_c - _LOG_K - log_n),
        a=slope,
        range_flops=range_of(estimate),
    )


def _placed(
    one: Advice, estimate: Estimate, own_shape: Architecture, family: ShapeRule, flops: float
) -> Allocation:
    """A rule's allocation in its own count and, where a decoder has that size, in ours."""
    row = Allocation(
        name=one.name,
        title=one.title,
        source=one.source,
        counts=one.counts,
        n_params=one.n_params,
        n_tokens=one.n_tokens,
        tokens_per_param=one.n_tokens / one.n_params,
        a=one.a,
        outside=None
        if one.range_flops is None
        else not one.range_flops[0] <= flops <= one.range_flops[1],
    )
    ours = estimate.n_params_convention
    try:
        shape = own_shape if one.name == "ours" else shape_of(family, one.n_params, one.counts)
    except InputError:
        return row
    at = count_under(shape, one.counts, family.context)
    here, total = (
        one.n_params * count_under(shape, to, family.context) / at for to in (ours, "total")
    )
    tokens = flops / (FLOPS_PER_PARAM_TOKEN * here)
    steeper = growth(shape, ours, family.context) / growth(shape, one.counts, family.context)
    return replace(
        row,
        n_params_here=here,
        n_params_total=total,
        n_tokens_here=tokens,
        tokens_per_param_here=tokens / here,
        a_here=one.a * steeper,
    )


def _judged(
    estimate: Estimate, line: MeanLine, rows: list[Allocation], flops: float, level: float
) -> list[Allocation]:
    """The rows with the loss that our law expects and the compute that they waste by it."""
    placed = [row for row in rows if row.n_params_here is not None]
    inputs = {
        "n_params": np.array([row.n_params_here for row in placed], dtype=np.float64),
        "n_tokens": np.array([row.n_tokens_here for row in placed], dtype=np.float64),
    }
    law = point_law(estimate)
    losses = law.predict(np.empty(0), inputs)
    draws = _share(matched_draws(estimate, inputs) - log(flops))
    judged = {}
    for k, row in enumerate(placed):
        loss = float(losses[k])
        value = float(_share(matched_log_flops(line, law, loss, log(flops)) - log(flops)))
        judged[row.name] = replace(row, loss=loss, wasted=around(value, draws[:, k], level))
    return [judged.get(row.name, row) for row in rows]


def _share(log_needed: Array | float) -> Array:
    """1 - exp(ln of the share that is needed), zero where that is rounding."""
    wasted = -np.expm1(log_needed)
    return np.asarray(np.where(wasted < ROUNDING, 0.0, wasted))


def _counted(
    own: Advice, shape: Architecture, family: ShapeRule, flops: float
) -> tuple[Counted, ...]:
    """Our allocation under every way of counting N and FLOPs."""
    here = count_under(shape, own.counts, family.context)
    rows = []
    for convention in PARAM_CONVENTIONS:
        n_params = own.n_params * count_under(shape, convention, family.context) / here
        for counting in FLOPS_CONVENTIONS:
            per_token = (
                FLOPS_PER_PARAM_TOKEN * n_params
                if counting == "6nd"
                else token_flops(shape, family.context, counting) * own.n_params / here
            )
            tokens = flops / per_token
            rows.append(
                Counted(
                    n_params_convention=convention,
                    flops_convention=counting,
                    n_params=n_params,
                    n_tokens=tokens,
                    tokens_per_param=tokens / n_params,
                    flops=per_token * own.n_tokens,
                )
            )
    return tuple(rows)
