"""`analyse`: one table of a ladder -> an `Analysis` with every law, approach and caveat."""

from typing import Any

import numpy as np

from isoflop._types import LEVEL, Array, Interval, Problem, Table
from isoflop.fitting.allocate import by_envelope, by_isoflop, by_law, noisy_losses
from isoflop.fitting.analysis import Allocation, Analysis, Ceiling
from isoflop.fitting.fit import fit
from isoflop.fitting.fit_result import Fit
from isoflop.fitting.frontier import frontier_table, straight_line
from isoflop.fitting.noise import estimate_noise
from isoflop.fitting.one_law import fit_law
from isoflop.fitting.sensitivity import sensitivity
from isoflop.fitting.sensitivity_result import Sensitivity
from isoflop.fitting.solver import log_jacobian
from isoflop.fitting.table import Runs, read_table
from isoflop.laws import CHINCHILLA, Law

ENVELOPE_DRAWS = 300


def analyse(
    table: Table,
    *,
    target: str = "loss",
    law: str | Law = "auto",
    level: float = LEVEL,
    n_draws: int = 500,
    seed: int = 0,
) -> Analysis:
    """Analyse a ladder: the forecast's fit, L(C), Kaplan's law, three allocations, ceilings.

    Args:
        table: columns `n_params`, `n_tokens`, the target; optionally `flops` (6 N D without),
            `trunk`, `kind`, `depth`, `n_heads`.
        target: the column to predict.
        law: what forecasts and plans: a law of (N, D), or all of them weighed by back-test.
        level: level of every interval.
        n_draws: draws of the parameters.
        seed: the same seed gives the same numbers.

    Raises:
        FitError: a column or value is missing or wrong, or there are fewer rows than parameters.
    """
    options: dict[str, Any] = {"target": target, "level": level, "n_draws": n_draws, "seed": seed}
    auto = fit(table, law=law, **options)
    chinchilla = fit(table, law="chinchilla", **options)
    runs, flops = _read(table, target)
    line = frontier_table(runs, flops)
    allocations = _allocations(runs, flops, chinchilla, level, seed)
    return Analysis(
        fit=auto,
        chinchilla=chinchilla,
        frontier=fit(line, law="power_floor", **options),
        kaplan=fit(table, law="kaplan_joint", **options),
        allocations=allocations,
        ceilings=_ceilings(runs, chinchilla, level),
        entropy=chinchilla.theta["E"],
        naive=straight_line(line["x"], line[target]),
        problems=_collect(auto, chinchilla, allocations),
        frontier_flops=line["x"],
        frontier_loss=line[target],
        n_runs=len(runs),
        target=target,
        sensitivity=_panel(table, chinchilla, target, level, seed),
    )


def _panel(
    table: Table, chinchilla: Fit, target: str, level: float, seed: int
) -> Sensitivity | None:
    """The sensitivity panel; None where the runs allow no allocation that could move."""
    if any(problem.disqualifies("allocation") for problem in chinchilla.problems):
        return None
    return sensitivity(table, target=target, level=level, seed=seed)


def _read(table: Table, target: str) -> tuple[Runs, Array]:
    """The rows and their FLOPs: the table's own, or 6 N D."""
    names = ("n_params", "n_tokens", *(("flops",) if "flops" in table else ()))
    runs = read_table(table, target, names)
    return runs, runs.columns.get("flops", 6.0 * runs.compute)


def _allocations(
    runs: Runs, flops: Array, chinchilla: Fit, level: float, seed: int
) -> tuple[Allocation, ...]:
    fitted = fit_law(runs, CHINCHILLA, few=8)
    slope = log_jacobian(CHINCHILLA, fitted.z[None], fitted.inputs)[0]
    noise = estimate_noise(fitted.residual, slope, runs.trunk, fitted.target.delta)
    losses = noisy_losses(runs, noise, ENVELOPE_DRAWS, seed)
    # The factor k of C = k N D that the table's own FLOPs have.
    k = float(np.exp(np.log(flops / runs.compute).mean()))
    grid = np.geomspace(flops.min(), flops.max(), 25)
    found = (
        by_envelope(runs, flops, losses, level),
        by_isoflop(runs, flops, losses, level),
        by_law(chinchilla, grid, level, k),
    )
    return tuple(one for one in found if one is not None)


def _ceilings(runs: Runs, chinchilla: Fit, level: float) -> tuple[Ceiling, ...]:
    """E + A/N^alpha of every size: the loss with endless data."""
    best = chinchilla.estimate.best
    ceilings = []
    for size in np.unique(runs.columns["n_params"]):
        value = float(best.theta[0] + best.theta[1] * size ** -best.theta[2])
        draws = best.draws[:, 0] + best.draws[:, 1] * size ** -best.draws[:, 2]
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
        lowest = float(runs.loss[runs.columns["n_params"] == size].min())
        ceilings.append(
            Ceiling(
                n_params=float(size),
                ceiling=Interval(
                    value=value,
                    low=float(min(low, value)),
                    high=float(max(high, value)),
                    level=level,
                ),
                best_loss=lowest,
                reducible_by_data=lowest - value,
            )
        )
    return tuple(ceilings)


def _collect(
    auto: Fit, chinchilla: Fit, allocations: tuple[Allocation, ...]
) -> tuple[Problem, ...]:
    """Every problem once, the gravest first."""
    rank = {"disqualifying": 0, "warning": 1, "note": 2}
    everything = [
        *auto.problems,
        *chinchilla.problems,
        *(problem for one in allocations for problem in one.problems),
    ]
    seen: dict[str, Problem] = {}
    for problem in everything:
        seen.setdefault(problem.code, problem)
    return tuple(sorted(seen.values(), key=lambda problem: rank[problem.severity]))
