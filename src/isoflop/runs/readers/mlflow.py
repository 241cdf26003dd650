"""MLflow on disk: its SQLite database, and folders of its file store (`mlruns`).

Source: mlflow/store/tracking/dbmodels/models.py of MLflow 3.17. NaN is 0 with a mark there, and
infinities are the largest float64.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from isoflop._errors import RunError
from isoflop.runs.foreign import ForeignRun
from isoflop.runs.readers.gathering import Gatherer, as_number, files_below, printable, read_each
from isoflop.runs.readers.mlflow_files import read_run_folder, run_folders
from isoflop.runs.readers.mlflow_words import STATES, TOOL, settings, unclamped
from isoflop.runs.readers.sqlite import columns_of, has_columns, opened

_COLUMNS = {
    "runs": {"run_uuid", "name", "status", "experiment_id", "lifecycle_stage"},
    "metrics": {"run_uuid", "key", "value", "timestamp", "step", "is_nan"},
    "params": {"run_uuid", "key", "value"},
    "tags": {"run_uuid", "key", "value"},
    "experiments": {"experiment_id", "name"},
}


def sniff(path: Path) -> bool:
    """Whether this is such a database, or a folder with one or with runs of the file store."""
    databases = files_below(path, _wanted)
    return any(_is_database(file) for file in databases) or any(True for _ in run_folders(path))


def read(path: Path) -> Iterator[ForeignRun]:
    """Every run that is not deleted.

    Raises:
        RunError: a file that is no such database, or a folder without runs.
    """
    databases = [file for file in files_below(path, _wanted) if file == path or _is_database(file)]
    folders = list(run_folders(path))
    yield from read_each(TOOL, path, databases + folders, _read)


def _read(place: Path) -> Iterator[ForeignRun]:
    """Runs of a database, or the one of a folder."""
    if place.is_dir():
        run = read_run_folder(place)
        if run.state != "deleted":
            yield run
    else:
        yield from _read_database(place)


def _wanted(name: str) -> bool:
    return name.endswith((".db", ".sqlite", ".sqlite3"))


def _is_database(file: Path) -> bool:
    return has_columns(file, "metrics", {"run_uuid", "is_nan"})


def _read_database(path: Path) -> Iterator[ForeignRun]:
    """Every run of a database that is not deleted, one after the other.

    Raises:
        RunError: no database of MLflow, or of a release whose tables are others.
    """
    with opened(path) as connection:
        _check(path, connection)
        runs = _runs(connection)
        details = {table: _pairs(connection, table) for table in ("params", "tags")}
        query = (
            "SELECT run_uuid, key, value, timestamp, step, is_nan FROM metrics "
            "ORDER BY run_uuid, rowid"
        )
        for run_id, rows in groupby(connection.execute(query), lambda row: row[0]):
            if run_id in runs:
                gathered = Gatherer()
                for row in rows:
                    _take(gathered, row)
                yield _run(path, run_id, runs.pop(run_id), details, gathered)
        for run_id, row in runs.items():
            yield _run(path, run_id, row, details, Gatherer())


def _check(path: Path, connection: sqlite3.Connection) -> None:
    for table, needed in _COLUMNS.items():
        if missing := needed - columns_of(connection, table):
            known = columns_of(connection, "alembic_version")
            found = "SELECT version_num FROM alembic_version" if "version_num" in known else ""
            version = connection.execute(found).fetchone() if found else None
            raise RunError(
                f"{printable(path)}: "
                f"the table {table} of MLflow has no {', '.join(sorted(missing))} "
                f"(schema {version[0] if version else 'unknown'}). Run `mlflow db upgrade` on a "
                "copy, or name another file."
            )


def _runs(connection: sqlite3.Connection) -> dict[str, tuple[Any, ...]]:
    query = (
        "SELECT run_uuid, runs.name, status, experiments.name FROM runs LEFT JOIN experiments "
        "ON runs.experiment_id = experiments.experiment_id "
        "WHERE runs.lifecycle_stage IS NOT 'deleted' ORDER BY runs.rowid"
    )
    return {row[0]: row[1:] for row in connection.execute(query)}


def _pairs(connection: sqlite3.Connection, table: str) -> dict[str, dict[str, str]]:
    pairs: dict[str, dict[str, str]] = {}
    for run_id, key, value in connection.execute(f"SELECT run_uuid, key, value FROM {table}"):
        pairs.setdefault(run_id, {})[str(key)] = str(value)
    return pairs


def _take(gathered: Gatherer, row: tuple[Any, ...]) -> None:
    _, key, value, timestamp, step, is_nan = row
    number = float("nan") if is_nan else as_number(value)
    if not isinstance(step, int) or not isinstance(timestamp, int | float):
        gathered.problem("a row without step or time was left out")
    elif number is None:
        gathered.no_number(str(key))
    else:
        gathered.add(str(key), step, unclamped(number), timestamp / 1000)


def _run(
    path: Path,
    run_id: str,
    row: tuple[Any, ...],
    details: Mapping[str, Mapping[str, dict[str, str]]],
    gathered: Gatherer,
) -> ForeignRun:
    name, status, experiment = row
    return ForeignRun(
        tool=TOOL,
        place=printable(path),
        run_id=run_id,
        name=str(name or ""),
        state=STATES.get(str(status), "unknown"),
        config=settings(
            details["params"].get(run_id, {}),
            details["tags"].get(run_id, {}),
            str(experiment or ""),
        ),
        series=gathered.series(),
        problems=gathered.problems(),
    )
