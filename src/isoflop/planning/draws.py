"""Draws of one number: from an interval, and back to intervals and quantiles by rank."""

from math import inf
from statistics import NormalDist

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array, Interval

DRAWS = 1000
"""Where a number comes without draws of its own."""


def draws_of(flops: float | Interval | Array, seed: int) -> Array:
    """ln-normal draws of an interval, each side of its value with a width of its own.

    An end that is infinite is so in the share of draws beyond it; up to there as the other side.
    """
    if not isinstance(flops, Interval):
        draws = np.asarray(flops, dtype=np.float64)
        return np.full(DRAWS, draws) if draws.ndim == 0 else draws
    _require_interval(flops)
    normal = NormalDist()
    z = np.array([normal.inv_cdf((rank + 0.5) / DRAWS) for rank in range(DRAWS)])
    edge = normal.inv_cdf((1 + flops.level) / 2)
    below = np.log(flops.value / flops.low) / edge
    above = below if flops.high == inf else np.log(flops.high / flops.value) / edge
    ln = np.log(flops.value) + z * np.where(z > 0, above, below)
    ln = np.where((z > edge) & (flops.high == inf), inf, ln)
    return np.asarray(np.exp(np.random.default_rng([seed, 2]).permutation(ln)))


def _require_interval(flops: Interval) -> None:
    if not 0 < flops.low <= flops.value <= flops.high or flops.value == inf:
        raise InputError(
            f"`0 < low <= value <= high` must hold, but got flops = {flops.value:g} "
            f"[{flops.low:g}, {flops.high:g}]. Give training FLOPs."
        )


def interval_of(draws: Array, level: float) -> Interval:
    """Median and interval by rank: beside an infinite draw there is nothing to interpolate."""
    low, middle, high = (quantile_of(draws, q) for q in ((1 - level) / 2, 0.5, (1 + level) / 2))
    return Interval(value=middle, low=low, high=high, level=level)


def quantile_of(draws: Array, share: float) -> float:
    """The smallest draw that at least `share` of them do not exceed."""
    rank = min(len(draws) - 1, max(0, int(np.ceil(share * len(draws) - 1e-9)) - 1))
    return float(np.partition(draws, rank)[rank])
