"""Intervals of a law's parameters from their draws."""

import numpy as np

from isoflop._types import Array, Interval
from isoflop.laws import Law


def parameter_intervals(law: Law, theta: Array, draws: Array, level: float) -> dict[str, Interval]:
    """Each parameter of theta (P,) with quantiles of its draws (B, P), kept around the value."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {
        name: Interval(
            value=float(theta[i]),
            low=float(min(low[i], theta[i])),
            high=float(max(high[i], theta[i])),
            level=level,
        )
        for i, name in enumerate(law.names)
    }
