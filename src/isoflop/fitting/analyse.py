"""`analyse`: one table of a ladder -> an `Analysis` with every law, approach and caveat."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from isoflop._errors import InputError
from isoflop._types import LEVEL, Array, Interval, Problem, Table
from isoflop.fitting.allocate import by_envelope, by_law, noisy_losses
from isoflop.fitting.analysis import Agreement, Allocation, Analysis, Ceiling
from isoflop.fitting.check_rows import far_rows
from isoflop.fitting.chosen_law import LawChoice
from isoflop.fitting.fit import fit
from isoflop.fitting.fit_result import Fit
from isoflop.fitting.frontier import frontier_table, straight_line
from isoflop.fitting.isoflop_profiles import Ladder, by_isoflop
from isoflop.fitting.one_law import fit_law
from isoflop.fitting.profile import Profile, profiled_names
from isoflop.fitting.sensitivity import sensitivity
from isoflop.fitting.sensitivity_result import Sensitivity
from isoflop.fitting.table import Runs, read_table
from isoflop.laws import CHINCHILLA

ENVELOPE_DRAWS = 300

BEYOND = (1.0, 10.0, 100.0)
"""Times the largest run's compute at which the approaches are compared unasked."""


def analyse(
    table: Table,
    *,
    target: str = "loss",
    law: LawChoice = "auto",
    level: float = LEVEL,
    n_draws: int = 500,
    seed: int = 0,
    budgets: Sequence[float] = (),
) -> Analysis:
    """Analyse a ladder: the forecast's fit, L(C), Kaplan's law, three allocations, ceilings.

    Args:
        table: columns `n_params`, `n_tokens`, the target; optionally `flops` (6 N D without),
            `trunk`, `kind`, `depth`, `n_heads`, `experiment` (runs of another share no isoFLOP
            profile) and `outlier` (true where the run is suspect: approach 2 is also made
            without).
        target: the column to predict.
        law: what forecasts and plans: a law of (N, D), or all of them weighed by back-test.
        level: level of every interval.
        n_draws: draws of the parameters.
        seed: the same seed gives the same numbers.
        budgets: compute [FLOPs] at which the approaches are compared; without, the largest run's
            and 10 and 100 times it.

    Raises:
        FitError: a column or value is missing or wrong, or there are fewer rows than parameters.
        InputError: a budget that is not positive.
    """
    _check_budgets(budgets)
    options: dict[str, Any] = {"target": target, "level": level, "n_draws": n_draws, "seed": seed}
    auto = fit(table, law=law, **options)
    chinchilla = fit(table, law="chinchilla", **options)
    runs, flops = _read(table, target)
    line = frontier_table(runs, flops)
    asked = tuple(budgets) or tuple(float(flops.max()) * more for more in BEYOND)
    allocations, agreement = _allocations(table, asked, chinchilla, options)
    splits = set(auto.estimate.needed) == {"n_params", "n_tokens"}
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
        agreement=agreement,
        optimum=auto.optimum(asked) if splits else None,
        profiles=_profiles(auto, chinchilla),
        sensitivity=_panel(table, chinchilla, target, level, seed),
    )


def _check_budgets(budgets: Sequence[float]) -> None:
    for value in budgets:
        if not 0 < value < np.inf:
            raise InputError(f"`budgets > 0` must hold, but got {value}. Give FLOPs.")


def _profiles(*fits: Fit) -> tuple[Profile, ...]:
    """Floor and exponents of every law, each law once."""
    each = {one.law.name: one for one in fits}
    return tuple(one.profile(name) for one in each.values() for name in profiled_names(one.law))


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
    table: Table, asked: tuple[float, ...], chinchilla: Fit, options: Mapping[str, Any]
) -> tuple[tuple[Allocation, ...], tuple[Agreement, ...]]:
    """Every approach that the table supports, and how far they agree at the budgets."""
    runs, flops = _read(table, options["target"])
    level = options["level"]
    fitted = fit_law(runs, CHINCHILLA, few=8)
    losses = noisy_losses(runs, fitted.noise, ENVELOPE_DRAWS, options["seed"])
    # The factor k of C = k N D that the table's own FLOPs have.
    k = float(np.exp(np.log(flops / runs.compute).mean()))
    grid = np.geomspace(flops.min(), flops.max(), 25)
    refused = any(problem.disqualifies("allocation") for problem in chinchilla.problems)
    ladder = Ladder(
        runs=runs,
        flops=flops,
        losses=losses,
        label=runs.label,
        flagged=runs.flagged,
        far=far_rows(fitted.residual),
        exponents=None
        if refused
        else (chinchilla.theta["alpha"].value, chinchilla.theta["beta"].value),
    )
    found = (
        by_envelope(runs, flops, losses, level),
        by_isoflop(ladder, max(asked), level),
        by_law(chinchilla, grid, level, k),
    )
    made = [one for one in found if one is not None]
    return tuple(one for one, _ in made), tuple(
        Agreement(approach=one.approach, flops=c, n_opt=at[0], d_opt=at[1], tokens_per_param=at[2])
        for c in asked
        for one, lines in made
        if lines is not None
        for at in [lines.at(c, level)]
    )


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
