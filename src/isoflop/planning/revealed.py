"""What a trained model's size says of its use, and what a smaller one costs to train.

A model that is smaller than compute-optimal for its loss cost more to train than it had to: it
pays if it serves enough tokens. `revealed_demand` says how many.
"""

from dataclasses import dataclass
from math import exp, inf, isfinite, log

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array, Interval
from isoflop.accounting import FLOPS_PER_PARAM_TOKEN
from isoflop.laws import CLOSED_FORM, Estimate, Law, additive_form, find_root
from isoflop.planning.frontier import frontier_of_draws, largest_flops, mean_line
from isoflop.planning.matched import (
    around,
    draws_of,
    matched_draws,
    matched_log_flops,
    point_law,
)
from isoflop.planning.words import count

STEP = 3e-5
"""Step in ln N and ln D of a central difference: error 1e-9 of the ratio of slopes."""

MOST_TOKENS = 120.0
"""ln D up to which tokens are looked for: 1e52."""

USUAL_FLOPS = 1e21
"""Where the runs behind a law are not known, the compute at which sizes are compared."""

_LOG_K = log(FLOPS_PER_PARAM_TOKEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revealed:
    """What a run of (N, D) says of the demand it was made for."""

    n_params: float
    n_tokens: float
    inference_tokens: Interval | None
    """Tokens served for which the run has the least total of training and serving at its loss;
    None where the model is not smaller than compute-optimal. A bound of 0: not smaller there."""
    overhead: Interval
    """Training FLOPs over those of the compute-optimal run of the same loss, at least 1."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeOverhead:
    """A model of `share` of the compute-optimal size at the same loss."""

    share: float
    tokens: Interval
    """Tokens over the compute-optimal ones, k_D."""
    overhead: Interval
    """Training FLOPs more than compute-optimal, k_N·k_D - 1."""
    flops: float
    """Of the compute-optimal run that it is compared with: matters off the additive form."""


def revealed_demand(
    estimate: Estimate,
    n_params: float,
    n_tokens: float,
    *,
    inference_flop_cost: float = 1.0,
    level: float | None = None,
) -> Revealed:
    """T = 3·D/c·(∂L/∂ln N / ∂L/∂ln D - 1): served tokens that make (N, D) the cheapest of its loss.

    The first-order condition of least 6·N·D + 2·c·N·T at a loss; for the additive law
    T = 3·D/c·[alpha·A·N^-alpha/(beta·B·D^-beta) - 1].

    Args:
        estimate: a law of n_params and n_tokens.
        n_params: N of the model, counted as the law counts it.
        n_tokens: D, its training tokens.
        inference_flop_cost: c, what a FLOP of inference costs in FLOPs of training.
        level: level of the intervals; the estimate's own when None.

    Raises:
        InputError: a number that is not positive, or a law of something else.

    Source: Sardana et al. 2024, arXiv:2401.00448, section 3, solved for the demand.
    """
    given = {"n_params": n_params, "n_tokens": n_tokens, "inference_flop_cost": inference_flop_cost}
    for name, value in given.items():
        if not 0 < value < inf:
            raise InputError(
                f"`{name} > 0` must hold, but got {name}={value}. Give a positive number."
            )
    level = _level(estimate, level)
    at = log(n_params), log(n_tokens)
    ratios = np.concatenate(
        [_slopes(one.law, one.draws, *at) for one, _ in draws_of(estimate)], axis=None
    )
    per_ratio = 3 * n_tokens / inference_flop_cost
    value = per_ratio * (_point_slopes(estimate, *at) - 1)
    demand = None
    if value > 0:
        demand = around(value, np.maximum(per_ratio * (ratios - 1), 0.0), level)
    overhead = _overhead(estimate, n_params, n_tokens, level)
    return Revealed(
        n_params=n_params,
        n_tokens=n_tokens,
        inference_tokens=demand,
        overhead=overhead,
        text=_words(demand, overhead, n_tokens),
    )


def overhead_of_size(
    estimate: Estimate, share: float, *, flops: float | None = None, level: float | None = None
) -> SizeOverhead:
    """Tokens and training FLOPs of a model of `share` of the compute-optimal size at its loss.

    For the additive law k_D = [1 - (k_N^-alpha - 1)·beta/alpha]^(-1/beta), whatever the compute.

    Args:
        estimate: a law of n_params and n_tokens.
        share: k_N, above 0; above 1 for a larger model.
        flops: of the compute-optimal run; that of the largest run behind the law when None.
        level: level of the intervals; the estimate's own when None.

    Raises:
        InputError: a number that is not positive, or no tokens make up for so small a model.

    Source: de Vries 2023, Go smol or go home.
    """
    flops = largest_flops(estimate) or USUAL_FLOPS if flops is None else flops
    for name, value in (("share", share), ("flops", flops)):
        if not 0 < value < inf:
            raise InputError(
                f"`{name} > 0` must hold, but got {name}={value}. Give a positive number."
            )
    level = _level(estimate, level)
    log_c, law, none = log(flops), point_law(estimate), np.empty((1, 0))
    log_n = np.array([mean_line(estimate).log_params(log_c)])
    point = float(_log_more_tokens(law, none, log_n, log_c, log(share))[0])
    if not isfinite(point):
        raise InputError(_too_small(law, log_n, log_c, share))
    more = []
    for component, alone in draws_of(estimate):
        own = frontier_of_draws(alone, n_samples=len(component.draws))
        sizes = own.log_params(np.full(len(own), log_c))
        more.append(_log_more_tokens(component.law, component.draws, sizes, log_c, log(share)))
    tokens = around(exp(point), np.exp(np.concatenate(more)), level)
    return SizeOverhead(
        share=share,
        tokens=tokens,
        overhead=Interval(
            value=share * tokens.value - 1,
            low=share * tokens.low - 1,
            high=share * tokens.high - 1,
            level=level,
        ),
        flops=flops,
    )


def _slopes(law: Law, theta: Array, log_n: float, log_d: float) -> Array:
    """∂L/∂ln N over ∂L/∂ln D (B,) at one run; inf where tokens bring nothing."""
    if law.name in CLOSED_FORM:
        a, alpha, b, beta = additive_form(theta, law)
        return np.asarray(alpha / beta * np.exp(a - alpha * log_n - b + beta * log_d))
    sides = np.array([STEP, -STEP, 0.0, 0.0])
    inputs = {"n_params": np.exp(log_n + sides), "n_tokens": np.exp(log_d + sides[::-1])}
    loss = law.predict(theta, inputs)
    by_size, by_data = loss[..., 0] - loss[..., 1], loss[..., 3] - loss[..., 2]
    brings = by_data < 0
    return np.where(brings, by_size / np.where(brings, by_data, 1.0), np.inf)


def _point_slopes(estimate: Estimate, log_n: float, log_d: float) -> float:
    """The same for the laws together: in closed form where there is one law with one."""
    alive = [c for c in estimate.components if c.weight > 0]
    if len(alive) == 1:
        return float(_slopes(alive[0].law, alive[0].theta, log_n, log_d))
    return float(_slopes(point_law(estimate), np.empty(0), log_n, log_d))


def _overhead(estimate: Estimate, n_params: float, n_tokens: float, level: float) -> Interval:
    """Training FLOPs over those of the loss-matched compute-optimal run."""
    log_c = _LOG_K + log(n_params) + log(n_tokens)
    inputs = {"n_params": np.array([n_params]), "n_tokens": np.array([n_tokens])}
    law = point_law(estimate)
    loss = float(law.predict(np.empty(0), inputs)[0])
    point = exp(log_c - matched_log_flops(mean_line(estimate), law, loss, log_c))
    draws = np.exp(log_c - matched_draws(estimate, inputs)[:, 0])
    return around(max(point, 1.0), draws, level)


def _log_more_tokens(law: Law, theta: Array, log_n: Array, log_c: float, log_share: float) -> Array:
    """ln of D over the optimal D (B,) at which exp(log_share)·N has N's loss; inf where none."""

    def loss(size: Array, tokens: Array) -> Array:
        inputs = {"n_params": np.exp(size)[:, None], "n_tokens": np.exp(tokens)[:, None]}
        return np.asarray(law.predict(theta, inputs))[:, 0]

    log_d = log_c - _LOG_K - log_n
    wanted = loss(log_n, log_d)
    most = np.full(log_n.shape, MOST_TOKENS)
    found = find_root(lambda d: wanted - loss(log_n + log_share, d), np.zeros(log_n.shape), most)
    reached = loss(log_n + log_share, most) < wanted
    return np.where(reached, found - log_d, np.inf)


def _too_small(law: Law, log_n: Array, log_c: float, share: float) -> str:
    """The refusal, with the smallest share that tokens can make up for."""
    low, high = log(share), 0.0
    for _ in range(60):
        middle = (low + high) / 2
        more = _log_more_tokens(law, np.empty((1, 0)), log_n, log_c, middle)
        low, high = (low, middle) if isfinite(more[0]) else (middle, high)
    return (
        f"no number of tokens brings a model of share={share:g} of the compute-optimal size to its "
        f"loss. Give a share above {exp(high):.3g}."
    )


def _level(estimate: Estimate, level: float | None) -> float:
    level = estimate.level if level is None else level
    if not 0 < level < 1:
        raise InputError(f"`0 < level < 1` must hold, but got level={level}. Use e.g. 0.9.")
    return level


def _words(demand: Interval | None, overhead: Interval, n_tokens: float) -> str:
    """The finding in a sentence."""
    if demand is None:
        return (
            "The model is not smaller than compute-optimal for its loss: no demand for inference "
            f"explains its size. It took {overhead.value:.3g} times the FLOPs of the "
            "compute-optimal run of that loss."
        )
    return (
        f"The size is the cheapest of its loss if {count(demand.value)} tokens are served, "
        f"{demand.value / n_tokens:.3g} times those it was trained on. Training took "
        f"{overhead.value:.3g} times the FLOPs of the compute-optimal run of that loss."
    )
