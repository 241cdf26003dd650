"""`fit`: a table of runs -> a `Fit` whose intervals are honest about a run not yet made."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np

from isoflop._errors import FitError, InputError
from isoflop._types import LEVEL, Array, Table, is_share
from isoflop.fitting.backtest import Held, backtest
from isoflop.fitting.candidates import Candidate, candidates_for
from isoflop.fitting.checks import design_problems, fit_problems
from isoflop.fitting.chosen_law import LawChoice, chosen_law
from isoflop.fitting.fit_result import Fit, LawScore
from isoflop.fitting.horizons import horizon_problems
from isoflop.fitting.intervals import parameter_intervals
from isoflop.fitting.noise import left_out_scale
from isoflop.fitting.objective import OBJECTIVES, Objective
from isoflop.fitting.one_law import LawFit, draw_parameters, fit_law
from isoflop.fitting.prior import Prior, find_prior, prior_problem
from isoflop.fitting.record import Record, data_sha256
from isoflop.fitting.solver import log_jacobian
from isoflop.fitting.table import Runs, column_names, read_table
from isoflop.fitting.weigh import backtest_problem, new_run_spread, untested_problem
from isoflop.fitting.weights import law_weights, mean_squares
from isoflop.laws import (
    CHINCHILLA,
    KAPLAN_FLOOR,
    KAPLAN_JOINT,
    POWER,
    POWER_FLOOR,
    REPEATED,
    SKALING,
    Component,
    Estimate,
    Law,
    exponential_mixing,
    find_in,
)

AUTO_PAIR = (CHINCHILLA, SKALING, KAPLAN_JOINT, KAPLAN_FLOOR)
"""Tied exponents do not compete: they forecast no better, and where they win they fix the
allocation by assumption (intervals of N_opt that should hold 90 % held 77 % of simulated
truths)."""

AUTO_SINGLE = (POWER_FLOOR,)

FREEDOM = 4
"""Runs beyond its parameters that a law of size and tokens needs to compete: with fewer, the
choice among laws is a choice among noises."""

EPOCH = 1.01
"""Tokens over unique ones above which data count as repeated; below, batches were rounded."""

SHORT = 8
"""Rows of one variable below which the power without a floor competes too: above, its floor at
zero is what the data choose, not what few of them fail to refuse."""


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
) -> Fit:
    """Fit one law, or all that the columns allow weighed by back-test (`law="auto"`).

    Args:
        table: columns `n_params` [parameters] and `n_tokens` [tokens], or `x` (any unit) or
            `flops` [FLOPs] alone, or mixture shares `w_<domain>` alone; the target;
            optionally `n_unique_tokens` (where less than `n_tokens`, the law of repeated data
            competes too), `trunk`, `kind`, `run`.
        target: the column to predict.
        law: a name of `LAWS`, a `Law`, a function of named arguments (`laws.own_law`): those that
            are columns of the table are inputs, the others parameters; or "auto".
        level: level of every interval.
        n_draws: draws of the parameters.
        seed: the same seed gives the same numbers.
        objective: "robust", "hoffmann", "log_ls", "level_ls" or "one_sided"; see `objective`.
        prior: what is known of the exponents: "exponents" borrows alpha and beta from published
            ladders, for tables too thin to show them; the fit then says so.

    Raises:
        FitError: a column or value is missing or wrong, or there are fewer rows than parameters.
    """
    _check_options(level, n_draws, objective)
    laws, runs = _prepare(table, target, law)
    known = find_prior(prior)
    return _fit_runs(
        table, runs, laws, level, n_draws=n_draws, seed=seed, objective=objective, prior=known
    )


def _fit_runs(
    table: Table,
    runs: Runs,
    laws: tuple[Law, ...],
    level: float,
    *,
    n_draws: int,
    seed: int,
    objective: Objective,
    prior: Mapping[str, Prior],
) -> Fit:
    tried = candidates_for(runs, laws)
    rows = [one.rows(runs) for one in tried]
    fits = [
        fit_law(part, one.law, objective, prior=prior)
        for part, one in zip(rows, tried, strict=True)
    ]
    held = backtest(runs, tried, seed, prior)
    missed = tuple(one.missed for one in held)
    size = np.array([len(one.law.params) for one in tried])
    in_sample = np.array([one.standard_error for one in fits])
    weight = law_weights(missed, in_sample, size, runs.n_trunks)
    seeds = [np.random.default_rng([seed, 0, number]) for number in range(len(fits))]
    draws = [
        draw_parameters(f, part.trunk, n_draws, rng)
        for f, part, rng in zip(fits, rows, seeds, strict=True)
    ]
    best = int(np.argmax(weight))
    problems = design_problems(table, rows[best], tried[best].law)
    problems += fit_problems(
        table,
        fits[best],
        fits[best].to_theta(draws[best]),
        rows[best],
        partial(fit_law, objective=objective, few=8, prior=prior),
    )
    problems += backtest_problem(held) + prior_problem(tried[best].law.names, prior)
    problems += untested_problem(held, tried[best].law)
    record = Record(
        data_sha256=data_sha256(runs),
        objective=objective,
        seed=seed,
        n_draws=n_draws,
        prior=tuple(name for name in fits[best].law.names if name in prior),
        noise=fits[best].noise,
    )
    estimate = Estimate(
        components=_components(fits, draws, weight),
        problems=problems,
        source=f"isoflop fit of {len(runs)} runs on {runs.n_trunks} trunks, "
        f"data {record.data_sha256[:12]}",
        data_sha256=record.data_sha256,
        n_params_convention=_convention(table, "n_params_convention"),
        flops_convention=_convention(table, "flops_convention"),
        ranges=_ranges(rows[best]),
        target=runs.target,
        level=level,
        **_noise(fits, held, weight, lone="x" in runs.columns),
    )
    problems += horizon_problems(runs, estimate)
    return Fit(
        law=tried[best].law,
        theta=parameter_intervals(
            tried[best].law, fits[best].theta, fits[best].to_theta(draws[best]), level
        ),
        estimate=replace(estimate, problems=problems),
        certificate=fits[best].certificate,
        problems=problems,
        scores=_scores(tried, fits, held, weight),
        n_runs=len(runs),
        n_trunks=runs.n_trunks,
        target=runs.target,
        record=record,
        fitted=fits[best],
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


def _check_options(level: float, n_draws: int, objective: str) -> None:
    if not 0 < level < 1:
        raise InputError(f"`0 < level < 1` must hold, but got level={level}. Use e.g. 0.9.")
    if n_draws < 20:
        raise InputError(f"`n_draws >= 20` must hold, but got n_draws={n_draws}. Use 500.")
    find_in(objective, dict.fromkeys(OBJECTIVES), "objective")


def _prepare(table: Table, target: str, law: LawChoice) -> tuple[tuple[Law, ...], Runs]:
    """The laws to try and the rows to fit them to."""
    pair = "n_params" in table and "n_tokens" in table
    laws: tuple[Law, ...]
    if law == "auto" and pair and _repeats(table, target):
        laws = (*AUTO_PAIR, REPEATED)
    elif law == "auto":
        single = not pair and ("x" in table or "flops" in table)
        short = single and np.size(table["x"] if "x" in table else table["flops"]) < SHORT
        laws = AUTO_PAIR if not single else (POWER_FLOOR, POWER) if short else AUTO_SINGLE
        domains = tuple(name[2:] for name in column_names(table) if is_share(name))
        if domains and not pair and not single:
            laws = (exponential_mixing(domains),)
    else:
        laws = (chosen_law(law, table, target),)
    names = tuple(dict.fromkeys(name for one in laws for name in one.inputs))
    if names == ("x",) and "x" not in table and "flops" in table:
        table = _with_x(table)
    runs = read_table(table, target, names)
    enough = tuple(one for one in laws if len(one.params) < len(runs))
    if law == "auto" and pair:
        free = tuple(one for one in enough if len(one.params) + FREEDOM <= len(runs))
        enough = free or enough[:1]
    if not enough:
        smallest = min(laws, key=lambda one: len(one.params))
        raise FitError(
            f"`runs > {len(smallest.params)}` must hold for the law {smallest.name!r}, but the "
            f"table has {len(runs)} usable rows. Add runs."
        )
    return enough, runs


def _repeats(table: Table, target: str) -> bool:
    """Whether some run saw its data more than once."""
    if "n_unique_tokens" not in table:
        return False
    columns = read_table(table, target, REPEATED.inputs).columns
    return bool((columns["n_tokens"] > EPOCH * columns["n_unique_tokens"]).any())


def _with_x(table: Table) -> Table:
    names = [name for name in ("trunk", "run", "kind") if name in table]
    targets = {name: table[name] for name in column_names(table) if name not in names}
    return {**targets, **{name: table[name] for name in names}, "x": table["flops"]}


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
