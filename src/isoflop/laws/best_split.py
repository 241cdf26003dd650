"""Compute-optimal runs of an estimate, with intervals, and how flat the loss is around them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from isoflop._errors import InputError
from isoflop._types import Array, Prediction, as_column
from isoflop.laws._law import Inputs, Law, keep_units
from isoflop.laws.estimate import Component, Estimate, weighted_quantile
from isoflop.laws.numeric_optimum import best_log_size, find_root
from isoflop.laws.optimum import optimum

NEAR = (0.001, 0.005)
"""Shares of the lowest loss that a near-optimal size may lose."""

GRID = 241
"""Sizes among which the ends of the near-optimal region are looked for first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NearOptimal:
    """Sizes whose loss, on the same budget, lies within `share` of the lowest [parameters]."""

    share: float
    n_low: float
    n_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BestSplit:
    """Compute-optimal runs at budgets `flops` (G,); every number with its interval.

    `loss` is that of the law at each draw's own optimum: the frontier, without a run's noise.
    """

    flops: Array
    n_params: Prediction
    n_tokens: Prediction
    tokens_per_param: Prediction
    loss: Prediction
    near: tuple[tuple[NearOptimal, ...], ...]
    """For every budget the regions within 0.1 % and 0.5 % of the lowest loss, by the point."""


def best_split(
    estimate: Estimate,
    flops: ArrayLike,
    *,
    level: float | None = None,
    k: float = 6.0,
    near: Sequence[float] = NEAR,
) -> BestSplit:
    """Compute-optimal size, tokens and loss under C = k N D, with intervals from the draws.

    In closed form where a law has one, else by search. The point of several laws is the optimum of
    their weighted mean of ln L, as a plan takes it; draws of all laws are pooled by weight.

    Args:
        estimate: laws of n_params and n_tokens.
        flops: compute budgets (G,) [FLOPs].
        level: level of the intervals; the estimate's own when None.
        k: FLOPs per parameter and token.
        near: shares of the lowest loss for the near-optimal regions.

    Raises:
        InputError: a budget or share is not positive, or a law is not of size and tokens alone.
    """
    budgets = as_column(flops)
    level = estimate.level if level is None else level
    _check(budgets, near, level)
    alive = [c for c in estimate.components if c.weight > 0]
    log_c = np.log(budgets / k)
    mean = mean_law(alive)
    if len(alive) == 1:
        log_n = np.log(optimum(alive[0].theta, budgets, k=k, law=alive[0].law).n_params)
    else:
        log_n = best_log_size(mean, np.empty((1, 0)), log_c[None])[0]
    drawn = [optimum(c.draws, budgets, k=k, law=c.law) for c in alive]
    weights = np.concatenate([np.full(len(c.draws), c.weight / len(c.draws)) for c in alive])
    draws_n = np.log(np.concatenate([one.n_params for one in drawn]))
    draws_l = np.log(np.concatenate([one.loss for one in drawn]))
    log_l = np.log(mean.predict(np.empty(0), _inputs(log_n, log_c)))
    log_d, draws_d = log_c - log_n, log_c - draws_n
    return BestSplit(
        flops=budgets,
        n_params=_interval(log_n, draws_n, weights, level),
        n_tokens=_interval(log_d, draws_d, weights, level),
        tokens_per_param=_interval(log_d - log_n, draws_d - draws_n, weights, level),
        loss=_interval(log_l, draws_l, weights, level),
        near=tuple(tuple(_near(mean, c, one) for one in near) for c in log_c),
    )


def near_optimal(
    estimate: Estimate, flops: float, *, k: float = 6.0, near: Sequence[float] = NEAR
) -> tuple[NearOptimal, ...]:
    """Sizes within each share of the lowest loss on a budget [FLOPs], by the point estimates.

    Raises:
        InputError: as `best_split`.
    """
    budgets = as_column(flops)
    _check(budgets, near, estimate.level)
    mean = mean_law([c for c in estimate.components if c.weight > 0])
    return tuple(_near(mean, float(np.log(budgets[0] / k)), one) for one in near)


def mean_law(components: Sequence[Component]) -> Law:
    """The weighted geometric mean of the components' point laws, as a law without parameters."""

    def predict(theta: Array, inputs: Inputs) -> Array:
        del theta
        logs = [c.weight * np.log(c.law.predict(c.theta, inputs)) for c in components]
        return np.asarray(np.exp(np.sum(logs, axis=0)))

    def jacobian(theta: Array, inputs: Inputs) -> Array:
        return np.empty((*predict(theta, inputs).shape, 0))

    return Law(
        name="weighted mean",
        params=(),
        inputs=tuple(dict.fromkeys(name for c in components for name in c.law.needed)),
        predict=predict,
        jacobian=jacobian,
        rescale=keep_units,
        formula="exp(sum of weight * ln L)",
        source="the laws of one estimate",
        range_note="That of its laws.",
    )


def _near(mean: Law, log_c: float, share: float) -> NearOptimal:
    """The lowest and the highest size within the share of the lowest loss, at ln(C/k)."""
    best = float(best_log_size(mean, np.empty((1, 0)), np.array([[log_c]]))[0, 0])

    def above(log_n: Array) -> Array:
        return np.log(mean.predict(np.empty(0), _inputs(log_n, log_c))) - limit

    limit = 0.0
    limit = float(above(np.array([best]))[0]) + float(np.log1p(share))
    grid = np.unique(np.append(np.linspace(0.0, log_c, GRID), best))
    with np.errstate(all="ignore"):
        inside = np.flatnonzero(above(grid) <= 0)
    first, last = int(inside[0]), int(inside[-1])
    low = high = None
    if first > 0:
        ends = np.array([grid[first - 1]]), np.array([grid[first]])
        low = float(find_root(lambda u: -above(u), *ends)[0])
    if last < grid.size - 1:
        ends = np.array([grid[last]]), np.array([grid[last + 1]])
        high = float(find_root(above, *ends)[0])
    return NearOptimal(
        share=share,
        n_low=float(np.exp(grid[0] if low is None else low)),
        n_high=float(np.exp(grid[-1] if high is None else high)),
    )


def _inputs(log_n: Array, log_c: Array | float) -> dict[str, Array]:
    return {"n_params": np.exp(log_n), "n_tokens": np.exp(log_c - log_n)}


def _interval(value: Array, draws: Array, weights: Array, level: float) -> Prediction:
    low, high = (weighted_quantile(draws, weights, at) for at in ((1 - level) / 2, (1 + level) / 2))
    return Prediction(
        mean=np.exp(value),
        low=np.exp(np.minimum(low, value)),
        high=np.exp(np.maximum(high, value)),
        level=level,
    )


def _check(budgets: Array, near: Sequence[float], level: float) -> None:
    for name, values in (("flops", budgets), ("near", np.asarray(near, dtype=np.float64))):
        bad = ~((values > 0) & np.isfinite(values))
        if bad.any():
            raise InputError(f"`{name} > 0` must hold, but got {values[bad][0]}. Correct it.")
    if not 0 < level < 1:
        raise InputError(f"`0 < level < 1` must hold, but got level={level}. Use e.g. 0.9.")
