"""Tables of runs and logs of one run: CSV, TSV, JSON lines, Parquet -> `ForeignRun`."""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop._errors import InputError, MissingExtraError, RunError
from isoflop.runs.foreign import ForeignRun, Series
from isoflop.runs.presets import generic, presets
from isoflop.runs.readers import READERS
from isoflop.runs.vocabulary import meaning

KIND = "table"
_JSON_LINES = (".jsonl", ".ndjson")
_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
OTHER_TABLES = (".tsv", ".jsonl", ".ndjson", ".parquet", ".json")
"""Suffixes of tables that are not CSV."""
_PLAIN = ("x", "n_params", "n_tokens", "flops", "steps", "loss", "bpb")
_PLAIN_STEMS = ("metrics", "log", "logs", "history", "train", "events", "progress", "results")
_TARGETS = ("loss", "train_loss", "bpb")
_FIRST = 200
"""Lines of a log in which every metric has been logged."""
_MOST_BYTES = 4 << 30
_MOST_LINE = 16 << 20
_LABELS: Mapping[str, tuple[str, ...]] = {
    "run": ("run", "run_id", "run_name", "id"),
    "step": (
        "step",
        "_step",
        "steps",
        "global_step",
        "iteration",
        "iter",
        "Step",
        "n_steps",
        "max_steps",
    ),
    "name": ("name",),
    "group": ("group",),
    "state": ("state",),
}
_SPELLED = ("nan", "inf", "infinity")
_TIMES = ("_timestamp", "timestamp", "wall_time", "time")
_STATES = {"finished": "done", "done": "done", "running": "running", "crashed": "failed",
           "failed": "failed", "killed": "failed", "preempted": "failed"}  # fmt: skip


def is_table(path: Path) -> bool:
    """Whether a file is a table, by its name and its first bytes."""
    if not path.is_file() or path.suffix.lower() not in _SUFFIXES:
        return False
    with path.open("rb") as stream:
        head = stream.read(4096)
    if path.suffix.lower() == ".parquet":
        return head.startswith(b"PAR1")
    if b"\0" in head:
        return False
    if path.suffix.lower() in _JSON_LINES:
        return head.lstrip().startswith(b"{")
    return any(sign in head.split(b"\n", 1)[0] for sign in (b",", b"\t", b";"))


def is_plain_table(path: Path) -> bool:
    """Whether a file is a table of runs with our columns, to be taken as it is.

    A log over steps, or a table whose names are other tools', has to be understood first.
    """
    suffix = path.suffix.lower()
    if not path.is_file() or suffix not in (*_SUFFIXES, *OTHER_TABLES):
        return path.is_file() and not any(one.sniff(path) for one in READERS.values())
    names = set(_names(path))
    ours = names & set(_PLAIN)
    log = names.intersection(_LABELS["step"]) and "n_params" not in names
    known = any(meaning(name, {**generic().config, **generic().metrics}) for name in names)
    return bool(ours and not log) or not known


def has_losses(path: Path, columns: Mapping[str, str]) -> bool:
    """Whether a table has a loss, by a name that is known or that the user says of it.

    One that cannot be read may have: that is said when it is read.
    """
    try:
        if path.suffix.lower() in _JSON_LINES:
            rows = islice(_json_lines(path, []), _FIRST)
            names = {name for row in rows for name in row}
        else:
            names = set(_names(path))
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
    table = _columns_of(path, [])
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


def _names(path: Path) -> list[str]:
    """The names of a table's columns; of JSON lines those of the first line."""
    try:
        if path.suffix.lower() in (".csv", ".tsv"):
            with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
                head = stream.readline(_MOST_LINE)
            return next(csv.reader([head], delimiter=max(",\t;", key=head.count)), [])
        if path.suffix.lower() == ".parquet":
            return list(_parquet(path))
        rows = _json_rows(path) if path.suffix.lower() == ".json" else _json_lines(path, [])
        return list(next(iter(rows), {}))
    except (csv.Error, OSError):
        return []


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
    if path.stat().st_size > _MOST_BYTES:
        raise RunError(
            f"{path}: larger than {_MOST_BYTES >> 30} GiB. Cut it to the columns needed."
        )
    problems: list[str] = []
    table = _columns_of(path, problems)
    labels = _labels(table, columns or {})
    for name, rows in _runs_of(table, labels, columns or {}):
        yield _run(path, table, labels, name, rows, tuple(problems))


def _columns_of(path: Path, problems: list[str]) -> dict[str, list[Any]]:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parquet(path)
    if suffix == ".json":
        rows = _json_rows(path)
    else:
        rows = _json_lines(path, problems) if suffix in _JSON_LINES else _delimited(path)
    table: dict[str, list[Any]] = {}
    n = 0
    for row in rows:
        for name in row:
            if name not in table:
                table[name] = [None] * n
        for name, values in table.items():
            values.append(row.get(name))
        n += 1
    if not n:
        raise RunError(f"{path}: no row. Name a table with some.")
    return table


def _delimited(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            head = stream.readline(_MOST_LINE)
            stream.seek(0)
            sign = max(",\t;", key=head.count)
            reader = csv.DictReader(stream, delimiter=sign, strict=True)
            if reader.fieldnames is None or len(set(reader.fieldnames)) < len(reader.fieldnames):
                raise RunError(f"{path}: two columns have one name. Rename one.")
            for row in reader:
                if None in row or None in row.values():
                    raise RunError(
                        f"{path}, line {reader.line_num}: wrong number of cells. Mend the line."
                    )
                yield {name: _cell(text) for name, text in row.items()}
    except UnicodeDecodeError as error:
        raise RunError(f"{path}: not UTF-8 ({error.reason}). Save the table as UTF-8.") from error
    except csv.Error as error:
        raise RunError(f"{path}: {error}. Mend the table.") from error
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}). Check it.") from error


def _cell(text: str) -> Any:
    if text == "":
        return None
    try:
        return float(text)
    except ValueError:
        return text


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON list."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: no JSON ({error}). Mend the file.") from error
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise RunError(f"{path}: no list of objects. Name a table of runs.")
    for row in data:
        yield dict(_flat("", row))


def _json_lines(path: Path, problems: list[str]) -> Iterator[dict[str, Any]]:
    """One object a line; a torn last line is read past, any other is an error."""
    with path.open("rb") as stream:
        number = 0
        while line := stream.readline(_MOST_LINE):
            number += 1
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                if not line.endswith(b"\n") and len(line) < _MOST_LINE:
                    problems.append(f"line {number} is torn and was left out")
                    return
                raise RunError(f"{path}, line {number}: not JSON. Mend the line.") from error
            if not isinstance(row, dict):
                raise RunError(f"{path}, line {number}: not an object. Mend the line.")
            yield dict(_flat("", row))


def _flat(prefix: str, data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict) and prefix.count(".") < 8:
            yield from _flat(f"{prefix}{key}.", value)
        elif isinstance(value, bool | int | float | str):
            yield f"{prefix}{key}", value


def _parquet(path: Path) -> dict[str, list[Any]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", extra="data", needed_for=f"reading {path}") from error
    try:
        found = parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise RunError(f"{path}: no Parquet file ({error}). Save it again.") from error
    table: dict[str, list[Any]] = {
        name: found.column(place).to_pylist() for place, name in enumerate(found.column_names)
    }
    if not found.num_rows:
        raise RunError(f"{path}: no row. Name a table with some.")
    return table


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
    path: Path, table: Mapping[str, list[Any]], labels: Mapping[str, str], name: str,
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
        numbers = [_number(value) for value in values]
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


def _number(value: Any) -> float | None:
    """A cell as a number; NaN and infinities may be spelled out, as JSON cannot hold them."""
    if value is None or type(value) is float:
        return value
    if isinstance(value, str) and value.strip().lower().lstrip("+-") not in _SPELLED:
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _time(value: Any) -> float:
    found = _number(value)
    return math.nan if found is None else found


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)
