"""`sensitivity`: how far the key answers move with choices that are seldom told."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from isoflop._errors import InputError
from isoflop._types import LEVEL, Interval, Table
from isoflop.accounting import FLOPS_PER_PARAM_TOKEN
from isoflop.fitting.check_rows import OUTWARD, far_rows
from isoflop.fitting.counts import Count, Split, counts_of, split_under
from isoflop.fitting.draws import draw_parameters
from isoflop.fitting.objective import Objective
from isoflop.fitting.one_law import LawFit, fit_law
from isoflop.fitting.sensitivity_result import Answer, Sensitivity
from isoflop.fitting.table import Runs, read_table
from isoflop.laws import CHINCHILLA, CHINCHILLA_TIED, SKALING, Law, optimum

OBJECTIVES: dict[str, tuple[Objective, str]] = {
    "robust": ("robust", "Huber at 1.345 robust sd on log residuals"),
    "log_ls": ("log_ls", "least squares on log residuals"),
    "level_ls": ("level_ls", "least squares on the loss itself"),
    "hoffmann": ("hoffmann", "Huber(1e-3) on log residuals, as the Chinchilla paper"),
}

LAWS: dict[str, tuple[Law, str]] = {
    "tied": (CHINCHILLA_TIED, "alpha = beta"),
    "coupled": (SKALING, "a coupled law: larger models gain more from data (skaling)"),
}


def sensitivity(
    table: Table,
    *,
    target: str = "loss",
    flops: float | None = None,
    without: ArrayLike | None = None,
    level: float = LEVEL,
    n_draws: int = 100,
    seed: int = 0,
) -> Sensitivity:
    """Key answers of the additive law under each objective, row set, law and convention.

    Each line tells N_opt, D_opt, D/N and loss at one compute, or which column it lacks.

    Args:
        table: columns `n_params`, `n_tokens`, the target; for conventions
            `n_params_<convention>` (or `n_embedding`, `n_head`, `n_attention`, `n_mlp`,
            `n_other`) and `flops_<convention>`.
        target: the column to predict.
        flops: compute of the answers [FLOPs]; 10 times the largest 6 N D by default.
        without: rows (counted from 0) to leave out as outliers; by default those more than 5
            robust sd from the default law.
        level: level of the intervals.
        n_draws: draws of the parameters a line.
        seed: the same seed gives the same numbers.

    Raises:
        FitError: a column or value is missing or wrong, or there are fewer rows than parameters.
        InputError: `flops` is not positive, or `without` names a row that is not there.
    """
    runs = read_table(table, target, CHINCHILLA.inputs)
    largest = FLOPS_PER_PARAM_TOKEN * float(runs.compute.max())
    flops = OUTWARD * largest if flops is None else flops
    if not 0 < flops < np.inf:
        raise InputError(f"`flops > 0` must hold, but got flops={flops}. Give a compute.")
    ask = _Ask(flops=flops, level=level, n_draws=n_draws, seed=seed)
    default = fit_law(runs, CHINCHILLA)
    far = far_rows(default.residual) if without is None else _chosen(runs, without)
    answers = [
        _answer("default", "robust, all rows, N of the table, C = 6 N D", default, runs, ask)
    ]
    answers += _by_objective(runs, default, far, ask)
    for name, (law, change) in LAWS.items():
        answers.append(_by_law(name, change, law, runs, ask))
    answers += _by_count(default, runs, counts_of(table, runs), ask)
    return Sensitivity(flops=flops, answers=tuple(answers), target=target, level=level)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    """What every line of a panel is asked for."""

    flops: float
    level: float
    n_draws: int
    seed: int


def _chosen(runs: Runs, without: ArrayLike) -> np.ndarray:
    rows = np.atleast_1d(np.asarray(without, dtype=np.intp))
    unknown = rows[~np.isin(rows, runs.row)]
    if unknown.size:
        raise InputError(
            f"`without` must name rows that are fitted, but got {unknown[0]}. Count them from 0."
        )
    return np.asarray(np.isin(runs.row, rows))


def _by_objective(runs: Runs, default: LawFit, far: np.ndarray, ask: _Ask) -> list[Answer]:
    """Each objective on all rows (the default's aside), and each without the outliers."""
    found = []
    for name, (objective, change) in OBJECTIVES.items():
        if name != "robust":
            all_rows = fit_law(runs, CHINCHILLA, objective)
            found.append(_answer(name, f"{change}, all rows", all_rows, runs, ask))
        label = f"{name} without outliers"
        why = _not_fitted(len(runs), far)
        if why:
            found.append(Answer(name=label, change=f"{change}, outliers left out", missing=why))
            continue
        kept = runs.where(~far)
        fewer = fit_law(kept, CHINCHILLA, objective)
        change = f"{change}, {int(far.sum())} outliers left out"
        found.append(_answer(label, change, fewer, kept, ask))
    return found


def _not_fitted(size: int, far: np.ndarray) -> str:
    if not far.any():
        return "no run lies far from the law"
    return "" if size - far.sum() > len(CHINCHILLA.params) else "too few runs remain"


def _by_law(name: str, change: str, law: Law, runs: Runs, ask: _Ask) -> Answer:
    if len(runs) <= len(law.params):
        return Answer(name=name, change=change, missing="too few runs for its parameters")
    return _answer(name, change, fit_law(runs, law, few=8), runs, ask)


def _by_count(default: LawFit, runs: Runs, counts: tuple[Count, ...], ask: _Ask) -> list[Answer]:
    """Each convention: the law's own parameters there, and the optimum as it counts.

    The optimum is that of the count of N whose law fits best: in another count the same losses
    are no sum of two powers, and an exponent of the wrong form would be told.
    """
    fits = {}
    for one in counts:
        if one.sizes is not None:
            counted = replace(runs, columns={**runs.columns, "n_params": one.sizes})
            same = np.array_equal(one.sizes, runs.columns["n_params"])
            fits[one.name] = default if same else fit_law(counted, CHINCHILLA)
    best = min(fits, key=lambda name: _rms(fits[name]), default="")
    by_name = {one.name: one for one in counts}
    found = []
    for one in counts:
        if one.sizes is None:
            found.append(Answer(name=one.name, change=one.change, missing=one.missing))
            continue
        surface = by_name[best].sizes
        assert surface is not None
        columns = {**runs.columns, "n_params": surface}
        split = split_under(fits[best], replace(runs, columns=columns), one, ask.flops)
        own = fits[one.name]
        made = _answer(one.name, one.change, own, runs, ask)
        found.append(_at_split(made, split, fits[best], runs, ask))
    return found


def _answer(name: str, change: str, fitted: LawFit, runs: Runs, ask: _Ask) -> Answer:
    """One line: the parameters of a fit and its optimum under C = 6 N D."""
    best = optimum(fitted.theta, ask.flops, law=fitted.law)
    theta = dict(zip(fitted.law.names, map(float, fitted.theta), strict=True))
    size, tokens = float(best.n_params[0]), float(best.n_tokens[0])
    return Answer(
        name=name,
        change=change,
        n_runs=len(runs),
        rms=_rms(fitted),
        alpha=theta["alpha"],
        beta=theta.get("beta", theta["alpha"]),
        entropy=theta["E"],
        a=float(best.a),
        n_params=size,
        n_tokens=tokens,
        tokens_per_param=tokens / size,
        loss=_loss(fitted, runs, (size, tokens), ask),
    )


def _at_split(made: Answer, split: Split, surface: LawFit, runs: Runs, ask: _Ask) -> Answer:
    return replace(
        made,
        a=split.a,
        n_params=split.n_params,
        n_tokens=split.n_tokens,
        tokens_per_param=split.n_tokens / split.n_params,
        loss=_loss(surface, runs, (split.own, split.n_tokens), ask),
    )


def _loss(fitted: LawFit, runs: Runs, at: tuple[float, float], ask: _Ask) -> Interval:
    """The law's value at (N, D) with the interval of its draws."""
    rng = np.random.default_rng([ask.seed, 11])
    draws = draw_parameters(fitted, runs.trunk, ask.n_draws, rng)
    columns = {"n_params": np.array([at[0]]), "n_tokens": np.array([at[1]])}
    value = float(np.exp(fitted.log_mean(fitted.z[None], columns)[0, 0]))
    drawn = np.exp(fitted.log_mean(draws, columns)[:, 0])
    low, high = np.quantile(drawn, [(1 - ask.level) / 2, (1 + ask.level) / 2])
    return Interval(
        value=value, low=min(float(low), value), high=max(float(high), value), level=ask.level
    )


def _rms(fitted: LawFit) -> float:
    return float(np.sqrt((fitted.residual**2).mean()))
