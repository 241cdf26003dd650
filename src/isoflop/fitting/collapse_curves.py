"""Loss curves over their end, on common places of the training: what `check_collapse` compares."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from isoflop._errors import FitError
from isoflop._types import Array, Table
from isoflop.fitting.table import optional_column

LEAST_RUNGS = 4

PER_OCTAVE = 2
"""Places a doubling of x at which curves are compared: as dense as a trunk is looked at."""

_COLUMNS = ("n_params", "n_tokens", "loss")


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Normalised curves: `y` (R, G) on places `x` (G,), NaN where a run was not looked at."""

    x: Array
    y: Array
    rung: np.ndarray
    """Number of each run's rung (R,)."""
    names: tuple[str, ...]
    design: Array
    """(R, 4): 1, ln N, ln T, (ln N)^2, centred."""
    rough: Array
    """Noise along the curves of each rung (K,), from third differences."""
    n_params: Array
    """Size of each rung (K,)."""


def read_normalised(table: Table) -> Curves:
    """The normalised curves of a table; see `check_collapse` for its columns.

    Raises:
        FitError: a column is missing, or too few rungs have a curve and its end.
    """
    columns = _columns(table)
    runs = _ends(columns)
    labels = sorted({str(end["trunk"]) for end in runs.values()})
    if len(labels) < LEAST_RUNGS:
        raise FitError(
            f"`rungs >= {LEAST_RUNGS}` must hold for a collapse, but the table has {len(labels)} "
            "with a curve and its end. Train more sizes."
        )
    lines = [(end, *_line(columns, run, end)) for run, end in runs.items()]
    lines = [one for one in lines if one[1].size >= 2]
    if not lines:
        raise FitError("No run has two points before its end. Look at the runs on their way.")
    low = min(float(np.log2(x[0])) for _, x, _ in lines)
    high = max(float(np.log2(x[-1])) for _, x, _ in lines)
    places = np.arange(np.ceil(low * PER_OCTAVE), np.floor(high * PER_OCTAVE) + 1) / PER_OCTAVE
    y = np.array([np.interp(places, np.log2(x), v, left=np.nan, right=np.nan) for _, x, v in lines])
    pairs = [[float(end["n_params"]), float(end["n_tokens"])] for end, _, _ in lines]
    logs = np.log(np.array(pairs))
    moved = logs - logs.mean(axis=0)
    rung = np.array([labels.index(str(end["trunk"])) for end, _, _ in lines])
    sizes = [float(np.exp(logs[rung == k, 0].mean())) for k in range(len(labels))]
    return Curves(
        x=2.0**places,
        y=y,
        rung=rung,
        names=tuple(labels),
        design=np.column_stack([np.ones(len(lines)), moved, moved[:, 0] ** 2]),
        rough=np.array([_roughness(lines, rung == k) for k in range(len(labels))]),
        n_params=np.array(sizes),
    )


def _columns(table: Table) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {}
    for name in ("run", "kind", *_COLUMNS):
        column = optional_column(table, name)
        if column is None:
            raise FitError(f"A collapse needs the column {name!r}. Read the curves of a study.")
        columns[name] = column.astype(np.float64) if name in _COLUMNS else column.astype(str)
    trunk = optional_column(table, "trunk")
    columns["trunk"] = columns["run"] if trunk is None else trunk.astype(str)
    hold = optional_column(table, "hold_tokens")
    columns["hold_tokens"] = columns["n_tokens"] if hold is None else hold.astype(np.float64)
    schedule = optional_column(table, "schedule")
    columns["schedule"] = (
        np.full(columns["run"].size, "") if schedule is None else schedule.astype(str)
    )
    good = np.isfinite(columns["loss"]) & (columns["loss"] > 0) & (columns["kind"] != "schedule")
    return {name: column[good] for name, column in columns.items()}


def _ends(columns: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """The final point of every run, of the schedule shape that most runs have."""
    final = np.flatnonzero(columns["kind"] == "final")
    shapes, counts = np.unique(columns["schedule"][final], return_counts=True)
    common = shapes[np.argmax(counts)] if shapes.size else ""
    return {
        str(columns["run"][row]): {name: columns[name][row] for name in columns}
        for row in final
        if columns["schedule"][row] == common
    }


def _line(
    columns: Mapping[str, np.ndarray], run: str, end: Mapping[str, Any]
) -> tuple[Array, Array]:
    """x = t/T and y = ln L(t)/L(T) of one run before its end, its trunk's part included."""
    t = columns["n_tokens"]
    own = columns["run"] == run
    shared = (columns["run"] == end["trunk"]) & (t <= end["hold_tokens"])
    rows = (own | shared) & (columns["kind"] != "final") & (t < end["n_tokens"])
    order = np.flatnonzero(rows)[np.argsort(t[rows])]
    x = t[order] / end["n_tokens"]
    return np.asarray(x), np.asarray(np.log(columns["loss"][order] / end["loss"]))


def _roughness(lines: list[tuple[dict[str, Any], Array, Array]], mine: np.ndarray) -> float:
    """Sd of the noise along a rung's longest curve: rms third difference over sqrt(20).

    Third differences of evenly spaced points take off whatever bends like a parabola in ln t; the
    lower half of their squares stands for all, since a curve is steep, not rough, at its start.
    """
    y = max((v for (_, _, v), own in zip(lines, mine, strict=True) if own), key=len, default=None)
    if y is None or y.size < 5:
        return 0.0
    third = np.diff(y, 3)
    return 1.4826 * float(np.median(np.abs(third))) / 20**0.5
