"""The compute-optimal line of every draw of an estimate, and the line that a plan follows.

In closed form where the law has one (`ClosedFrontier`), by search elsewhere (`SearchedFrontier`);
several laws side by side are a `JointFrontier`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from isoflop._types import Array
from isoflop.accounting import FLOPS_PER_PARAM_TOKEN
from isoflop.laws import (
    CLOSED_FORM,
    Component,
    Estimate,
    frontier_exponent,
    mean_law,
    optimum,
)
from isoflop.planning.searched import REACH, SearchedFrontier

N_SAMPLES = 4000
"""Draws that a plan pushes through the chain, shared out among the laws by weight."""

SEARCHED_SAMPLES = 1000
"""The same where a law has no closed form: each draw is then a search."""

WIDEST = (-60.0, 300.0)
"""ln C of a line in closed form: 1e-26 to 1e130 FLOPs, beyond any use."""

_LOG_K = float(np.log(FLOPS_PER_PARAM_TOKEN))


class Frontier(Protocol):
    """The compute-optimal line of B draws; all elementwise, so each may have its own compute."""

    def __len__(self) -> int: ...

    @property
    def floor(self) -> Array:
        """The loss (B,) that no compute gets below."""
        ...

    def log_params(self, log_flops: Array) -> Array:
        """log N* at log C."""
        ...

    def log_flops_of_params(self, log_params: float) -> Array:
        """log C at which N parameters are compute-optimal."""
        ...

    def log_flops_of_tokens(self, log_tokens: float) -> Array:
        """log C at which D tokens are compute-optimal."""
        ...

    def log_flops_of_loss(self, loss: Array) -> Array:
        """log C at which the frontier reaches the loss; inf where none does."""
        ...

    def loss(self, log_flops: Array) -> Array:
        """The loss at log C."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedFrontier:
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

    def __len__(self) -> int:
        return len(self.a)

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

    def loss(self, log_flops: Array) -> Array:
        """The loss at log C."""
        return np.asarray(self.floor + np.exp(self.log_gain - self.decay * log_flops))


@dataclass(frozen=True, slots=True, kw_only=True)
class JointFrontier:
    """Frontiers of several laws, one after the other."""

    parts: tuple[Frontier, ...]

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    @property
    def floor(self) -> Array:
        """The loss (B,) that no compute gets below."""
        return np.concatenate([part.floor for part in self.parts])

    def log_params(self, log_flops: Array) -> Array:
        """log N* at log C."""
        return self._each(lambda part, own: part.log_params(own), log_flops)

    def log_flops_of_params(self, log_params: float) -> Array:
        """log C at which N parameters are compute-optimal."""
        return np.concatenate([part.log_flops_of_params(log_params) for part in self.parts])

    def log_flops_of_tokens(self, log_tokens: float) -> Array:
        """log C at which D tokens are compute-optimal."""
        return np.concatenate([part.log_flops_of_tokens(log_tokens) for part in self.parts])

    def log_flops_of_loss(self, loss: Array) -> Array:
        """log C at which the frontier reaches the loss; inf where none does."""
        return self._each(lambda part, own: part.log_flops_of_loss(own), loss)

    def loss(self, log_flops: Array) -> Array:
        """The loss at log C."""
        return self._each(lambda part, own: part.loss(own), log_flops)

    def _each(self, call: Callable[[Frontier, Array], Array], values: Array) -> Array:
        ends = np.cumsum([len(part) for part in self.parts])[:-1]
        pieces = zip(self.parts, np.split(values, ends), strict=True)
        return np.concatenate([call(part, own) for part, own in pieces])


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanLine:
    """The planned line: the optimum of the laws' weighted mean of ln L at their point estimates."""

    part: Frontier
    anchor: float

    @property
    def reach(self) -> tuple[float, float]:
        """log C between which the line is known."""
        closed = isinstance(self.part, ClosedFrontier)
        return WIDEST if closed else (self.anchor - REACH, self.anchor + REACH)

    def log_params(self, log_flops: float) -> float:
        """log N at log C."""
        return float(self.part.log_params(np.array([log_flops]))[0])

    def log_flops_of_params(self, log_params: float) -> float:
        """log C at which the planned size is N."""
        return float(self.part.log_flops_of_params(log_params)[0])

    def log_flops_of_tokens(self, log_tokens: float) -> float:
        """log C at which the planned tokens are D."""
        return float(self.part.log_flops_of_tokens(log_tokens)[0])


def frontier_of_draws(estimate: Estimate, *, n_samples: int | None = None) -> Frontier:
    """The frontier of every draw; each law gives draws in proportion to its weight.

    Raises:
        InputError: a law has no size and tokens to share the compute between.
    """
    return JointFrontier(
        parts=tuple(
            _frontier(component, draws, estimate)
            for component, draws in drawn_components(estimate, n_samples=n_samples)
        )
    )


def drawn_components(
    estimate: Estimate, *, n_samples: int | None = None
) -> list[tuple[Component, Array]]:
    """Each law with its share of the draws (B, P), in proportion to its weight."""
    if n_samples is None:
        n_samples = sample_count(estimate)
    counts = share_out(n_samples, [c.weight for c in estimate.components])
    return [
        (component, _spaced(component.draws, count))
        for component, count in zip(estimate.components, counts, strict=True)
        if count > 0
    ]


def sample_count(estimate: Estimate) -> int:
    """How many draws a plan pushes through the chain."""
    closed = all(c.law.name in CLOSED_FORM for c in estimate.components)
    return N_SAMPLES if closed else SEARCHED_SAMPLES


def mean_line(estimate: Estimate) -> MeanLine:
    """The line that a plan follows.

    Raises:
        InputError: a law has no size and tokens to share the compute between.
    """
    alive = [c for c in estimate.components if c.weight > 0]
    anchor = float(np.log(_anchor(estimate)))
    if len(alive) == 1:
        return MeanLine(part=_frontier(alive[0], alive[0].theta[None], estimate), anchor=anchor)
    searched = SearchedFrontier(law=mean_law(alive), theta=np.empty((1, 0)), anchor=anchor)
    return MeanLine(part=searched, anchor=anchor)


def _anchor(estimate: Estimate) -> float:
    return largest_flops(estimate) or 1e20


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
    anchor = _anchor(estimate)
    if law.name not in CLOSED_FORM:
        return SearchedFrontier(law=law, theta=draws, anchor=float(np.log(anchor)))
    best = optimum(draws, [anchor], k=FLOPS_PER_PARAM_TOKEN, law=law)
    decay = frontier_exponent(draws, law)
    floor = draws[:, law.names.index("E")] if "E" in law.names else np.zeros(len(draws))
    gain = np.maximum(best.loss[:, 0] - floor, np.finfo(float).tiny)
    return ClosedFrontier(
        log_n=np.log(best.n_params[:, 0]) - best.a * np.log(anchor),
        a=best.a,
        floor=floor,
        log_gain=np.log(gain) + decay * np.log(anchor),
        decay=decay,
    )
