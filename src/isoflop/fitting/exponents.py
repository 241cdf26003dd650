"""Exponents of N_opt ~ C^a and D_opt ~ C^b with their intervals, and whether they add up."""

import numpy as np

from isoflop._types import Array, Interval, Problem


def slope_interval(x: Array, y: Array, level: float) -> Interval:
    """Slope of y (G, B + 1) on x (G,), NaN left out: first column the value, others the draws."""
    known = np.isfinite(y)
    count = known.sum(axis=0)
    enough = count >= 2
    mean_x = (x[:, None] * known).sum(axis=0) / np.maximum(count, 1)
    dx = (x[:, None] - mean_x) * known
    square = (dx**2).sum(axis=0)
    slope = (dx * np.where(known, y, 0.0)).sum(axis=0) / np.where(square > 0, square, np.nan)
    draws = slope[1:][enough[1:] & np.isfinite(slope[1:])]
    return draws_interval(float(slope[0]), draws, level)


def draws_interval(value: float, draws: Array, level: float) -> Interval:
    """The value with the quantiles of its draws; endless where too few draws have one."""
    if draws.size < 20:
        return Interval(value=value, low=-np.inf, high=np.inf, level=level)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(
        value=value, low=float(min(low, value)), high=float(max(high, value)), level=level
    )


def sum_problems(a: Interval, b: Interval) -> tuple[Problem, ...]:
    """`exponents_inconsistent` where a and b, fitted apart, do not add up to one."""
    total = a.value + b.value
    if abs(total - 1) <= 0.05:
        return ()
    return (
        Problem(
            code="exponents_inconsistent",
            severity="note",
            text=f"a + b = {total:.3f}: the FLOPs are not proportional to N D.",
            remedy="Count FLOPs and parameters under one convention.",
            affects=("allocation",),
        ),
    )
