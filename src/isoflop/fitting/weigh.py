"""The extra spread of a new run, from the back-test."""

import numpy as np

from isoflop._types import Array, Problem
from isoflop.fitting.backtest import Held

DEFAULT_SPREAD = 0.03
"""ASSUMPTION: without a back-test a law may err by 3 % more at 4 times the compute; about what
small transformer ladders showed beyond their own noise."""

DEFAULT_DISTANCE = float(np.log(4.0))

PRIOR_TRUNKS = 0.05
"""What the assumption counts against trunks that were seen to obey: with five of them it adds
0.5 % at ten times the compute."""

PRIOR_CUTS = 2.0
"""The same against cuts of one curve, which share its noise and its runs."""


def new_run_spread(held: tuple[Held, ...]) -> tuple[float, float]:
    """Extra sd of log loss for a new run, and the log-compute distance that it belongs to.

    The error that draws and noise leave unexplained is taken to grow linearly with distance:
    spread = distance * sqrt(sum(e^2 - v) / sum(h^2)) for the mixture's error e and variance v.
    """
    if not held:
        return DEFAULT_SPREAD, DEFAULT_DISTANCE
    square, explained, length = 0.0, 0.0, 0.0
    distances = []
    for one in held:
        error, variance = mixture(one)
        square += float((error**2).mean())
        explained += float(variance.mean())
        length += float((one.missed.distance**2).mean())
        distances.append(one.missed.distance)
    reference = float(np.sqrt(np.mean(np.concatenate(distances) ** 2)))
    steepness = max(square - explained, 0.0) / length
    # A few trunks, and fewer still the cuts of one lone curve, do not prove that a law errs by
    # nothing beyond its draws: the assumption above counts as a piece of evidence too.
    trunks = max(np.unique(one.missed.trunk).size for one in held)
    pieces, prior = (trunks, PRIOR_TRUNKS) if trunks > 1 else (len(held), PRIOR_CUTS)
    assumed = (DEFAULT_SPREAD / DEFAULT_DISTANCE) ** 2
    steepness = (pieces * steepness + prior * assumed) / (pieces + prior)
    return float(np.sqrt(steepness) * reference), reference


def mixture(one: Held) -> tuple[Array, Array]:
    """Log error (H,) of the mixture chosen below the cut, its variance within and between laws."""
    error = one.weight @ one.missed.error
    between = one.weight @ (one.missed.error - error) ** 2
    return error, one.weight @ one.variance + between


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
