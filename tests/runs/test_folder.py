"""Run folders survive torn writes and refuse corruption by name."""

from pathlib import Path

import numpy as np
import pytest

from isoflop._errors import InputError, RunError
from isoflop.runs import Point, RunFolder, Status, read_runs
from isoflop.specs import RunConfig


def _point(step: int, kind: str = "intermediate") -> Point:
    return Point(
        step=step, n_tokens=64 * step, flops=1e6 * step, loss=3.0 / step, lr=1e-3,
        kind=kind, loss_by_domain={"a": 0.1, "b": 1 / 3}, bpb=None, wall_s=0.5,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, tiny_trunk: RunConfig) -> RunFolder:
    return RunFolder.create(tmp_path / "runs", tiny_trunk)


def test_append_then_read_is_exact(folder: RunFolder) -> None:
    points = [_point(1), _point(3), _point(7, "final")]
    for point in points:
        folder.append(point)
    assert folder.points() == points
    assert folder.final() == points[-1]


def test_every_torn_last_line_is_read_past_and_mended(folder: RunFolder) -> None:
    folder.append(_point(1))
    folder.append(_point(2))
    path = folder.path / "metrics.jsonl"
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first + 1, len(whole)):
        path.write_bytes(whole[:cut])
        assert folder.points() == ([_point(1)] if cut < len(whole) - 1 else [_point(1), _point(2)])
    path.write_bytes(whole[: first + 5])
    assert folder.mend() == 1
    folder.append(_point(2))
    assert path.read_bytes() == whole


def test_a_bad_line_within_is_named(folder: RunFolder) -> None:
    (folder.path / "metrics.jsonl").write_text('{"step": 1}\n{}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 1"):
        folder.points()


@pytest.mark.parametrize("name", ["config.json", "status.json"])
@pytest.mark.parametrize("text", ["{", "[]", '{"state": "asleep"}', "null"])
def test_corrupt_files_are_named(folder: RunFolder, name: str, text: str) -> None:
    (folder.path / name).write_text(text)
    with pytest.raises(InputError, match=name):
        folder.config() if name == "config.json" else folder.status()


def test_status_and_execution(folder: RunFolder) -> None:
    assert folder.status() == Status(state="queued")
    folder.set_status(Status(state="running", attempt=2))
    folder.beat(step=5)
    assert (folder.status().attempt, folder.status().step) == (2, 5)
    assert folder.freeze_execution({"threads": 1}) == {"threads": 1}
    assert folder.freeze_execution({"threads": 2}) == {"threads": 1}


def test_read_runs_takes_final_points_with_their_counts(folder: RunFolder) -> None:
    folder.append(_point(5))
    folder.append(_point(9, "final"))
    table = read_runs(folder.path.parent)
    # 4·16² + 2·16·32 + 300·16: attention, MLP and head of the tiny model.
    assert table["n_params"].tolist() == [1024 + 1024 + 4800]
    assert table["n_tokens"].tolist() == [9 * 64]
    np.testing.assert_array_equal(table["flops"], 6 * table["n_params"] * table["n_tokens"])
    assert table["loss_b"].tolist() == [1 / 3]


def test_read_runs_reads_csv_and_says_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("n_params,n_tokens,loss,run\n1e6,2e7,3.5,a\n")
    assert read_runs(path)["loss"].tolist() == [3.5]
    with pytest.raises(RunError, match="no such folder"):
        read_runs(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="no final point"):
        read_runs(tmp_path / "empty")
