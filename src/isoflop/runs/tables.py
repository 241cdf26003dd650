"""Tables of runs and logs of one run: CSV, TSV, JSON lines, Parquet -> `ForeignRun`."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop._errors import InputError, MissingExtraError
from isoflop.runs.charts import chart_runs, charted
from isoflop.runs.foreign import ForeignRun, Series
from isoflop.runs.presets import generic, presets
from isoflop.runs.readers import READERS
from isoflop.runs.table_files import JSON_LINES, SUFFIXES, columns_of, names_of, number_of
from isoflop.runs.vocabulary import meaning

KIND = "table"
OTHER_TABLES = (".tsv", ".jsonl", ".ndjson", ".parquet", ".json")
"""Suffixes of tables that are not CSV."""
_PLAIN = ("x", "n_params", "n_tokens", "flops", "steps", "loss", "bpb")
_PLAIN_STEMS = ("metrics", "log", "logs", "history", "train", "events", "progress", "results")
_TARGETS = ("loss", "train_loss", "bpb")
_ENDS = ("n_steps", "max_steps")
"""Where nothing else counts steps, a row tells of its run's end."""
_LABELS: Mapping[str, tuple[str, ...]] = {
    "run": ("run", "run_id", "run_name", "id"),
    "step": ("step", "_step", "Step", "steps", "global_step", "iteration", "iter", *_ENDS),
    "name": ("name",),
    "group": ("group",),
    "state": ("state",),
}
_TIMES = ("_timestamp", "timestamp", "wall_time", "time")
_STATES = {"finished": "done", "done": "done", "running": "running", "crashed": "failed",
           "failed": "failed", "killed": "failed", "preempted": "failed"}  # fmt: skip


def is_table(path: Path) -> bool:
    """Whether a file is a table, by its name and its first bytes."""
    if not path.is_file() or path.suffix.lower() not in SUFFIXES:
        return False
    try:
        with path.open("rb") as stream:
            head = stream.read(4096)
    except OSError:
        return False  # nobody can tell
    if path.suffix.lower() == ".parquet":
        return head.startswith(b"PAR1")
    if b"\0" in head:
        return False
    if path.suffix.lower() in JSON_LINES:
        return head.lstrip().startswith(b"{")
    return any(sign in head.split(b"\n", 1)[0] for sign in (b",", b"\t", b";"))


def is_plain_table(path: Path) -> bool:
    """Whether a file is a table of runs with our columns, to be taken as it is.

    A log over steps, or a table whose names are other tools', has to be understood first.
    """
    if not path.is_file() or any(reader.sniff(path) for reader in READERS.values()):
        return False
    if path.suffix.lower() not in (*SUFFIXES, *OTHER_TABLES):
        return True  # of any name, as ever: a CSV
    columns = names_of(path)
    if charted(columns):
        return False
    names = set(columns)
    ours = names & set(_PLAIN)
    log = names.intersection(_LABELS["step"]) and "n_params" not in names
    known = any(meaning(name, {**generic().config, **generic().metrics}) for name in names)
    return bool(ours and not log) or not known


def has_losses(path: Path, columns: Mapping[str, str]) -> bool:
    """Whether a table has a loss, by a name that is known or that the user says of it.

    One that cannot be read may have: that is said when it is read.
    """
    try:
        names = names_of(path)
        names += [metric for _, metric in charted(names).values()]
    except (InputError, MissingExtraError):
        return True
    tables = (columns, *({**one.config, **one.metrics} for one in presets()))
    words = [str(meaning(name, one)) for name in names for one in tables]
    return any(word in _TARGETS or word.startswith("loss_") for word in words)


def table_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a table as they are; None where a cell is empty.

    Raises:
        RunError: it cannot be read.
        MissingExtraError: a Parquet file without pyarrow.
    """
    table = columns_of(path, [])
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


def read_table(path: Path, columns: Mapping[str, str] | None = None) -> Iterator[ForeignRun]:
    """The runs of a table.

    Rows of one `run` are points of it; without that column all rows are one log where steps or
    tokens rise and sizes stay, else every row is a run of its own.

    Args:
        path: a CSV, TSV, JSON lines or Parquet file.
        columns: what the user says of it: foreign name -> word.

    Raises:
        RunError: it cannot be read, named with its line.
        MissingExtraError: a Parquet file without pyarrow.
    """
    problems: list[str] = []
    table = columns_of(path, problems)
    labels = _labels(table, columns or {})
    if names := charted(list(table)):
        yield from chart_runs(path, table, names, labels.get("step"))
        return
    for name, rows in _runs_of(table, labels, columns or {}):
        yield _run(path, table, labels, name=name, rows=rows, problems=tuple(problems))


def _labels(table: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, str]:
    """Word -> the column that labels rows so."""
    said = {word: name for name, word in columns.items() if name in table}
    found = {}
    for word, names in _LABELS.items():
        column = said.get(word) or next((n for n in names if n in table and n not in columns), None)
        if column is not None:
            found[word] = column
    return found


def _runs_of(
    table: Mapping[str, list[Any]], labels: Mapping[str, str], columns: Mapping[str, str]
) -> Iterator[tuple[str, list[int]]]:
    n = len(next(iter(table.values())))
    if "run" in labels:
        rows: dict[str, list[int]] = {}
        for index, value in enumerate(table[labels["run"]]):
            rows.setdefault(_text(value), []).append(index)
        yield from rows.items()
    elif _is_log(table, labels, columns):
        yield "", list(range(n))
    else:
        for index in range(n):
            yield f"row {index + 1}", [index]


def _is_log(
    table: Mapping[str, list[Any]], labels: Mapping[str, str], columns: Mapping[str, str]
) -> bool:
    """Whether the rows are one run's: it has steps, and nothing that makes a model changes."""
    names = {**generic().config, **columns}
    fixed = [
        values
        for name, values in table.items()
        if str(meaning(name, names)).startswith(("n_params", "width", "depth"))
    ]
    return "step" in labels and all(len({_text(v) for v in values} - {""}) <= 1 for values in fixed)


def _run(
    path: Path, table: Mapping[str, list[Any]], labels: Mapping[str, str], *, name: str,
    rows: Sequence[int], problems: tuple[str, ...],
) -> ForeignRun:  # fmt: skip
    taken = set(labels.values())
    cells = {key: [values[i] for i in rows] for key, values in table.items() if key not in taken}
    step, counted = _steps(table, labels, rows)
    times = next((cells[key] for key in _TIMES if key in cells), None)
    wall_s = np.array([_time(v) for v in times] if times else [math.nan] * len(rows))
    config, series, notes = {}, {}, list(problems)
    for key, values in cells.items():
        there = np.array([value is not None for value in values])
        given = [value for value in values if value is not None]
        # What stands in a line without a step, or in every line alike, is a setting.
        whole = there.all() or not (there & counted).any()
        if given and whole and all(value == given[0] for value in given):
            config[key] = given[0]
        numbers = [number_of(value) for value in values]
        spelled = np.array([number is not None for number in numbers])
        kept = spelled & counted
        if kept.any():
            value = np.array([number or 0.0 for number in numbers])[kept]
            series[key] = Series(step=step[kept], value=value, wall_s=wall_s[kept])
        if kept.any() and (odd := int((there & counted & ~spelled).sum())):
            notes.append(f"{key}: no number in {odd} rows, which were left out")
    if "group" in labels:
        config["group"] = _text(table[labels["group"]][rows[-1]])

    def label(word: str) -> str:
        return _text(table[labels[word]][rows[-1]]) if word in labels else ""

    return ForeignRun(
        tool=KIND, place=str(path), run_id=f"{path}#{name}" if name else str(path),
        name=label("name") or name or _title(path),
        state=_STATES.get(label("state").lower(), "unknown"),
        config=config, series=series, problems=tuple(notes),
    )  # fmt: skip


def _title(path: Path) -> str:
    """What a log is called: by its file, or by its folder where all logs are called so."""
    return path.resolve().parent.name if path.stem.lower() in _PLAIN_STEMS else path.stem


def _steps(
    table: Mapping[str, list[Any]], labels: Mapping[str, str], rows: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The step of each row, and whether the row has one; rows of a table without are counted."""
    if "step" not in labels:
        # One row is a run's end, of which only its own columns say how far that is.
        order = np.arange(1, len(rows) + 1) if len(rows) > 1 else np.zeros(1)
        return order.astype(np.int64), np.ones(len(rows), dtype=bool)
    column = table[labels["step"]]
    values = np.array([_time(column[i]) for i in rows])
    counted = np.isfinite(values) & (np.abs(values) < 2.0**62)
    return np.where(counted, values, 0).astype(np.int64), counted


def _time(value: Any) -> float:
    found = number_of(value)
    return math.nan if found is None else found


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)
