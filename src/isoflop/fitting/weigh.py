"""Weights of the laws and the extra spread of a new run, both from the back-test."""

import numpy as np

from isoflop._types import Array, Problem
from isoflop.fitting.backtest import Held

DEFAULT_SPREAD = 0.03
"""ASSUMPTION: without a back-test a law may err by 3 % more at 4 times the compute; about what
small transformer ladders showed beyond their own noise."""

DEFAULT_DISTANCE = float(np.log(4.0))


def law_weights(held: tuple[Held, ...], in_sample: Array, n_trunks: int) -> Array:
    """Share of each law (K,): exp(-n/2 (ms/ms_best - 1)), ms = mean squared back-test error.

    Errors of one trunk, and of overlapping cuts, are one piece of evidence: n counts the trunks
    seen in the largest cut. The noise of the fit is added to ms, below which no law can be told
    from another. Without a back-test the in-sample error stands in.
    """
    if held:
        mean_square = backtest_square(held)
        evidence = max(len(one.trunk) for one in held)
    else:
        mean_square, evidence = in_sample**2, n_trunks
    floor = mean_square + float((in_sample**2).min())
    log_weight = -0.5 * evidence * (floor / max(float(floor.min()), 1e-300) - 1)
    weight = np.exp(log_weight - log_weight.max())
    weight[weight < 1e-3] = 0.0
    return np.asarray(weight / weight.sum())


def backtest_square(held: tuple[Held, ...]) -> Array:
    """Mean squared log error (K,), every cut counting the same."""
    return np.asarray(np.mean([(one.error**2).mean(axis=1) for one in held], axis=0))


def new_run_spread(held: tuple[Held, ...], weight: Array) -> tuple[float, float]:
    """Extra sd of log loss for a new run, and the log-compute distance that it belongs to.

    The error that draws and noise leave unexplained is taken to grow linearly with distance:
    spread = distance * sqrt(sum(e^2 - v) / sum(h^2)) for the mixture's error e and variance v.
    """
    if not held:
        return DEFAULT_SPREAD, DEFAULT_DISTANCE
    square, explained, length = 0.0, 0.0, 0.0
    distances = []
    for one in held:
        error, variance = mixture(one, weight)
        square += float((error**2).mean())
        explained += float(variance.mean())
        length += float((one.distance**2).mean())
        distances.append(one.distance)
    reference = float(np.sqrt(np.mean(np.concatenate(distances) ** 2)))
    slope = np.sqrt(max(square - explained, 0.0) / length)
    return float(slope * reference), reference


def mixture(one: Held, weight: Array) -> tuple[Array, Array]:
    """Log error (H,) of the weighted law and the variance within and between the laws."""
    error = weight @ one.error
    between = weight @ (one.error - error) ** 2
    return error, weight @ one.variance + between


def backtest_problem(held: tuple[Held, ...], weight: Array) -> tuple[Problem, ...]:
    """`backtest_missed` where draws and noise alone would have been clearly too narrow.

    Judged on the mean square of error over sd in each cut: above 4 (an error of 2 sd on
    average), seldom reached by chance even if a cut's errors all move together (5 %).
    """
    for one in held:
        error, variance = mixture(one, weight)
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
