"""MLflow's REST API: a real server on this machine gives what its database holds."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoflop._errors import RunError
from isoflop.runs.foreign import ForeignRun
from isoflop.runs.readers import READERS, SERVERS
from isoflop.runs.readers.mlflow_api import read_mlflow

Written = Callable[[str], tuple[Path, Any]]
SCRIPTS = Path(__file__).parent / "tracker_scripts"


@pytest.fixture(scope="module")
def server(written: Written, tracker_python: Path, tracker_env: dict[str, str]) -> Iterator[str]:
    """The address of MLflow's own server over the database that MLflow wrote."""
    folder, _ = written("mlflow")
    with subprocess.Popen(
        [tracker_python, SCRIPTS / "serve_mlflow.py", folder / "mlflow.db"],
        env=tracker_env, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port
        yield f"http://127.0.0.1:{port}"
        process.kill()


def test_the_server_gives_what_the_database_holds(
    server: str, written: Written, tmp_path: Path
) -> None:
    folder, _ = written("mlflow")
    stored = {run.run_id: run for run in READERS["mlflow"].read(folder / "mlflow.db")}
    for _ in range(2):  # the second time from the cache, where the run has ended
        served = {run.run_id: run for run in SERVERS["mlflow"](server, tmp_path, lambda key: True)}
        assert set(served) == set(stored)
        for run_id, run in served.items():
            same(run, stored[run_id])


def same(one: ForeignRun, other: ForeignRun) -> None:
    """Equal in all but the place."""
    assert (one.name, one.state, one.config) == (other.name, other.state, other.config)
    assert set(one.series) == set(other.series)
    for key, series in one.series.items():
        np.testing.assert_array_equal(series.step, other.series[key].step)
        np.testing.assert_array_equal(series.value, other.series[key].value)
        np.testing.assert_array_equal(series.wall_s, other.series[key].wall_s)


def test_one_experiment_and_wanted_metrics(server: str, tmp_path: Path) -> None:
    source = f"{server}/#an%20<b>experiment</b>"
    runs = list(read_mlflow(source, tmp_path, lambda key: key == "lr"))
    assert len(runs) == 4
    assert {key for run in runs for key in run.series} == {"lr"}
    with pytest.raises(RunError, match="no experiment 'other'"):
        list(read_mlflow(f"{server}#other", tmp_path, lambda key: True))


def test_long_histories_come_in_pages(
    server: str, written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isoflop.runs.readers.mlflow_api._POINTS_A_PAGE", 7)
    monkeypatch.setattr("isoflop.runs.readers.mlflow_api._A_PAGE", 1)
    folder, _ = written("mlflow")
    stored = {run.run_id: run for run in READERS["mlflow"].read(folder / "mlflow.db")}
    served = {run.run_id: run for run in read_mlflow(server, tmp_path, lambda key: True)}
    assert set(served) == set(stored)
    for run_id, run in served.items():
        same(run, stored[run_id])


def test_a_server_out_of_reach_and_other_pages_are_errors(tmp_path: Path, server: str) -> None:
    waits: list[float] = []
    with pytest.raises(RunError, match="no answer after"):
        # The port of discard, which nobody serves.
        list(read_mlflow("http://127.0.0.1:9", tmp_path, lambda key: True, sleep=waits.append))
    assert waits == [1, 2, 4, 8, 16, 32]
    with pytest.raises(RunError, match="no address of a server"):
        list(read_mlflow("file:///etc/passwd", tmp_path, lambda key: True))
    with pytest.raises(RunError, match="no user or password may stand in an address"):
        list(read_mlflow("http://a:secret@host", tmp_path, lambda key: True))
    with pytest.raises(RunError, match="HTTP 404"):
        list(read_mlflow(f"{server}/nowhere", tmp_path, lambda key: True))
