"""Which law a call asks for: a name, a `Law`, or a plain function of the table's columns."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from isoflop._errors import FitError
from isoflop._types import Array, Table
from isoflop.fitting.table import column_names
from isoflop.laws import Law, find_law, own_law

OneLaw = str | Law | Callable[..., Any]
"""A name of `LAWS`, a `Law`, or a function of named arguments (`own_law`)."""

LawChoice = OneLaw | Sequence[OneLaw]
"""What `law=` takes: one law, or several that compete; "auto" stands for all the usual ones."""


def chosen_law(law: OneLaw, table: Table, target: str) -> Law:
    """The law of that name, the `Law` itself, or the function as a law of the table.

    Raises:
        InputError: no such name, or a function that is no law; see `own_law`.
        FitError: the table has no numbers.
    """
    if isinstance(law, Law):
        return law
    if isinstance(law, str):
        return find_law(law)
    return own_law(law, numeric_columns(table, target), target)


def numeric_columns(table: Table, target: str) -> dict[str, Array]:
    """The columns that hold numbers, without the target; `flops` is `x` too where there is none.

    Raises:
        FitError: there are none.
    """
    found = {}
    for name in column_names(table):
        if name == target:
            continue
        try:
            column = np.asarray(table[name], dtype=np.float64)
        except (TypeError, ValueError):
            continue
        if column.ndim == 1 and column.size:
            found[str(name)] = column
    if "flops" in found and "x" not in found:
        found["x"] = found["flops"]
    if not found:
        raise FitError("The table must have columns of numbers, but it has none. Add them.")
    return found


def named_law(law: OneLaw, table: Table, target: str) -> str | Law:
    """A function as a law of the table; names and laws as they are.

    Raises:
        InputError, FitError: as `chosen_law`.
    """
    return law if isinstance(law, str | Law) else chosen_law(law, table, target)
