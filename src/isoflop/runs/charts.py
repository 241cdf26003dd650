"""CSV files that W&B's page exports of a chart: a column for each run, named `run - metric`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isoflop.runs.foreign import ForeignRun, Series
from isoflop.runs.table_files import number_of

_BETWEEN = " - "
_EDGES = ("__MIN", "__MAX")
"""Ends of columns with the extremes of what was drawn as one point."""
_CAVEAT = "from the export of a chart, which draws a sample of the rows and may smooth them"


def charted(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Column -> (run, metric), if all but the first are columns of a chart; else nothing."""
    found = {
        name: tuple(name.rsplit(_BETWEEN, 1)) for name in names[1:] if not name.endswith(_EDGES)
    }
    whole = names[1:] and all(_BETWEEN in name for name in names[1:])
    return {name: (pair[0], pair[1]) for name, pair in found.items()} if whole else {}


def chart_runs(
    path: Path,
    table: Mapping[str, list[Any]],
    names: Mapping[str, tuple[str, str]],
    step: str | None,
) -> Iterator[ForeignRun]:
    """The runs of a chart; what stands in its first column is the step or was measured at it."""
    along = next(iter(table))
    x = [number_of(value) for value in table[along]]
    runs: dict[str, dict[str, Series]] = {}
    for column, (run, metric) in names.items():
        y = [number_of(value) for value in table[column]]
        rows = [i for i, pair in enumerate(zip(x, y, strict=True)) if None not in pair]
        at = np.array([x[i] for i in rows], dtype=np.float64)
        order = at if step == along else np.arange(1, len(rows) + 1)
        nowhere = np.full(len(rows), np.nan)
        value = np.array([y[i] for i in rows], dtype=np.float64)
        logged = runs.setdefault(run, {})
        logged[metric] = Series(step=order.astype(np.int64), value=value, wall_s=nowhere)
        if step != along:
            logged[along] = Series(step=order.astype(np.int64), value=at, wall_s=nowhere)
    for run, series in runs.items():
        yield ForeignRun(
            tool="table", place=str(path), run_id=f"{path}#{run}", name=run, series=series,
            problems=(_CAVEAT,),
        )  # fmt: skip
