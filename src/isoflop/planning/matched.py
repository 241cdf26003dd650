"""The compute at which our own line has a given loss: what a run off the line is compared with."""

from collections.abc import Iterator
from dataclasses import replace
from math import log

import numpy as np

from isoflop._types import Array, Interval
from isoflop.accounting import FLOPS_PER_PARAM_TOKEN
from isoflop.laws import CLOSED_FORM, Component, Estimate, Law, find_root, mean_law
from isoflop.planning.frontier import MeanLine, frontier_of_draws, share_out

DRAWS, SEARCHED_DRAWS = 1000, 60
"""Draws behind an interval; fewer where each is a search."""

FARTHEST = 80.0
"""ln of how much more compute a run may take than one on the line."""

ROUNDING = 1e-8
"""Relative: a loss has 16 digits, a compute found from it half of them."""

_LOG_K = log(FLOPS_PER_PARAM_TOKEN)


def point_law(estimate: Estimate) -> Law:
    """The weighted geometric mean of the laws' points, a law without parameters."""
    return mean_law([c for c in estimate.components if c.weight > 0])


def matched_log_flops(line: MeanLine, law: Law, loss: float, log_flops: float) -> float:
    """ln C at which the planned line has the loss: at most that of the run, `log_flops`."""

    def below(at: Array) -> Array:
        log_n = line.log_params(float(at[0]))
        inputs = {"n_params": np.exp([log_n]), "n_tokens": np.exp(at - _LOG_K - log_n)}
        return np.asarray(loss - law.predict(np.empty(0), inputs))

    low = np.array([max(line.reach[0], log_flops - FARTHEST)])
    return float(find_root(below, low, np.array([log_flops]))[0])


def draws_of(estimate: Estimate) -> Iterator[tuple[Component, Estimate]]:
    """Each law with its share of the draws, and an estimate of these alone."""
    closed = all(c.law.name in CLOSED_FORM for c in estimate.components)
    counts = share_out(DRAWS if closed else SEARCHED_DRAWS, [c.weight for c in estimate.components])
    for component, count in zip(estimate.components, counts, strict=True):
        if count > 0:
            have = component.draws
            # Repeats balance laws that have fewer draws than their share; one law needs none.
            count = min(count, len(have)) if component.weight == 1 else count
            some = replace(component, draws=have[np.arange(count) * len(have) // count], weight=1.0)
            yield some, replace(estimate, components=(some,))


def matched_draws(estimate: Estimate, inputs: dict[str, Array]) -> Array:
    """ln C (B, K) at which every draw's own line has the loss that it gives to K runs.

    Never more than the runs take; inputs (K,) are `n_params` and `n_tokens`.
    """
    taken = _LOG_K + np.log(inputs["n_params"]) + np.log(inputs["n_tokens"])
    found = []
    for component, alone in draws_of(estimate):
        frontier = frontier_of_draws(alone, n_samples=len(component.draws))
        losses = component.law.predict(component.draws, inputs)
        needed = np.stack([frontier.log_flops_of_loss(one) for one in losses.T], axis=-1)
        found.append(np.minimum(needed, taken))
    return np.concatenate(found)


def around(value: float, draws: Array, level: float) -> Interval:
    """The interval of draws (B,) around a value; draws may be infinite."""
    # Draws of a law without draws are the value itself, not its rounding errors.
    settled = np.where(np.abs(draws - value) < ROUNDING * abs(value), value, draws)
    # By rank, not interpolated: between a number and infinity there is no number.
    ranked, last = np.sort(settled), len(draws) - 1
    low = float(ranked[int(np.floor(last * (1 - level) / 2))])
    high = float(ranked[int(np.ceil(last * (1 + level) / 2))])
    return Interval(value=value, low=min(low, value), high=max(high, value), level=level)
