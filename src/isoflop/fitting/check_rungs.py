"""Whether all runs of one size (or trunk) lie above the law of the others: an under-tuned rung.

Each rung is left out in turn, the law refitted without it (all in one batch), and its residual
(the lesser of mean and median) judged by a one-sided t-test against all that may move it: the
error of the law there, the noise that its trunk shares, and its runs' own. A rung at the edge is
extrapolated to; its error includes `DRIFT` for a law that is not exactly right.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr

from isoflop._types import Array, Problem, Table
from isoflop.fitting.beyond import covariance
from isoflop.fitting.check_columns import used
from isoflop.fitting.noise import estimate_noise
from isoflop.fitting.one_law import DRAW_TOLERANCE, LawFit
from isoflop.fitting.solver import log_jacobian, log_predict, solve
from isoflop.fitting.table import Runs

SAME = 1.02
"""Sizes within this factor are one rung."""

ODDS = 0.05
"""False alarms among clean ladders, at most: shared out among the rungs (Bonferroni)."""

LEAST = 0.005
"""Mean excess of log loss below which a rung is not worth telling."""

JUDGED = 4
"""Rungs that are judged: those whose excess, times the root of their runs, is largest."""

DRIFT = 0.01
"""ASSUMPTION: error of a law that is slightly wrong, a factor e in size beyond the other rungs
(sd of log loss)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One rung left out: its rows (R,) and what its residuals say."""

    name: str
    rows: np.ndarray
    trunk: np.ndarray
    """What shares noise (R,) where this rung is judged: trunks, or whole sizes."""
    excess: float = 0.0
    error: float = 1.0
    odds: float = 1.0


def rung_problems(table: Table, runs: Runs, fitted: LawFit) -> tuple[Problem, ...]:
    """`under_tuned` for the rung that stands out most, if any does."""
    rungs = _rungs(table, runs, fitted)
    if len(rungs) < 3:
        return ()
    weight = np.stack([np.where(one.rows, 0.0, runs.weight) for one in rungs])
    starts = np.tile(fitted.z, (len(rungs), 1))
    target = replace(fitted.target, weight=weight)
    z = solve(target, starts, max_iterations=60, tolerance=DRAW_TOLERANCE).z
    excess = [_excess(one, runs, fitted, z[i]) for i, one in enumerate(rungs)]
    # Judging takes a while: only rungs that stand out by their own runs alone are worth it.
    first = np.argsort([-e * one.rows.sum() ** 0.5 for e, one in zip(excess, rungs, strict=True)])
    judged = [_judged(rungs[i], runs, fitted, z[i]) for i in first[:JUDGED]]
    worst = min(judged, key=lambda one: one.odds)
    if worst.odds > ODDS / len(rungs) or worst.excess < LEAST:
        return ()
    return (
        Problem(
            code="under_tuned",
            severity="warning",
            text=f"The {int(worst.rows.sum())} runs of {worst.name} lie above the law that the "
            f"others follow, by {100 * np.expm1(worst.excess):.1f} ± {100 * worst.error:.1f} % on "
            "average: it may be under-tuned.",
            remedy='Tune its learning rate and batch, leave it out, or fit objective="one_sided", '
            "which lets go of runs above the law.",
        ),
    )


def _rungs(table: Table, runs: Runs, fitted: LawFit) -> list[Rung]:
    """Sizes of two runs or more, and trunks where a size has several, that the rest outnumber."""
    if not {"n_params", "n_tokens"} <= set(fitted.law.inputs):
        return []
    sizes = runs.columns["n_params"]
    groups = _alike(sizes)
    # Sizes scatter about the law by more than their runs do: a size is judged by how others do.
    whole = np.argmax(np.stack(groups), axis=0)
    found = []
    for group in groups:
        name = f"size {float(np.median(sizes[group])):.4g}"
        found.append(Rung(name=name, rows=group, trunk=whole))
        trunks = np.unique(runs.trunk[group])
        if runs.named and trunks.size > 1:
            label = used(table, "trunk", runs)
            label = used(table, "run", runs) if label is None else label
            for trunk in trunks:
                rows = runs.trunk == trunk
                what = trunk if label is None else label[np.argmax(rows)]
                found.append(Rung(name=f"trunk {what}", rows=rows, trunk=runs.trunk))
    return [one for one in found if one.rows.sum() >= 2 and _enough(runs, ~one.rows, fitted)]


def _alike(sizes: Array) -> list[np.ndarray]:
    """Masks (R,) of sizes within `SAME` of the smallest of their group."""
    found: list[np.ndarray] = []
    start = 0.0
    for size in np.unique(sizes):
        if size <= SAME * start:
            found[-1] |= sizes == size
        else:
            found.append(sizes == size)
            start = float(size)
    return found


def _enough(runs: Runs, keep: np.ndarray, fitted: LawFit) -> bool:
    columns = (runs.columns[name][keep] for name in ("n_params", "n_tokens"))
    return keep.sum() >= len(fitted.law.params) + 3 and all(
        np.unique(column).size >= 3 for column in columns
    )


def _excess(rung: Rung, runs: Runs, fitted: LawFit, z: Array) -> float:
    """The lesser of mean and median residual: one run that failed is an outlier, no bad rung."""
    mean = log_predict(fitted.law, z[None], fitted.inputs)[0]
    residual = (np.log(runs.loss) - mean)[rung.rows]
    return float(min(residual.mean(), np.median(residual)))


def _judged(rung: Rung, runs: Runs, fitted: LawFit, z: Array) -> Rung:
    """The rung with its excess over the others' law, its error and one-sided odds."""
    keep = ~rung.rows
    slope = log_jacobian(fitted.law, z[None], fitted.inputs)[0]
    residual = np.log(runs.loss) - log_predict(fitted.law, z[None], fitted.inputs)[0]
    trunk = np.unique(rung.trunk[keep], return_inverse=True)[1]
    noise = estimate_noise(residual[keep], slope[keep], trunk)
    mean_slope = slope[rung.rows].mean(axis=0)
    pull = mean_slope @ np.linalg.pinv(slope[keep], rcond=1e-9)
    of_law = float(pull @ covariance(noise, trunk) @ pull)
    own = covariance(noise, rung.trunk[rung.rows])
    log_n = np.log(runs.columns["n_params"])
    beyond = max(
        float(log_n[rung.rows].mean() - log_n[keep].max()),
        float(log_n[keep].min() - log_n[rung.rows].mean()),
        0.0,
    )
    error = float(np.sqrt(of_law + own.mean() + (DRIFT * beyond) ** 2))
    # As in the fit: log losses are not known to better than 1e-6.
    error = max(error, 1e-6)
    excess = _excess(rung, runs, fitted, z)
    odds = float(stdtr(noise.freedom_shared, -excess / error))
    return replace(rung, excess=excess, error=error, odds=odds)
