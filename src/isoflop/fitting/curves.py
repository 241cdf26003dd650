"""`fit_curves`: whole loss curves, schedule-aware -> a `CurveFit`."""

from dataclasses import dataclass, replace

import numpy as np

from isoflop._errors import FitError, InputError
from isoflop._types import LEVEL, Array, Table
from isoflop.fitting.check_optimum import optimum_problems
from isoflop.fitting.curve_checks import (
    STARTS,
    backtest_curves,
    backtest_problems,
    curve_problems,
    first_tokens,
    left_out_problems,
    spread_of,
)
from isoflop.fitting.curve_fit import CurveComponent, CurveFit
from isoflop.fitting.curve_noise import draw_curve_noise, serial_correlation
from isoflop.fitting.curve_table import Curves, read_curve_table
from isoflop.fitting.draws import refit
from isoflop.fitting.intervals import parameter_intervals
from isoflop.fitting.one_law import LawFit, fit_law
from isoflop.laws import ANNEALED, ANNEALED_SIZES, CURVE_LAWS, Law, find_in

MEMORIES = tuple(2.0**-k for k in range(3, 11))
"""Memories of the rate that are tried, as shares of the longest run."""

MIDDLE = 4
"""The one of them that is used where the choice is not made yet."""

LEAST_WEIGHT = 0.01
"""Memories with a smaller share are left out."""

LEAST_DRAWS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    memory: float
    fitted: LawFit
    weight: float


def fit_curves(
    table: Table,
    *,
    law: str | Law = "auto",
    level: float = LEVEL,
    n_draws: int = 500,
    seed: int = 0,
) -> CurveFit:
    """Fit a law along a run to whole loss curves, each with its learning rate.

    Args:
        table: one row a point: `run`, `n_tokens` [tokens] (or `step`), `lr` (any unit), `loss`
            [nats/token]; where known `n_params` [parameters], `trunk` (runs that branched from
            one training), `kind` (`final`, `intermediate`, or `schedule` for a row that tells the
            rate and no loss). Rates are taken as shares of the largest of their size.
        law: "auto" (`annealed_sizes` where sizes differ, else `annealed`), a name of `CURVE_LAWS`
            or such a `Law`.
        level: level of every interval.
        n_draws: draws of the parameters.
        seed: the same seed gives the same numbers.

    Raises:
        FitError: a column or value is missing or wrong, or there are fewer points than parameters.
    """
    _check_options(level, n_draws)
    everything = read_curve_table(table)
    chosen = _law(law, everything)
    settled = everything.where(~everything.warmup)
    _check_enough(settled, chosen)
    longest = float(settled.n_tokens.max())
    first, holds = first_tokens(settled, chosen, longest * MEMORIES[MIDDLE])
    curves = settled.where(settled.n_tokens >= first)
    tried = _try_memories(curves, chosen, longest)
    made = _assemble(curves, chosen, tried, level, n_draws=n_draws, seed=seed)
    early = left_out_problems(
        int(everything.warmup.sum()), len(settled) - len(curves), first, holds
    )
    return replace(
        made,
        problems=made.problems + early,
        first_tokens=first,
        n_left_out=len(everything) - len(curves),
    )


def _check_options(level: float, n_draws: int) -> None:
    if not 0 < level < 1:
        raise InputError(f"`0 < level < 1` must hold, but got level={level}. Use e.g. 0.9.")
    if n_draws < 20:
        raise InputError(f"`n_draws >= 20` must hold, but got n_draws={n_draws}. Use 500.")


def _law(law: str | Law, curves: Curves) -> Law:
    if law == "auto":
        return ANNEALED_SIZES if curves.sizes.size > 1 else ANNEALED
    if isinstance(law, str):
        known = {one.name: one for one in CURVE_LAWS}
        find_in(law, known, "law")
        law = known[law]
    if "n_params" in law.inputs and curves.n_params is None:
        raise FitError(
            f"The law {law.name!r} needs the column 'n_params', but the table has none. Add it."
        )
    return law


def _check_enough(curves: Curves, law: Law) -> None:
    if len(curves) <= len(law.params):
        raise FitError(
            f"`points > {len(law.params)}` must hold for the law {law.name!r}, but the table has "
            f"{len(curves)} behind the warm-up. Add evaluations along the runs."
        )


def _try_memories(curves: Curves, law: Law, longest: float) -> tuple[_Tried, ...]:
    """Fits with every memory of the rate, the best first, weighed as curves are independent.

    The weight is the likelihood of normal residuals with one independent piece a curve: points of
    a curve err together, so that counting them all would make the memory look surer than it is.
    """
    felt = {"lr_smooth", "lr_drop"} & set(law.inputs)
    memories = [longest * share for share in (MEMORIES if felt else MEMORIES[MIDDLE : MIDDLE + 1])]
    fits = [fit_law(curves.as_runs(law, one), law, few=STARTS) for one in memories]
    log_weight = np.array([-curves.n_curves * np.log(max(f.standard_error, 1e-7)) for f in fits])
    weight = np.exp(log_weight - log_weight.max())
    weight = np.where(weight < LEAST_WEIGHT * weight.sum(), 0.0, weight)
    weight = weight / weight.sum()
    order = [int(i) for i in np.argsort(-weight, kind="stable") if weight[i] > 0]
    best = memories[order[0]]
    # The best is fitted again from every start: its certificate is the fit's.
    again = fit_law(curves.as_runs(law, best), law)
    return tuple(
        _Tried(
            memory=memories[i],
            fitted=again if i == order[0] else fits[i],
            weight=float(weight[i]),
        )
        for i in order
    )


def _assemble(
    curves: Curves, law: Law, tried: tuple[_Tried, ...], level: float, *, n_draws: int, seed: int
) -> CurveFit:
    best = tried[0]
    correlation = serial_correlation(best.fitted.residual, curves.run)
    components = tuple(
        _component(one, curves, correlation, np.random.default_rng([seed, number]), n_draws)
        for number, one in enumerate(tried)
    )
    smooth = curves.smooth(best.memory)
    missed = backtest_curves(curves, law, best.memory, seed)
    spread, distance = spread_of(missed)
    runs = curves.as_runs(law, best.memory)
    problems = tuple(optimum_problems(best.fitted, components[0].draws, runs))
    problems += curve_problems(curves, law, best.fitted, smooth, correlation)
    problems += backtest_problems(missed)
    return CurveFit(
        law=law,
        theta=parameter_intervals(law, components[0].theta, components[0].draws, level),
        components=components,
        memory=best.memory,
        correlation=correlation,
        sigma=float(sum(one.weight * one.fitted.noise.total for one in tried)),
        spread=spread,
        spread_distance=distance,
        ranges=_ranges(curves, smooth),
        peaks=curves.peaks,
        certificate=best.fitted.certificate,
        problems=problems,
        n_points=len(curves),
        n_curves=curves.n_curves,
        n_trunks=int(np.unique(curves.trunk).size),
        first_tokens=0.0,
        n_left_out=0,
        level=level,
    )


def _component(
    tried: _Tried, curves: Curves, correlation: float, rng: np.random.Generator, n_draws: int
) -> CurveComponent:
    count = max(LEAST_DRAWS, round(n_draws * tried.weight))
    members = (np.unique(curves.trunk, return_inverse=True)[1], curves.run)
    noise = draw_curve_noise(tried.fitted.noise, correlation, members, count, rng)
    return CurveComponent(
        memory=tried.memory,
        theta=tried.fitted.theta,
        draws=tried.fitted.to_theta(refit(tried.fitted, noise, rng)),
        weight=tried.weight,
    )


def _ranges(curves: Curves, smooth: Array) -> dict[str, tuple[float, float]]:
    columns = {"n_tokens": curves.n_tokens, "lr_smooth": smooth}
    if curves.n_params is not None:
        columns |= {"n_params": curves.n_params, "n_params*n_tokens": curves.compute}
    return {name: (float(column.min()), float(column.max())) for name, column in columns.items()}
