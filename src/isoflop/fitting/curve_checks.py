"""Where along the curves a law begins to hold, how it errs beyond, and what to tell of both."""

from dataclasses import dataclass

import numpy as np
from scipy.special import fdtri

from isoflop._types import Array, Problem
from isoflop.fitting.curve_table import Curves
from isoflop.fitting.draws import draw_parameters
from isoflop.fitting.one_law import LawFit, fit_law
from isoflop.fitting.weigh import CURVE_SPREAD, DEFAULT_DISTANCE
from isoflop.laws import Law

STARTS = 6
"""Best starts that go on where many fits are made."""

LEVEL_OF_TEST = 0.99
"""An earlier octave of tokens is let go at this level: too often costs a few points, no more."""

WORSE = 4.0
"""Mean square that a point of an earlier octave may add, in those of the later points: 2 sd."""

FAR = 4.0
"""Standard deviations up to which a residual counts in that test."""

KEPT = 4.0
"""The law must hold over the last factor of tokens like this, or it holds nowhere."""

PRIOR_PIECES = 0.1
"""What the assumed error counts against left-out sizes or horizons that were seen to obey."""

VARIED = 1.5
"""Smooth rates that differ by less than this factor identify no gain of a cooldown."""

MISSED = 4.0
"""Mean square of error over sd at left-out ends from which on the back-test counts as missed."""

WAVES = 0.6
"""Correlation of neighbours above which the residuals are told to run in waves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """Errors of log loss at the ends of left-out curves (H,), their distance and variance."""

    error: Array
    distance: Array
    variance: Array
    trunks: int


def first_tokens(curves: Curves, law: Law, memory: float) -> tuple[float, bool]:
    """From how many tokens on the law holds, and whether it holds over a factor 4 at all.

    Octave after octave is taken in, from the latest to the earliest, until one adds more to the
    sum of squares than chance lets it (Chow's predictive test at 1 %), and clearly more: above
    four times the mean square of the later points, since no law fits real curves to the last
    digit. Residuals count up to 4 sd, so that one bad point ends nothing.

    Source: Chow 1960, Econometrica 28, 591-605.
    """
    top = float(curves.n_tokens.max())
    cut = top / KEPT
    while (curves.n_tokens >= cut).sum() < 2 * len(law.params) and cut > curves.n_tokens.min():
        cut /= 2
    least = cut
    while cut > curves.n_tokens.min():
        late, more = (curves.where(curves.n_tokens >= at) for at in (cut, cut / 2))
        if len(more) > len(late) and _breaks(late, more, law, memory):
            return cut, cut < least
        cut /= 2
    return 0.0, True


def _breaks(late: Curves, more: Curves, law: Law, memory: float) -> bool:
    """Whether the points that `more` has beside `late` do not follow the same law."""
    alone, both = (fit_law(one.as_runs(law, memory), law, few=STARTS) for one in (late, more))
    freedom, extra = len(late) - len(law.params), len(more) - len(late)
    # 1e-4 of log loss is below what an evaluation measures: exact data stay whole.
    sd = max(alone.standard_error, 1e-4)
    squares = [
        float((np.clip(one.residual, -FAR * sd, FAR * sd) ** 2).sum()) for one in (alone, both)
    ]
    before = max(squares[0] / freedom, 1e-8)
    limit = max(WORSE, float(fdtri(extra, freedom, LEVEL_OF_TEST)))
    return (squares[1] - squares[0]) / extra > before * limit


def backtest_curves(curves: Curves, law: Law, memory: float, seed: int) -> tuple[Missed, ...]:
    """Fits without the largest sizes (or the longest half of one), judged at the curves' ends."""
    found = []
    for number, test in enumerate(_cuts(curves, law)):
        rest = curves.where(~test)
        if len(rest) <= len(law.params) + 3:
            continue
        fitted = fit_law(rest.as_runs(law, memory), law, few=STARTS)
        rng = np.random.default_rng([seed, 1, number])
        trunk = np.unique(rest.trunk, return_inverse=True)[1]
        draws = draw_parameters(fitted, trunk, 100, rng)
        ends = curves.where(test & curves.final)
        ends = ends if len(ends) else curves.where(test)
        columns = ends.columns(law, memory)
        logs = fitted.log_mean(np.concatenate([fitted.z[None], draws]), columns)
        found.append(
            Missed(
                error=logs[0] - np.log(ends.loss),
                distance=_distance(ends, rest),
                variance=logs[1:].var(axis=0) + fitted.noise.total**2,
                trunks=int(np.unique(ends.trunk).size),
            )
        )
    return tuple(found)


def _cuts(curves: Curves, law: Law) -> list[np.ndarray]:
    """Masks of what is left out: the largest size, the two largest; or the later half."""
    sizes = curves.sizes
    if "n_params" in law.inputs and curves.n_params is not None and sizes.size > 3:
        top = range(1, max(2, min(3, sizes.size - 2)))
        return [curves.n_params >= sizes[-k] for k in top]
    return [curves.n_tokens > curves.n_tokens.max() / 2]


def _distance(ends: Curves, rest: Curves) -> Array:
    """Log distance (H,) of compute, size or tokens beyond the rest, the farthest; at least 0.1."""
    far = np.maximum(np.log(ends.compute / rest.compute.max()), 0.1)
    if ends.n_params is not None and rest.n_params is not None:
        far = np.maximum(far, np.log(ends.n_params / rest.n_params.max()))
    return np.asarray(np.maximum(far, np.log(ends.n_tokens / rest.n_tokens.max())))


def spread_of(missed: tuple[Missed, ...]) -> tuple[float, float]:
    """Extra sd of log loss of a new run at a log-compute distance, and that distance."""
    if not missed:
        return CURVE_SPREAD, DEFAULT_DISTANCE
    square = float(np.mean([(one.error**2).mean() - one.variance.mean() for one in missed]))
    length = float(np.mean([(one.distance**2).mean() for one in missed]))
    assumed = (CURVE_SPREAD / DEFAULT_DISTANCE) ** 2
    pieces = max(one.trunks for one in missed)
    steepness = pieces * max(square, 0.0) / length + PRIOR_PIECES * assumed
    return float(np.sqrt(steepness / (pieces + PRIOR_PIECES) * length)), float(np.sqrt(length))


def backtest_problems(missed: tuple[Missed, ...]) -> tuple[Problem, ...]:
    """`no_backtest` where nothing could be left out, `backtest_missed` above 2 sd of error."""
    if not missed:
        return (
            Problem(
                code="no_backtest",
                severity="warning",
                text="Too few points to leave a size or the longest horizon out: the interval "
                "assumes by how much the law errs beyond the curves.",
                remedy="Add sizes, or evaluate more often along the runs.",
                affects=("forecast",),
            ),
        )
    for one in missed:
        ratio = float(np.mean(one.error**2 / np.maximum(one.variance, 1e-16)))
        if ratio > MISSED and float(np.sqrt((one.error**2).mean())) > 1e-4:
            return (
                Problem(
                    code="backtest_missed",
                    severity="warning",
                    text=f"Fitted without the largest, the law missed the ends of {one.error.size} "
                    f"curves by {100 * float(np.sqrt((one.error**2).mean())):.1f} % (signed mean "
                    f"{100 * float(one.error.mean()):+.1f} %).",
                    remedy="The interval was widened by it; add larger pilots.",
                    affects=("forecast",),
                ),
            )
    return ()


def curve_problems(
    curves: Curves, law: Law, fitted: LawFit, smooth: Array, correlation: float
) -> tuple[Problem, ...]:
    """What the design of the curves cannot tell, and how the law bends along them."""
    found = []
    sizes = curves.sizes.size
    if "n_params" in law.inputs and sizes < 3:
        found.append(
            Problem(
                code="few_runs",
                severity="warning",
                text=f"Only {sizes} sizes: how the loss falls with size is hardly identified.",
                remedy="Train at least 4 sizes; short ones will do.",
            )
        )
    if float(smooth.max() / smooth.min()) < VARIED:
        found.append(
            Problem(
                code="one_schedule",
                severity="warning",
                text="All points were taken at nearly the same share of the peak rate: what a "
                "cooldown brings is not identified.",
                remedy="Cool down one or two pilots; forecasts of others are disqualified.",
                affects=("forecast",),
            )
        )
    if correlation > WAVES:
        found.append(
            Problem(
                code="law_bends",
                severity="note",
                text=f"Neighbouring points err together (correlation {correlation:.2f}, sd "
                f"{100 * fitted.noise.own:.2g} %): the curves bend another way than the law.",
                remedy="Trust the ends of the curves; the draws take the waves into account.",
                affects=("forecast",),
            )
        )
    return tuple(found)


def left_out_problems(n_warm: int, n_early: int, first: float, holds: bool) -> tuple[Problem, ...]:
    """What was left out at the start of the curves."""
    found = []
    if n_warm or n_early:
        found.append(
            Problem(
                code="early_points",
                severity="note",
                text=f"{n_warm} points in the warm-up and {n_early} before {first:.3g} tokens, "
                f"where the law does not hold yet, were left out.",
                remedy="Nothing to do; longer runs would make more of their curves usable.",
                affects=("forecast",),
            )
        )
    if not holds:
        found.append(
            Problem(
                code="pre_asymptotic",
                severity="warning",
                text="The law holds over no more than the last factor 4 of tokens.",
                remedy="Train longer: the curves still change their shape.",
            )
        )
    return tuple(found)
