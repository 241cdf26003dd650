"""`fit`: a table of runs -> a `Fit` whose intervals are honest about a run not yet made."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from isoflop._errors import InputError
from isoflop._types import LEVEL, Array, Problem, Table, is_share
from isoflop.fitting.backtest import Held, backtest
from isoflop.fitting.candidates import Candidate, candidates_for
from isoflop.fitting.checks import design_problems, fit_problems
from isoflop.fitting.chosen_law import LawChoice
from isoflop.fitting.draws import RESAMPLINGS, Resampling, draw_parameters
from isoflop.fitting.fit_result import Fit, LawScore
from isoflop.fitting.horizons import horizon_problems
from isoflop.fitting.intervals import parameter_intervals
from isoflop.fitting.noise import left_out_scale
from isoflop.fitting.objective import OBJECTIVES, Objective
from isoflop.fitting.one_law import LawFit, fit_law
from isoflop.fitting.prior import Prior, find_prior, prior_problem
from isoflop.fitting.record import Record, data_sha256
from isoflop.fitting.solver import log_jacobian
from isoflop.fitting.table import Runs
from isoflop.fitting.weigh import backtest_problem, new_run_spread, untested_problem
from isoflop.fitting.weights import law_weights, mean_squares
from isoflop.fitting.which_laws import which_laws
from isoflop.laws import (
    Component,
    Estimate,
    Law,
    find_in,
)


def fit(
    table: Table,
    *,
    target: str = "loss",
    law: LawChoice = "auto",
    level: float = LEVEL,
    n_draws: int = 500,
    seed: int = 0,
    objective: Objective = "robust",
    prior: Mapping[str, Prior] | Literal["exponents"] | None = None,
    resampling: Resampling = "auto",
) -> Fit:
    """Fit one law, or all that the columns allow weighed by back-test (`law="auto"`).

    Args:
        table: columns `n_params` [parameters] and `n_tokens` [tokens], or `x` (any unit) or
            `flops` [FLOPs] alone, or mixture shares `w_<domain>` alone; the target;
            optionally `n_unique_tokens` (where less than `n_tokens`, the law of repeated data
            competes too), `trunk`, `kind`, `run`.
        target: the column to predict.
        law: a name of `LAWS`, a `Law`, a function of named arguments (`laws.own_law`): those that
            are columns of the table are inputs, the others parameters; or "auto". A list of these
            compete: `law=["auto", mine]` lets a law of one's own run against the usual ones.
        level: level of every interval.
        n_draws: draws of the parameters.
        seed: the same seed gives the same numbers.
        objective: "robust", "hoffmann", "log_ls", "level_ls" or "one_sided"; see `objective`.
        prior: what is known of the exponents: "exponents" borrows alpha and beta from published
            ladders, for tables too thin to show them; the fit then says so.
        resampling: what draws are: "noise", "trunks", "wild" (see `draw_parameters`), or "auto".

    Raises:
        FitError: a column or value is missing or wrong, or there are fewer rows than parameters.
    """
    ask = _Ask(
        level=level,
        n_draws=n_draws,
        seed=seed,
        objective=objective,
        prior=find_prior(prior),
        resampling=resampling,
    )
    laws, runs = which_laws(table, target, law)
    return _fit_runs(table, runs, laws, ask)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    """How a fit was asked for."""

    level: float
    n_draws: int
    seed: int
    objective: Objective
    prior: Mapping[str, Prior]
    resampling: Resampling

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise InputError(
                f"`0 < level < 1` must hold, but got level={self.level}. Use e.g. 0.9."
            )
        if self.n_draws < 20:
            raise InputError(f"`n_draws >= 20` must hold, but got n_draws={self.n_draws}. Use 500.")
        find_in(self.objective, dict.fromkeys(OBJECTIVES), "objective")
        find_in(self.resampling, dict.fromkeys(RESAMPLINGS), "resampling")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """Every candidate fitted, weighed and drawn; `best` has the largest weight."""

    candidates: tuple[Candidate, ...]
    rows: list[Runs]
    fits: list[LawFit]
    draws: list[Array]
    """None (0, P) of a candidate without weight."""
    held: tuple[Held, ...]
    weight: Array

    @property
    def best(self) -> int:
        return int(np.argmax(self.weight))


def _try_laws(runs: Runs, laws: tuple[Law, ...], ask: _Ask) -> _Tried:
    tried = candidates_for(runs, laws)
    rows = [one.rows(runs) for one in tried]
    fits = [
        fit_law(part, one.law, ask.objective, prior=ask.prior)
        for part, one in zip(rows, tried, strict=True)
    ]
    held = backtest(runs, tried, ask.seed, ask.prior)
    missed = tuple(one.missed for one in held)
    size = np.array([len(one.law.params) for one in tried])
    in_sample = np.array([one.standard_error for one in fits])
    weight = law_weights(missed, in_sample, size, runs.n_trunks)
    draws = [
        _drawn(one, part.trunk, number, ask) if weight[number] else np.empty((0, one.z.size))
        for number, (one, part) in enumerate(zip(fits, rows, strict=True))
    ]
    return _Tried(candidates=tried, rows=rows, fits=fits, draws=draws, held=held, weight=weight)


def _drawn(fitted: LawFit, trunk: np.ndarray, number: int, ask: _Ask) -> Array:
    """Draws (B, P) of one candidate, by a generator of its own: others do not move them."""
    rng = np.random.default_rng([ask.seed, 0, number])
    return draw_parameters(fitted, trunk, ask.n_draws, rng, ask.resampling)


def _problems(table: Table, tried: _Tried, ask: _Ask) -> tuple[Problem, ...]:
    """What is wrong with the runs or the fit of the best law, before anything is forecast."""
    best, fitted, rows = tried.best, tried.fits[tried.best], tried.rows[tried.best]
    again = partial(fit_law, objective=ask.objective, few=8, prior=ask.prior)
    return (
        *design_problems(table, rows, fitted.law),
        *fit_problems(table, fitted, fitted.to_theta(tried.draws[best]), rows, again),
        *backtest_problem(tried.held),
        *prior_problem(fitted.law.names, ask.prior),
        *untested_problem(tried.held, fitted.law),
    )


def _fit_runs(table: Table, runs: Runs, laws: tuple[Law, ...], ask: _Ask) -> Fit:
    tried = _try_laws(runs, laws, ask)
    fitted, draws = tried.fits[tried.best], tried.draws[tried.best]
    record = Record(
        data_sha256=data_sha256(runs),
        objective=ask.objective,
        seed=ask.seed,
        n_draws=ask.n_draws,
        prior=tuple(name for name in fitted.law.names if name in ask.prior),
        noise=fitted.noise,
        resampling=ask.resampling,
    )
    problems = _problems(table, tried, ask)
    estimate = _estimate(table, runs, tried, problems, record, ask.level)
    problems += horizon_problems(runs, estimate)
    return Fit(
        law=fitted.law,
        theta=parameter_intervals(fitted.law, fitted.theta, fitted.to_theta(draws), ask.level),
        estimate=replace(estimate, problems=problems),
        certificate=fitted.certificate,
        problems=problems,
        scores=_scores(tried.candidates, tried.fits, tried.held, tried.weight),
        n_runs=len(runs),
        n_trunks=runs.n_trunks,
        target=runs.target,
        record=record,
        fitted=fitted,
    )


def _estimate(
    table: Table,
    runs: Runs,
    tried: _Tried,
    problems: tuple[Problem, ...],
    record: Record,
    level: float,
) -> Estimate:
    return Estimate(
        components=_components(tried.fits, tried.draws, tried.weight),
        problems=problems,
        source=f"isoflop fit of {len(runs)} runs on {runs.n_trunks} trunks, "
        f"data {record.data_sha256[:12]}",
        data_sha256=record.data_sha256,
        n_params_convention=_convention(table, "n_params_convention"),
        flops_convention=_convention(table, "flops_convention"),
        ranges=_ranges(tried.rows[tried.best]),
        target=runs.target,
        level=level,
        **_noise(tried.fits, tried.held, tried.weight, lone="x" in runs.columns),
    )


def _components(fits: list[LawFit], draws: list[Array], weight: Array) -> tuple[Component, ...]:
    return tuple(
        Component(law=one.law, theta=one.theta, draws=one.to_theta(z), weight=float(w))
        for one, z, w in zip(fits, draws, weight, strict=True)
        if w > 0
    )


def _mixture_noise(fitted: LawFit) -> float:
    """The least noise of a law of shares alone, from runs left out in turn; 0 for others."""
    if not all(map(is_share, fitted.law.inputs)):
        return 0.0
    slope = log_jacobian(fitted.law, fitted.z[None], fitted.inputs)[0]
    return left_out_scale(fitted.residual, slope)


def _noise(
    fits: list[LawFit], held: tuple[Held, ...], weight: Array, *, lone: bool
) -> dict[str, float]:
    """The estimate's fields `sigma`, `spread` and `spread_distance`."""
    spread, distance = new_run_spread(held, lone=lone)
    sigma = float(weight @ [max(one.noise.total, _mixture_noise(one)) for one in fits])
    return {"sigma": sigma, "spread": spread, "spread_distance": distance}


def _scores(
    tried: tuple[Candidate, ...], fits: list[LawFit], held: tuple[Held, ...], weight: Array
) -> tuple[LawScore, ...]:
    missed = tuple(one.missed for one in held)
    errors = np.sqrt(mean_squares(missed)) if held else np.full(len(fits), np.nan)
    return tuple(
        LawScore(
            law=one.law.name,
            window=candidate.window,
            backtest=float(error),
            in_sample=float(np.sqrt((one.residual**2).mean())),
            weight=float(w),
        )
        for candidate, one, error, w in zip(tried, fits, errors, weight, strict=True)
    )


def _ranges(runs: Runs) -> dict[str, tuple[float, float]]:
    ranges = {name: (float(c.min()), float(c.max())) for name, c in runs.columns.items()}
    if {"n_params", "n_tokens"} <= set(runs.columns):
        ranges["n_params*n_tokens"] = (float(runs.compute.min()), float(runs.compute.max()))
    return ranges


def _convention(table: Any, name: str) -> str:
    """The convention named in the table's column of that name, if it has one value."""
    if name not in table:
        return "unknown"
    values = np.unique(np.asarray(table[name]).astype(str))
    return str(values[0]) if values.size == 1 else "unknown"
