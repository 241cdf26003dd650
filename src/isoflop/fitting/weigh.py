"""The extra spread of a new run, from the back-test."""

import numpy as np

from isoflop._types import Array, Problem, is_share
from isoflop.fitting.backtest import Held
from isoflop.fitting.noise import CUT, KEPT
from isoflop.laws import Law

CURVE_SPREAD = 0.03
"""ASSUMPTION: a curve of one variable may err by 3 % more at 4 times the compute; about what the
bends of published learning curves amount to."""

LADDER_SPREAD = 0.001
"""ASSUMPTION: a ladder too small for a back-test errs by 0.1 % more at 4 times the compute, less
than a coupling of size and tokens that it cannot see. `no_backtest` says that this is an
assumption."""

DEFAULT_DISTANCE = float(np.log(4.0))

LEAST_TRUNKS = 3
"""Trunks that a back-test of a ladder must leave out for its error to be measured."""

PRIOR_PIECES = 2.0
"""Pieces of evidence (trunks left out; cuts of a curve, which share its noise and its runs) that
what is known beforehand counts: `CURVE_SPREAD` for a curve, none for a ladder, whose laws were
weighed by how they extrapolate. What a few trunks seem to miss is partly their noise."""


def new_run_spread(held: tuple[Held, ...], *, lone: bool) -> tuple[float, float]:
    """Extra sd of log loss for a new run, and the log-compute distance that it belongs to.

    `lone` says that the runs are a curve of one variable.

    The error that draws and noise leave unexplained is taken to grow linearly with distance:
    spread = distance * sqrt(sum(e^2 - v) / sum(h^2)) for the mixture's error e and variance v.
    """
    if not _tested(held, lone):
        return (CURVE_SPREAD if lone else LADDER_SPREAD), DEFAULT_DISTANCE
    square, explained, length = 0.0, 0.0, 0.0
    distances = []
    for one in held:
        error, variance = mixture(one)
        kept = 1.0
        if not lone:
            error, kept = _without_bad(error, variance), KEPT
        square += float((error**2).mean())
        explained += kept * float(variance.mean())
        length += float((one.missed.distance**2).mean())
        distances.append(one.missed.distance)
    reference = float(np.sqrt(np.mean(np.concatenate(distances) ** 2)))
    steepness = max(square - explained, 0.0) / length
    pieces = len(held) if lone else _left_out(held)
    assumed = (CURVE_SPREAD / DEFAULT_DISTANCE) ** 2 if lone else 0.0
    steepness = (pieces * steepness + PRIOR_PIECES * assumed) / (pieces + PRIOR_PIECES)
    return float(np.sqrt(steepness) * reference), reference


def mixture(one: Held) -> tuple[Array, Array]:
    """Log error (H,) of the mixture chosen below the cut, its variance within and between laws."""
    error = one.weight @ one.missed.error
    between = one.weight @ (one.missed.error - error) ** 2
    return error, one.weight @ one.variance + between


def _without_bad(error: Array, variance: Array) -> Array:
    """Errors (H,) cut at 1.5 explained sd from their median: a law that misses moves all of them.

    A bad run among those left out is off by itself; counted as the law's, one in ten widened
    forecasts of 60 branches at 100 times the compute until they covered 97 % at a nominal 90 %.
    """
    middle, reach = float(np.median(error)), CUT * np.sqrt(variance)
    return np.asarray(np.clip(error, middle - reach, middle + reach))


def _left_out(held: tuple[Held, ...]) -> int:
    """Trunks left out at the cut that left out most."""
    return max((np.unique(one.missed.trunk).size for one in held), default=0)


def _tested(held: tuple[Held, ...], lone: bool) -> bool:
    """Whether enough was left out to measure an error: one or two runs show their noise alone."""
    return bool(held) and (lone or _left_out(held) >= LEAST_TRUNKS)


def untested_problem(held: tuple[Held, ...], law: Law) -> tuple[Problem, ...]:
    """`no_backtest` where too few runs could be left out to see how the law extrapolates."""
    if _tested(held, law.inputs == ("x",)) or any(map(is_share, law.inputs)):
        return ()
    return (
        Problem(
            code="no_backtest",
            severity="warning",
            text="Too few runs to leave some out and forecast them: the interval holds if the "
            "law does, which these runs cannot show.",
            remedy="Add sizes and horizons, up to about 15 runs, or read forecasts as conditional.",
            affects=("forecast",),
        ),
    )


def backtest_problem(held: tuple[Held, ...]) -> tuple[Problem, ...]:
    """`backtest_missed` where draws and noise alone would have been clearly too narrow.

    Judged on the mean square of error over sd in each cut: above 4 (an error of 2 sd on
    average), seldom reached by chance even if a cut's errors all move together (5 %).
    """
    for one in held:
        error, variance = mixture(one)
        ratio = float(np.mean(error**2 / np.maximum(variance, 1e-16)))
        if ratio > 4 and float(np.sqrt((error**2).mean())) > 1e-4:
            return (
                Problem(
                    code="backtest_missed",
                    severity="warning",
                    text=(
                        f"Fitted on the cheaper runs only, the law missed the "
                        f"{error.size} dearer ones by {100 * np.sqrt((error**2).mean()):.1f} % "
                        f"(signed mean {100 * error.mean():+.1f} %), {ratio**0.5:.1f} times its "
                        f"own standard error."
                    ),
                    remedy="The interval was widened by it; add larger pilots or more horizons.",
                    affects=("forecast",),
                ),
            )
    return ()
