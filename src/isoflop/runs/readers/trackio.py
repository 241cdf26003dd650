"""Trackio: one SQLite database a project, and the Parquet files that it exports for Spaces.

Source: trackio/sqlite_storage.py of 0.43. A row is the JSON of what was logged at a step.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from isoflop._errors import MissingExtraError, RunError
from isoflop.runs.foreign import ForeignRun
from isoflop.runs.readers.gathering import (
    MAX_TEXT,
    Gatherer,
    cannot_read,
    files_below,
    flat,
    parse_json,
    printable,
    read_each,
)
from isoflop.runs.readers.sqlite import columns_of, has_columns, opened

TOOL = "trackio"
_NEEDED = {"run_name", "step", "timestamp", "metrics"}
_KEYS = {"id", "run_id", "run_name", "step", "timestamp", "log_id", "space_id", "created_at"}
_PARQUET = b"PAR1"
_BATCH_ROWS = 1024
_MAX_PARQUET = 1 << 30
_SHORT = f"CASE WHEN length({{0}}) <= {MAX_TEXT} THEN {{0}} END"

Row = tuple[str, str, Any, Any, dict[str, Any] | None]
"""Run id, run name, step, timestamp, metrics; None where they are no JSON object."""


def sniff(path: Path) -> bool:
    """Whether this is such a database or export, or a folder with one."""
    return any(_kind(file) for file in files_below(path, _wanted))


def read(path: Path) -> Iterator[ForeignRun]:
    """Every run of every project; of an export beside its database only the database is read.

    Raises:
        RunError: a file that is none of Trackio's, or a folder without any.
        MissingExtraError: Parquet files without pyarrow.
    """
    if path.is_file():
        yield from _read(path)
        return
    kinds = {file: _kind(file) for file in files_below(path, _wanted)}
    places = [
        file
        for file, kind in kinds.items()
        if kind == "database" or (kind and not kinds.get(file.with_suffix(".db")))
    ]
    yield from read_each(TOOL, path, places, _read)


def _read(file: Path) -> Iterator[ForeignRun]:
    return _read_parquet(file) if _is_parquet(file) else _read_database(file)


def _wanted(name: str) -> bool:
    return name.endswith((".db", ".parquet"))


def _kind(file: Path) -> str:
    """`database`, `parquet`, or nothing."""
    if file.suffix != ".parquet":
        return "database" if has_columns(file, "metrics", _NEEDED) else ""
    try:
        columns = _columns(file) if _is_parquet(file) else set()
    except (MissingExtraError, RunError):
        return ""
    return "parquet" if columns >= _NEEDED - {"metrics"} else ""


def _is_parquet(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return stream.read(len(_PARQUET)) == _PARQUET
    except OSError:
        return False


def _read_database(path: Path) -> Iterator[ForeignRun]:
    with opened(path) as connection:
        if not columns_of(connection, "metrics") >= _NEEDED:
            raise RunError(f"{printable(path)}: no database of Trackio. Name the one it wrote.")
        # Before 0.20 a run had no id but its name.
        own = "run_id" if "run_id" in columns_of(connection, "metrics") else "run_name"
        configs = _configs(connection)
        query = (
            f"SELECT {own}, run_name, step, timestamp, {_SHORT.format('metrics')} "
            f"FROM metrics ORDER BY {own}, id"
        )
        rows = (
            (str(run_id), str(name), step, time, _object(content))
            for run_id, name, step, time, content in connection.execute(query)
        )
        yield from _runs(path, rows, configs)


def _configs(connection: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    columns = columns_of(connection, "configs")
    if not {"run_name", "config"} <= columns:
        return {}
    own = "run_id" if "run_id" in columns else "run_name"
    rows = connection.execute(f"SELECT {own}, {_SHORT.format('config')} FROM configs")
    return {str(run_id): _object(content) or {} for run_id, content in rows}


def _object(content: Any) -> dict[str, Any] | None:
    """A JSON object in a column, text or bytes; None where it is none."""
    try:
        data = parse_json(content) if isinstance(content, str | bytes) else None
    except ValueError:
        data = None
    return data if isinstance(data, dict) else None


def _runs(
    path: Path, rows: Iterable[Row], configs: dict[str, dict[str, Any]]
) -> Iterator[ForeignRun]:
    """Runs of rows that are sorted by run."""
    last, name = "", ""
    gathered: Gatherer | None = None
    for run_id, run_name, step, timestamp, metrics in rows:
        if gathered is None or run_id != last:
            if gathered is not None:
                yield _run(path, last, name, configs, gathered)
            last, name, gathered = run_id, run_name, Gatherer()
        if not isinstance(step, int) or metrics is None:
            gathered.problem("a row without a step or a JSON object of metrics was left out")
            continue
        wall_s = _seconds(timestamp)
        for key, value in flat(metrics).items():
            gathered.add_any(key, step, value, wall_s)
    if gathered is not None:
        yield _run(path, last, name, configs, gathered)


def _run(
    path: Path, run_id: str, name: str, configs: dict[str, dict[str, Any]], gathered: Gatherer
) -> ForeignRun:
    settings = flat(configs.get(run_id, {}))
    config = {key: value for key, value in settings.items() if not key.startswith("_")}
    if settings.get("_Group"):
        config["trackio.group"] = settings["_Group"]
    return ForeignRun(
        tool=TOOL,
        place=printable(path),
        run_id=run_id,
        name=name,
        config=config,
        series=gathered.series(),
        problems=gathered.problems(),
    )


def _seconds(timestamp: Any) -> float:
    """Seconds since the epoch of an ISO time; NaN where it is none."""
    try:
        return datetime.fromisoformat(timestamp).timestamp()
    except (TypeError, ValueError, OverflowError, OSError):
        return float("nan")


def _read_parquet(path: Path) -> Iterator[ForeignRun]:
    if not _columns(path) >= _NEEDED - {"metrics"}:
        raise RunError(f"{printable(path)}: no export of Trackio. Name the table of its metrics.")
    sidecar = path.with_name(f"{path.stem}_configs.parquet")
    if not sidecar.is_file():
        # The layout for static Spaces.
        sidecar = path.parent / "aux" / "configs.parquet"
    configs = {}
    if sidecar.is_file():
        for row in _parquet_rows(sidecar):
            configs[_run_id(row)] = _logged(row)
    yield from _runs(path, map(_parquet_row, _parquet_rows(path)), configs)


def _run_id(row: dict[str, Any]) -> str:
    return str(row.get("run_id") or row.get("run_name") or "")


def _parquet_row(row: dict[str, Any]) -> Row:
    name = str(row.get("run_name") or "")
    return _run_id(row), name, row.get("step"), row.get("timestamp"), _logged(row)


def _logged(row: dict[str, Any]) -> dict[str, Any]:
    """What the user gave; a column of another run or step is null here."""
    return {key: value for key, value in row.items() if key not in _KEYS and value is not None}


def _columns(path: Path) -> set[str]:
    with _parquet(path) as file:
        return set(file.schema_arrow.names)


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows sorted by run and, within it, in the order written."""
    with _parquet(path) as file:
        size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups))
        if size > _MAX_PARQUET:
            raise RunError(
                f"{printable(path)}: {size / 1e9:.1f} GB unpacked. Read the database instead."
            )
        table = file.read()
        names = [name for name in ("run_id", "run_name", "id") if name in table.column_names]
        table = table.sort_by([(name, "ascending") for name in names])
        for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
            yield from batch.to_pylist()


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    """A Parquet file; what is wrong within it is a RunError."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError(
            "pyarrow", extra="data", needed_for="reading Trackio's Parquet files"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except FileNotFoundError as error:
        raise cannot_read(path, error) from error
    except RunError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
        raise RunError(
            f"{printable(path)}: "
            f"damaged Parquet ({type(error).__name__}). Export it again, or read the "
            "database."
        ) from error
