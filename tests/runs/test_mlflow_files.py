"""MLflow's database and file store: what the real tracker logged comes back, NaN and inf too."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoflop._errors import RunError
from isoflop.runs.foreign import ForeignRun
from isoflop.runs.readers import READERS

Written = Callable[[str], tuple[Path, Any]]
READ = READERS["mlflow"].read


@pytest.mark.parametrize("place", ["mlflow.db", "mlruns"])
def test_runs_equal_what_was_logged(written: Written, place: str) -> None:
    folder, values = written("mlflow")
    assert READERS["mlflow"].sniff(folder / place)
    runs = {run.name: run for run in READ(folder / place)}
    assert {name: run.state for name, run in runs.items()} == {
        "parent": "done", "child": "done", "broken": "failed", "going": "running",
    }  # fmt: skip
    check_parent(runs["parent"], values)
    assert runs["child"].config == {"mlflow.experiment": "an <b>experiment</b>"}
    np.testing.assert_array_equal(runs["child"].series["x"].value, [1.5])


def check_parent(run: ForeignRun, values: list[float]) -> None:
    """The run with everything in it."""
    steps = np.arange(len(values)) * 10
    np.testing.assert_array_equal(run.series["train/loss"].value, values)
    np.testing.assert_array_equal(run.series["train/loss"].step, steps)
    np.testing.assert_array_equal(run.series["lr"].value, 0.1 / (steps / 10 + 1))
    np.testing.assert_array_equal(run.series["once"].value, [0.1 + 0.2])
    np.testing.assert_array_equal(run.series["twice"].value, [1.0, 2.0])
    assert np.all(np.diff(run.series["lr"].wall_s) >= 0)
    assert run.series["lr"].wall_s[0] > 1.7e9
    assert run.config == {
        "lr": 1e-3, "model/width": 64, "text": "<script>x</script>", "tags.seed": 3,
        "mlflow.experiment": "an <b>experiment</b>",
    }  # fmt: skip
    assert run.problems == ()


def test_a_folder_with_both_gives_the_runs_of_both(written: Written) -> None:
    folder, _ = written("mlflow")
    assert len(list(READ(folder))) == 8


def test_a_torn_last_line_is_left_out(written: Written, tmp_path: Path) -> None:
    folder, values = written("mlflow")
    shutil.copytree(folder / "mlruns", tmp_path / "mlruns")
    (file,) = (tmp_path / "mlruns").rglob("metrics/train/loss")
    whole = file.read_bytes()
    for size in range(0, len(whole), 3):
        file.write_bytes(whole[:size])
        series = {run.name: run for run in READ(tmp_path)}["parent"].series
        got = series["train/loss"].value if "train/loss" in series else np.zeros(0)
        assert len(got) == whole[:size].count(b"\n")
        np.testing.assert_array_equal(got, values[: len(got)])


def test_no_text_behind_a_link_becomes_a_setting(written: Written, tmp_path: Path) -> None:
    folder, _ = written("mlflow")
    shutil.copytree(folder / "mlruns", tmp_path / "mlruns")
    (param,) = (tmp_path / "mlruns").rglob("params/lr")
    (tmp_path / "secret").write_text("of this machine")
    param.unlink()
    param.symlink_to(tmp_path / "secret")
    runs = {run.name: run for run in READ(tmp_path)}
    assert "lr" not in runs["parent"].config


def test_views_and_other_schemas_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('abc')")
        # As a view over itself a table would never end.
        connection.execute(
            "CREATE VIEW runs AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
            "SELECT i AS run_uuid, i AS name, i AS status, i AS experiment_id, "
            "i AS lifecycle_stage FROM n"
        )
    connection.close()
    assert not READERS["mlflow"].sniff(path)
    with pytest.raises(RunError, match=r"the table runs of MLflow has no .*schema abc"):
        list(READ(path))
    (tmp_path / "x.db").write_text("<html>")
    with pytest.raises(RunError, match=r"x\.db: no SQLite file"):
        list(READ(tmp_path / "x.db"))
    with pytest.raises(RunError, match="holds no runs of mlflow"):
        list(READ(tmp_path))
