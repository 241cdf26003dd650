"""`Frontier`: the compute-optimal line of every draw of an estimate, in closed form."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from isoflop._types import Array
from isoflop.accounting import FLOPS_PER_PARAM_TOKEN
from isoflop.laws import Component, Estimate, frontier_exponent, optimum

N_SAMPLES = 4000
"""Draws that a plan pushes through the chain, shared out among the laws by weight."""

_LOG_K = float(np.log(FLOPS_PER_PARAM_TOKEN))


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """log N* = log_n + a·log C; D* = C/(6·N*); L* = floor + exp(log_gain - decay·log C).

    Every field has shape (B,), one entry a draw. All is elementwise in logs, so that each draw
    may have its own compute. An unreachable loss needs log C = inf.
    """

    log_n: Array
    a: Array
    """Exponent of N* ~ C^a."""
    floor: Array
    """Irreducible loss; 0 for laws without one."""
    log_gain: Array
    decay: Array

    def log_params(self, log_flops: Array) -> Array:
        """log N* at log C."""
        return self.log_n + self.a * log_flops

    def log_flops_of_params(self, log_params: float) -> Array:
        """log C at which N parameters are compute-optimal."""
        return (log_params - self.log_n) / self.a

    def log_flops_of_tokens(self, log_tokens: float) -> Array:
        """log C at which D tokens are compute-optimal."""
        return (log_tokens + _LOG_K + self.log_n) / (1 - self.a)

    def log_flops_of_loss(self, loss: Array) -> Array:
        """log C at which the frontier reaches the loss; inf at or below the floor."""
        above = loss - self.floor
        reachable = above > 0
        log_above = np.log(np.where(reachable, above, 1.0))
        return np.where(reachable, (self.log_gain - log_above) / self.decay, np.inf)


def frontier_of_draws(estimate: Estimate, *, n_samples: int = N_SAMPLES) -> Frontier:
    """The frontier of every draw; each law gives draws in proportion to its weight.

    Raises:
        InputError: a law has no size and tokens to share the compute between.
    """
    counts = share_out(n_samples, [c.weight for c in estimate.components])
    parts = [
        _frontier(component, _spaced(component.draws, count), estimate)
        for component, count in zip(estimate.components, counts, strict=True)
        if count > 0
    ]
    return Frontier(
        log_n=np.concatenate([part.log_n for part in parts]),
        a=np.concatenate([part.a for part in parts]),
        floor=np.concatenate([part.floor for part in parts]),
        log_gain=np.concatenate([part.log_gain for part in parts]),
        decay=np.concatenate([part.decay for part in parts]),
    )


def mean_line(estimate: Estimate) -> tuple[float, float]:
    """(log_n, a) of the planned line log N = log_n + a·log C.

    The weighted mean over the laws' point estimates, in logs, as `Estimate.predict` averages
    their losses; for one law it is that law's optimum.

    Raises:
        InputError: a law has no size and tokens to share the compute between.
    """
    log_n, a = 0.0, 0.0
    for component in estimate.components:
        line = _frontier(component, component.theta[None], estimate)
        log_n += component.weight * float(line.log_n[0])
        a += component.weight * float(line.a[0])
    return log_n, a


def largest_flops(estimate: Estimate) -> float | None:
    """FLOPs of the largest run behind the estimate, 6·max(N·D); None where it is not known.

    Where only the ranges of N and of D are known their corner is taken, an upper bound.
    """
    ranges = estimate.ranges
    if "n_params*n_tokens" in ranges:
        return FLOPS_PER_PARAM_TOKEN * ranges["n_params*n_tokens"][1]
    if "n_params" in ranges and "n_tokens" in ranges:
        return FLOPS_PER_PARAM_TOKEN * ranges["n_params"][1] * ranges["n_tokens"][1]
    return None


def share_out(total: int, weights: Iterable[float]) -> list[int]:
    """`total` things shared out by weight, the largest remainders rounded up."""
    exact = total * np.asarray(list(weights), dtype=np.float64)
    counts = np.floor(exact).astype(int)
    first = np.argsort(-(exact - counts), kind="stable")[: total - int(counts.sum())]
    counts[first] += 1
    return [int(count) for count in counts]


def _spaced(draws: Array, count: int) -> Array:
    """`count` of the draws, evenly spaced, repeated where there are fewer."""
    return draws[np.arange(count) * len(draws) // count]


def _frontier(component: Component, draws: Array, estimate: Estimate) -> Frontier:
    law = component.law
    # Anchored at the largest run: L - E there is far above the rounding error of L.
    anchor = largest_flops(estimate) or 1e20
    best = optimum(draws, [anchor], k=FLOPS_PER_PARAM_TOKEN, law=law)
    decay = frontier_exponent(draws, law)
    floor = draws[:, law.names.index("E")] if "E" in law.names else np.zeros(len(draws))
    gain = np.maximum(best.loss[:, 0] - floor, np.finfo(float).tiny)
    return Frontier(
        log_n=np.log(best.n_params[:, 0]) - best.a * np.log(anchor),
        a=best.a,
        floor=floor,
        log_gain=np.log(gain) + decay * np.log(anchor),
        decay=decay,
    )
