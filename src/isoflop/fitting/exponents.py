"""Power laws through optima, N_opt ~ C^a and D_opt ~ C^b: exponents, intervals, do they add up?"""

from dataclasses import dataclass

import numpy as np

from isoflop._types import Array, Interval, Problem
from isoflop.fitting.analysis import Allocation, Approach, IsoflopProfile, Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """ln N_opt and ln D_opt as lines in ln C: at the point first (B + 1,), then for every draw."""

    log_n: Array
    a: Array
    log_d: Array
    b: Array

    def exponents(self, level: float) -> tuple[Interval, Interval]:
        """a and b with their intervals."""
        pairs = (self.a, self.b)
        a, b = (draws_interval(float(one[0]), _finite(one[1:]), level) for one in pairs)
        return a, b

    def variant(self, what: str, n_runs: int) -> Variant:
        """The lines of the point alone."""
        numbers = {name: float(getattr(self, name)[0]) for name in ("a", "b", "log_n", "log_d")}
        return Variant(what=what, n_runs=n_runs, **numbers)

    def at(self, flops: float, level: float) -> tuple[Interval, Interval, Interval]:
        """N_opt, D_opt and D/N at a budget [FLOPs], each with its interval."""
        log_n, log_d = self.log_n + self.a * np.log(flops), self.log_d + self.b * np.log(flops)
        n, d, ratio = (_exp_interval(one, level) for one in (log_n, log_d, log_d - log_n))
        return n, d, ratio


def lines_through(log_c: Array, log_n: Array, log_d: Array) -> Lines:
    """Least-squares lines of ln N and ln D (G, B + 1) on ln C (G,); NaN points left out."""
    slopes = [_slope(log_c, one) for one in (log_n, log_d)]
    (n, a), (d, b) = slopes
    return Lines(log_n=n, a=a, log_d=d, b=b)


def _slope(x: Array, y: Array) -> tuple[Array, Array]:
    """Intercept and slope (B + 1,) of y (G, B + 1) on x; NaN where fewer than two points."""
    known = np.isfinite(y)
    count = known.sum(axis=0)
    mean_x = (x[:, None] * known).sum(axis=0) / np.maximum(count, 1)
    mean_y = np.where(known, y, 0.0).sum(axis=0) / np.maximum(count, 1)
    dx = (x[:, None] - mean_x) * known
    square = (dx**2).sum(axis=0)
    slope = (dx * np.where(known, y, 0.0)).sum(axis=0) / np.where(square > 0, square, np.nan)
    slope = np.where(count >= 2, slope, np.nan)
    return mean_y - slope * mean_x, slope


def _finite(values: Array) -> Array:
    return np.asarray(values[np.isfinite(values)])


def _exp_interval(logs: Array, level: float) -> Interval:
    found = draws_interval(float(logs[0]), _finite(logs[1:]), level)
    low, value, high = (float(np.exp(one)) for one in (found.low, found.value, found.high))
    return Interval(value=value, low=low, high=high, level=level)


def empty_allocation(
    approach: Approach,
    profiles: tuple[IsoflopProfile, ...],
    problems: tuple[Problem, ...],
    level: float,
) -> Allocation:
    """An allocation that the profiles do not support: exponents unknown, reasons attached."""
    unknown = Interval(value=float("nan"), low=-np.inf, high=np.inf, level=level)
    return Allocation(
        approach=approach,
        a=unknown,
        b=unknown,
        sum_ab=float("nan"),
        flops=np.empty(0),
        n_opt=np.empty(0),
        d_opt=np.empty(0),
        profiles=profiles,
        problems=problems,
    )


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
