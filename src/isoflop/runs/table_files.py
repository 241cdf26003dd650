"""Files of tables -> columns of cells: CSV, TSV, JSON, JSON lines, Parquet, in bounded memory."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from isoflop._errors import MissingExtraError, RunError

DELIMITED = (".csv", ".tsv")
JSON_LINES = (".jsonl", ".ndjson")
SUFFIXES = (*DELIMITED, *JSON_LINES, ".parquet")
_MOST_BYTES = 4 << 30
_MOST_LINE = 16 << 20
_MOST_JSON = 1 << 28
_MOST_CELLS = 30_000_000
"""About a gigabyte of memory."""
_MOST_COLUMNS = 20_000
_SPELLED = ("nan", "inf", "infinity")
_FIRST = 200
"""Lines of a log in which every metric has been logged."""


def columns_of(path: Path, problems: list[str]) -> dict[str, list[Any]]:
    """Every column of a table by name, None where a cell is empty; a torn end is a problem.

    Raises:
        RunError: it cannot be read, named with its line, has no row, or is too large.
        MissingExtraError: a Parquet file without pyarrow.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise _too_large(path, f"more than {_MOST_BYTES >> 30} GiB")
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parquet(path)
    if suffix == ".json":
        rows = _json_rows(path)
    else:
        rows = _json_lines(path, problems) if suffix in JSON_LINES else _delimited(path)
    table: dict[str, list[Any]] = {}
    n = 0
    for row in rows:
        for name in row:
            if name not in table:
                table[name] = [None] * n
        if len(table) > _MOST_COLUMNS or len(table) * (n + 1) > _MOST_CELLS:
            raise _too_large(path, f"{n + 1} rows of {len(table)} columns")
        for name, values in table.items():
            values.append(row.get(name))
        n += 1
    if not n:
        raise RunError(f"{path}: no row. Name a table with some.")
    return table


def number_of(value: Any) -> float | None:
    """A cell as a number; NaN and infinities may be spelled out, as JSON cannot hold them."""
    if value is None or type(value) is float:
        return value
    if isinstance(value, str) and value.strip().lower().lstrip("+-") not in _SPELLED:
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def names_of(path: Path) -> list[str]:
    """The names of a table's columns; of JSON lines those of the first lines.

    Raises:
        RunError: it cannot be read.
        MissingExtraError: a Parquet file without pyarrow.
    """
    suffix = path.suffix.lower()
    if suffix in DELIMITED:
        return _header(path)
    if suffix == ".parquet":
        _, parquet = _pyarrow(path)
        return list(_parquet_says(path, parquet.read_schema).names)
    rows = _json_rows(path) if suffix == ".json" else islice(_json_lines(path, []), _FIRST)
    return list(dict.fromkeys(name for row in rows for name in row))


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            head = stream.readline(_MOST_LINE)
        return next(csv.reader([head], delimiter=max(",\t;", key=head.count)), [])
    except csv.Error:
        return []  # said where the rows are read
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}). Check it.") from error


def _too_large(path: Path, what: str) -> RunError:
    return RunError(f"{path}: {what}, which is too much to read. Keep the columns that are needed.")


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
    if path.stat().st_size > _MOST_JSON:
        raise _too_large(path, f"more than {_MOST_JSON >> 20} MiB of JSON")
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
    _, parquet = _pyarrow(path)
    size = _parquet_says(path, parquet.read_metadata)
    if size.num_rows * size.num_columns > _MOST_CELLS:
        raise _too_large(path, f"{size.num_rows} rows of {size.num_columns} columns")
    found = _parquet_says(path, parquet.read_table)
    if not found.num_rows:
        raise RunError(f"{path}: no row. Name a table with some.")
    return {name: found.column(at).to_pylist() for at, name in enumerate(found.column_names)}


def _parquet_says(path: Path, ask: Callable[[Path], Any]) -> Any:
    pyarrow, _ = _pyarrow(path)
    try:
        return ask(path)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"{path}: no Parquet file ({reason}). Save it again.") from error


def _pyarrow(path: Path) -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", extra="data", needed_for=f"reading {path}") from error
    return pyarrow, parquet
