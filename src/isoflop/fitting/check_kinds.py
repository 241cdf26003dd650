"""Checks whether points of finished and of unfinished trainings are mixed.

A point at a constant or half-decayed learning rate lies above the loss that the same tokens reach
once the rate has decayed, by a few per cent that no law of size and tokens can explain.
"""

import numpy as np
from scipy.special import stdtrit

from isoflop._types import Problem, Table
from isoflop.fitting.beyond import Step, step_beyond
from isoflop.fitting.check_columns import listed, used
from isoflop.fitting.one_law import LawFit
from isoflop.fitting.table import Runs

SAYING = ("kind", "phase", "schedule")
"""Columns that say what kind of point a row is."""

COOLED = 0.5
"""A row has decayed where its rate is below this share of its trunk's largest."""

FEWEST = 2
"""Rows that a kind must hold to count as mixed in."""

MOST = 4
"""Values that a column of kinds has, at most."""

ODDS = 0.99
"""Level of the two-sided t-test of the step between kinds."""


def kind_problems(table: Table, runs: Runs, fitted: LawFit) -> tuple[Problem, ...]:
    """`intermediate_points` and `mixed_kinds`, the latter with the step between the kinds."""
    kind = used(table, "kind", runs)
    words = np.array([]) if kind is None else np.unique(kind.astype(str))
    if words.size == 1 and words[0] == "intermediate":
        return (
            Problem(
                code="intermediate_points",
                severity="warning",
                text="All points are intermediate: none is the end of its schedule, so all lie "
                "above what the same tokens reach with a decayed rate.",
                remedy="Fit points whose schedule has ended (kind = final).",
            ),
        )
    found = kinds_of(table, runs)
    if found is None:
        return ()
    column, kinds = found
    names, number, count = np.unique(kinds, return_inverse=True, return_counts=True)
    main = int(np.argmax(count))
    others = [i for i in range(names.size) if i != main and count[i] >= FEWEST]
    steps = {
        str(names[i]): step_beyond(fitted, (number == i).astype(np.float64), runs.trunk)
        for i in others
    }
    told = [_told(name, step) for name, step in steps.items() if step is not None]
    sure = any(step is not None and _sure(step) for step in steps.values())
    return (
        Problem(
            code="mixed_kinds",
            severity="warning" if sure else "note",
            text=f"{column} tells {names.size} kinds of points apart "
            f"({listed([f'{n}: {c}' for n, c in zip(names, count, strict=True)])}). "
            + (f"Beside {names[main]}, {listed(told)}." if told else "The runs show no step."),
            remedy="Keep one kind: points whose learning rate has decayed to its end.",
        ),
    )


def kinds_of(table: Table, runs: Runs) -> tuple[str, np.ndarray] | None:
    """What tells the kinds apart, and each row's kind (R,); None where there is one kind.

    A column named in `SAYING`, else the column `lr` within trunks of more than one row. Where
    `kind` says that all points are final, it is believed.
    """
    for name in SAYING:
        column = used(table, name, runs)
        if column is None:
            continue
        words = column.astype(str)
        if name == "kind" and (words == "final").all():
            return None
        kinds = np.unique(words, return_counts=True)[1]
        # More values are names of schedules of every length, and no kinds.
        if (kinds >= FEWEST).sum() > 1 and kinds.size <= MOST:
            return f"The column {name!r}", words
    rate = used(table, "lr", runs)
    if rate is None or rate.dtype.kind not in "fiu" or not runs.named:
        return None
    highest = np.full(runs.n_trunks, -np.inf)
    np.maximum.at(highest, runs.trunk, rate)
    cooled = rate < COOLED * highest[runs.trunk]
    # Only trunks that hold both kinds tell anything: rates differ between trunks for any reason.
    both = np.isin(runs.trunk, np.unique(runs.trunk[cooled]))
    if cooled.sum() < FEWEST or (both & ~cooled).sum() < FEWEST:
        return None
    return "The column 'lr'", np.where(cooled, "annealed", "constant")


def _told(name: str, step: Step) -> str:
    low = 100 * float(np.expm1(step.size))
    return f"{name} lies {low:+.2f} ± {100 * step.error:.2f} % off the same law"


def _sure(step: Step) -> bool:
    return abs(step.t) > float(stdtrit(step.freedom, (1 + ODDS) / 2))
