"""Trackio's database and its export: what the real tracker logged comes back from both."""

import shutil
import sqlite3
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoflop._errors import RunError
from isoflop.runs.readers import READERS
from optional import need_package

Written = Callable[[str], tuple[Path, Any]]
READ = READERS["trackio"].read


def check(folder: Path, values: list[float]) -> None:
    """Both runs, equal to what was logged."""
    assert READERS["trackio"].sniff(folder)
    runs = {run.name: run for run in READ(folder)}
    assert set(runs) == {"first", "second"}
    assert len({run.run_id for run in runs.values()}) == 2
    for run in runs.values():
        assert set(run.series) == {"train/loss", "nested.n"}
        np.testing.assert_array_equal(run.series["train/loss"].value, values)
        np.testing.assert_array_equal(run.series["train/loss"].step, np.arange(40) * 10)
        np.testing.assert_array_equal(run.series["nested.n"].value, np.arange(40))
        assert run.config == {
            "lr": 1e-3, "model.width": 64, "<b>": "<script>x</script>", "trackio.group": "a group",
        }  # fmt: skip
        assert run.problems == ("no numbers in some rows of 'words': left out there",)
        assert np.all(run.series["nested.n"].wall_s > datetime(2025, 1, 1).timestamp())


def test_the_database_equals_what_was_logged(written: Written) -> None:
    folder, values = written("trackio")
    # The export lies beside it: no run comes twice.
    check(folder, values)


def test_the_export_equals_what_was_logged(written: Written, tmp_path: Path) -> None:
    need_package("pyarrow", "data")
    folder, values = written("trackio")
    for file in (folder / "trackio").glob("*.parquet"):
        shutil.copy(file, tmp_path)
    check(tmp_path, values)


def test_a_database_that_is_being_written_is_read_to_its_last_commit(
    written: Written, tmp_path: Path
) -> None:
    folder, _ = written("trackio")
    path = tmp_path / "a-project.db"
    shutil.copy(folder / "trackio" / "a-project.db", path)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode = WAL")
    row = "INSERT INTO metrics (run_id, timestamp, run_name, step, metrics) VALUES (?, ?, ?, ?, ?)"
    writer.execute(row, ("x", "2026-01-01T00:00:00+00:00", "third", 7, '{"a": 0.5}'))
    writer.execute("BEGIN")
    writer.execute(row, ("x", "2026-01-01T00:00:01+00:00", "third", 8, '{"a": 0.25}'))
    third = {run.name: run for run in READ(path)}["third"]
    np.testing.assert_array_equal(third.series["a"].value, [0.5])
    assert third.series["a"].wall_s[0] == 1767225600.0
    writer.execute("COMMIT")
    third = {run.name: run for run in READ(path)}["third"]
    np.testing.assert_array_equal(third.series["a"].value, [0.5, 0.25])
    writer.close()


def test_what_is_not_of_trackio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no runs of trackio"):
        list(READ(tmp_path))
    (tmp_path / "x.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    assert not READERS["trackio"].sniff(tmp_path)
    with pytest.raises(RunError, match="cannot be read"):
        list(READ(tmp_path / "x.db"))
    with pytest.raises(RunError, match="does not exist"):
        list(READ(tmp_path / "nowhere"))
    with sqlite3.connect(tmp_path / "y.db") as connection:
        connection.execute("CREATE TABLE metrics (a, b)")
    connection.close()
    with pytest.raises(RunError, match="no database of Trackio"):
        list(READ(tmp_path / "y.db"))
