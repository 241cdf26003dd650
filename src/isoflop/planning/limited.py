"""Data-limited plans: how to split compute between parameters and epochs of the text there is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array, Interval
from isoflop.accounting import FLOPS_PER_PARAM_TOKEN
from isoflop.laws import Estimate, Inputs, Law, mean_law
from isoflop.planning.cheapest import ZOOMS, LossOf, cheapest, drawn, settled, zooms_of
from isoflop.planning.frontier import mean_line
from isoflop.planning.solve import Solution, interval

HALF_LIFE = 15.387756
"""R_D*: repeats after which a token is worth 1/e of a new one, for laws that know no repeats.
Source: Muennighoff et al. 2023, arXiv:2305.16264, released constants."""

REACH = 12.0
"""Sizes are searched a factor e^12 around the compute-optimal one of unlimited text."""


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
    log_flops = float(np.log(given["flops"]))
    start = mean_line(estimate).log_params(log_flops)
    log_c = log_flops - float(np.log(FLOPS_PER_PARAM_TOKEN))
    alive = [c for c in estimate.components if c.weight > 0]
    mean = mean_law([replace(c, law=with_repeats(c.law)) for c in alive])
    log_n = float(_best(_loss(mean, np.empty((1, 0)), unique), start, 1, log_c, ZOOMS)[0])
    draws = np.concatenate(
        [
            _best(_loss(with_repeats(c.law), rows, unique), start, len(rows), log_c, zooms_of(c))
            for c, rows in drawn(estimate)
        ]
    )
    solution = Solution(
        log_flops=log_flops,
        log_params=log_n,
        log_flops_draws=np.full(len(draws), log_flops),
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


def effective_tokens(n_tokens: Array, unique: Array | float) -> Array:
    """D' = U + U R (1 - exp(-(D/U - 1)/R)) beyond U, D up to it."""
    repeats = np.maximum(n_tokens / unique - 1, 0.0)
    return np.asarray(
        np.minimum(n_tokens, unique) + unique * HALF_LIFE * -np.expm1(-repeats / HALF_LIFE)
    )


def with_repeats(law: Law) -> Law:
    """The law with `n_unique_tokens`: itself where it has them, else of effective tokens."""
    if "n_unique_tokens" in law.inputs:
        return law

    def predict(theta: Array, inputs: Inputs) -> Array:
        tokens, unique = inputs["n_tokens"], inputs["n_unique_tokens"]
        return law.predict(theta, {**inputs, "n_tokens": effective_tokens(tokens, unique)})

    return replace(law, inputs=(*law.inputs, "n_unique_tokens"), predict=predict)


def limited_estimate(estimate: Estimate) -> Estimate:
    """The estimate of laws that all take `n_unique_tokens`."""
    components = tuple(replace(c, law=with_repeats(c.law)) for c in estimate.components)
    return replace(estimate, components=components)


def _loss(law: Law, theta: Array, unique: float) -> LossOf:
    def loss_of(log_n: Array, log_d: Array) -> Array:
        inputs = {"n_params": np.exp(log_n), "n_tokens": np.exp(log_d)}
        inputs["n_unique_tokens"] = np.minimum(inputs["n_tokens"], unique)
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
