"""Data-limited plans: how to split compute between parameters and epochs of the text there is."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array, Interval, Problem
from isoflop.accounting import FLOPS_PER_PARAM_TOKEN
from isoflop.laws import Component, Estimate
from isoflop.planning.cheapest import ZOOMS, LossOf, cheapest, drawn, settled, zooms_of
from isoflop.planning.solve import Solution, interval, solve

HALF_LIFE = 15.387756
"""R_D*: repeats after which a token is worth 1/e of a new one, for laws that know no repeats.
Source: Muennighoff et al. 2023, arXiv:2305.16264, released constants."""

REACH = 12.0
"""Sizes are searched a factor e^12 around the compute-optimal one of unlimited text."""

MANY = 4.0
"""Epochs beyond which repeats are worth clearly less than new tokens. Source: as above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited:
    """The text that a plan has, and how often it reads it."""

    unique_tokens: float
    epochs: Interval
    assumed: bool
    """Whether what a repeat is worth was taken from Muennighoff et al. and not from the runs."""


def solve_limited(
    estimate: Estimate, given: Mapping[str, float], unique: float, level: float
) -> tuple[Solution, Limited]:
    """The run of least loss for a budget in FLOPs, 6·N·D, where only `unique` tokens are distinct.

    A law with `n_unique_tokens` says itself what a repeat is worth. For any other, D tokens count
    as D' = U + U R (1 - exp(-(D/U - 1)/R)), R = 15.4, for all of its draws.

    Raises:
        InputError: something else than flops is given, or `unique` is not positive.

    Source: Muennighoff et al. 2023, arXiv:2305.16264, eq. 5.
    """
    if not 0 < unique < np.inf:
        raise InputError(
            f"`unique_tokens > 0` must hold, but got unique_tokens={unique}. Leave it out where "
            "text is no limit."
        )
    if set(given) != {"flops"}:
        raise InputError(
            f"`unique_tokens` needs a budget in flops, but got {', '.join(given) or 'none'}. "
            "Give flops, device_hours, days or usd."
        )
    start = solve(estimate, given, level)
    log_c = start.log_flops - float(np.log(FLOPS_PER_PARAM_TOKEN))
    alive = [c for c in estimate.components if c.weight > 0]
    parts = [(c.weight, _loss(c, c.theta[None], unique)) for c in alive]

    def mean(log_n: Array, log_d: Array) -> Array:
        logs = [weight * np.log(loss(log_n, log_d)) for weight, loss in parts]
        return np.asarray(np.exp(np.sum(logs, axis=0)))

    log_n = float(_best(mean, start.log_params, 1, log_c, ZOOMS)[0])
    draws = np.concatenate(
        [
            _best(_loss(c, rows, unique), start.log_params, len(rows), log_c, zooms_of(c))
            for c, rows in drawn(estimate)
        ]
    )
    solution = Solution(
        log_flops=start.log_flops,
        log_params=log_n,
        log_flops_draws=np.full(len(draws), start.log_flops),
        log_params_draws=settled(draws, log_n),
    )
    epochs = np.maximum(0.0, solution.log_tokens - np.log(unique))
    spread = np.maximum(0.0, solution.log_tokens_draws - np.log(unique))
    limited = Limited(
        unique_tokens=unique,
        epochs=interval(float(epochs), spread, level),
        assumed=any("n_unique_tokens" not in c.law.inputs for c in alive),
    )
    return solution, limited


def limited_problems(limited: Limited | None) -> tuple[Problem, ...]:
    """`repeated_data` where a plan reads its text again: how often, and on whose word."""
    if limited is None or limited.epochs.value <= 1 + 1e-9:
        return ()
    epochs = limited.epochs
    word = (
        f"what a repeat is worth (R = {HALF_LIFE:.3g}) is that of Muennighoff et al., not of the "
        "runs"
        if limited.assumed
        else "what a repeat is worth is that of the runs"
    )
    return (
        Problem(
            code="repeated_data",
            severity="warning" if epochs.value > MANY or limited.assumed else "note",
            text=f"The plan reads its {limited.unique_tokens:.3g} distinct tokens "
            f"{epochs.value:.3g} times [{epochs.low:.3g}, {epochs.high:.3g}]; {word}.",
            remedy="Add text, or train pilots that repeat as often (`unique_tokens` of a domain).",
            affects=("allocation", "forecast"),
        ),
    )


def effective_tokens(n_tokens: Array, unique: float) -> Array:
    """D' = U + U R (1 - exp(-(D/U - 1)/R)) beyond U, D up to it."""
    repeats = np.maximum(n_tokens / unique - 1, 0.0)
    return np.asarray(
        np.minimum(n_tokens, unique) + unique * HALF_LIFE * -np.expm1(-repeats / HALF_LIFE)
    )


def _loss(component: Component, theta: Array, unique: float) -> LossOf:
    law = component.law

    def loss_of(log_n: Array, log_d: Array) -> Array:
        inputs = {"n_params": np.exp(log_n), "n_tokens": np.exp(log_d)}
        if "n_unique_tokens" in law.inputs:
            inputs["n_unique_tokens"] = np.minimum(inputs["n_tokens"], unique)
        else:
            inputs["n_tokens"] = effective_tokens(inputs["n_tokens"], unique)
        return np.asarray(law.predict(theta, inputs))

    return loss_of


def _best(loss_of: LossOf, start: float, count: int, log_c: float, zooms: int) -> Array:
    """ln N (B,) of least loss at N·D = C/6."""

    def cost(log_n: Array) -> Array:
        log_d = log_c - log_n
        enough = log_d > 0
        return np.where(enough, np.log(loss_of(log_n, np.where(enough, log_d, 0.0))), np.inf)

    first = np.full(count, start)
    return cheapest(cost, first - REACH, first + REACH, zooms)
