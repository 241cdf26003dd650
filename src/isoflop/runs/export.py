"""A table of runs as a file: CSV, JSON, JSON lines or Parquet, by its suffix."""

import csv
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from isoflop._errors import MissingExtraError, RunError

Columns = Mapping[str, np.ndarray]


def check_place(path: Path) -> Path:
    """`path`, if a table can be written there.

    Raises:
        RunError: its suffix is not one of `FORMATS`, or it is a folder.
    """
    if path.suffix.lower() not in FORMATS:
        raise RunError(f"{path}: a table ends with one of {', '.join(FORMATS)}. Name it so.")
    if path.is_dir():
        raise RunError(f"{path}: is a folder. Name a file.")
    return path


def write_table(path: Path, table: Columns) -> Path:
    """Write a table of runs, replacing the file in one step; numbers keep all their digits.

    Raises:
        RunError: the suffix is unknown, or the file cannot be written.
        MissingExtraError: Parquet without pyarrow.
    """
    write = FORMATS[check_place(path).suffix.lower()]
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary, table)
        temporary.replace(path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror}). Name another.") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _csv(path: Path, table: Columns) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(table)
        for row in _rows(table):
            writer.writerow("nan" if value is None else value for value in row.values())


def _json(path: Path, table: Columns) -> None:
    path.write_text(json.dumps(list(_rows(table)), indent=1, allow_nan=False), encoding="utf-8")


def _json_lines(path: Path, table: Columns) -> None:
    lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in _rows(table))
    path.write_text(lines, encoding="utf-8")


def _parquet(path: Path, table: Columns) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", extra="data", needed_for="writing Parquet") from error
    parquet.write_table(pyarrow.table({name: list(values) for name, values in _lists(table)}), path)


def _lists(table: Columns) -> list[tuple[str, list[Any]]]:
    return [
        (name, [_plain(v) for v in np.asarray(column).tolist()]) for name, column in table.items()
    ]


def _rows(table: Columns) -> list[dict[str, Any]]:
    columns = dict(_lists(table))
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


FORMATS: Mapping[str, Callable[[Path, Columns], None]] = {
    ".csv": _csv,
    ".json": _json,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
"""Suffixes of tables that can be written."""
