"""Which laws compete on a table: those that its columns allow, or those that were asked for."""

from typing import cast

import numpy as np

from isoflop._errors import FitError, InputError
from isoflop._types import Table, is_share
from isoflop.fitting.chosen_law import LawChoice, OneLaw, chosen_law
from isoflop.fitting.table import Runs, column_names, read_table
from isoflop.laws import (
    CHINCHILLA,
    KAPLAN_FLOOR,
    KAPLAN_JOINT,
    POWER,
    POWER_FLOOR,
    REPEATED,
    SKALING,
    Law,
    exponential_mixing,
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


def which_laws(table: Table, target: str, law: LawChoice) -> tuple[tuple[Law, ...], Runs]:
    """The laws that a choice comes to on a table, and the rows to fit them to.

    Raises:
        InputError: an unknown name, no law, or laws that do not explain the same runs.
        FitError: a column or value is missing or wrong, or there are fewer rows than parameters.
    """
    laws = _laws_of(table, target, law)
    names = tuple(dict.fromkeys(name for one in laws for name in one.inputs))
    if names == ("x",) and "x" not in table and "flops" in table:
        table = _with_x(table)
    runs = read_table(table, target, names)
    enough = tuple(one for one in laws if len(one.params) < len(runs))
    if len(laws) > 1 and "x" not in names:
        free = tuple(one for one in enough if len(one.params) + FREEDOM <= len(runs))
        enough = free or enough[:1]
    if not enough:
        smallest = min(laws, key=lambda one: len(one.params))
        raise FitError(
            f"`runs > {len(smallest.params)}` must hold for the law {smallest.name!r}, but the "
            f"table has {len(runs)} usable rows. Add runs."
        )
    return enough, runs


def _laws_of(table: Table, target: str, law: LawChoice) -> tuple[Law, ...]:
    """The laws of a choice, each once.

    Raises:
        InputError: no law, or some of one variable and some of size and tokens.
    """
    choices: list[OneLaw] = list(law) if isinstance(law, list | tuple) else [cast(OneLaw, law)]
    laws: list[Law] = []
    for one in choices:
        usual = isinstance(one, str) and one == "auto"
        laws += _auto_laws(table, target) if usual else [chosen_law(one, table, target)]
    found = {one.name: one for one in laws}
    if not found:
        raise InputError("`law` must name at least one law, but the list is empty. Use 'auto'.")
    lone = ["x" in one.inputs for one in found.values()]
    if any(lone) and not all(lone):
        raise InputError(
            f"laws that compete must explain the same runs, but of {', '.join(found)} some take "
            "one variable `x` and some do not. Fit them apart."
        )
    return tuple(found.values())


def _auto_laws(table: Table, target: str) -> tuple[Law, ...]:
    """The laws that the columns allow."""
    if "n_params" in table and "n_tokens" in table:
        return (*AUTO_PAIR, REPEATED) if _repeats(table, target) else AUTO_PAIR
    if "x" in table or "flops" in table:
        short = np.size(table["x"] if "x" in table else table["flops"]) < SHORT
        return (POWER_FLOOR, POWER) if short else AUTO_SINGLE
    domains = tuple(name[2:] for name in column_names(table) if is_share(name))
    return (exponential_mixing(domains),) if domains else AUTO_PAIR


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
