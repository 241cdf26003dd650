"""W&B's own files: what the real tracker logged comes back bit for bit, while it lives too."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoflop._errors import RunError
from isoflop.runs.readers import READERS

SCRIPTS = Path(__file__).parent / "tracker_scripts"
Written = Callable[[str], tuple[Path, Any]]
READ = READERS["wandb"].read


def flattened(rows: list[dict[str, Any]], begin: int) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of each metric, as logged."""
    series: dict[str, list[tuple[int, float]]] = {}
    for step, row in enumerate(rows, start=begin):
        for key, value in row.items():
            name, number = ("nest.a.b", value["a"]["b"]) if key == "nest" else (key, value)
            series.setdefault(name, []).append((step, float(number)))
    return series


def test_both_attempts_of_a_resumed_run_equal_what_was_logged(written: Written) -> None:
    folder, truth = written("wandb")
    assert READERS["wandb"].sniff(folder)
    runs = list(READ(folder))
    assert [run.group for run in runs] == ["same-id", "same-id"]
    assert len({run.run_id for run in runs}) == 2
    assert [run.state for run in runs] == ["failed", "done"]
    for run, rows, begin in zip(runs, truth, (0, 50), strict=True):
        expected = flattened(rows, begin)
        assert set(run.series) == set(expected)
        for name, points in expected.items():
            steps, values = zip(*points, strict=True)
            np.testing.assert_array_equal(run.series[name].step, steps)
            np.testing.assert_array_equal(run.series[name].value, values)
            assert np.all(np.diff(run.series[name].wall_s) >= 0)
        assert run.config == {
            "lr": 1e-3, "model.width": 128, "<b>": "<script>x</script>", "late": 5,
            "wandb.group": "a group",
        }  # fmt: skip
        assert run.summary == {"best": 0.1 + 0.2, "deep.x": 1 / 3}
        assert run.problems == ("no numbers in some rows of 'words': left out there",)


def test_a_living_run_gives_all_complete_rows(
    tracker_python: Path, tracker_env: dict[str, str], tmp_path: Path
) -> None:
    with subprocess.Popen(
        [tracker_python, SCRIPTS / "live_wandb.py", tmp_path],
        env=tracker_env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as writer:  # fmt: skip
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdin.write("500\n")
        writer.stdin.flush()
        assert writer.stdout.readline() == "logged 500\n"
        try:
            seen = []
            while not seen or len(seen[-1]) < 300:
                # What is read is always a prefix of the rows; the tracker holds back the newest
                # for seconds, up to a block of 32 KiB.
                (run,) = READ(tmp_path)
                assert writer.poll() is None
                if "loss" not in run.series:
                    continue
                seen.append(run.series["loss"].value)
                expected = 1 / (np.arange(len(seen[-1])) + 7)
                np.testing.assert_array_equal(seen[-1], expected)
                assert run.state == "running"
                assert run.problems == ()
        finally:
            writer.kill()
    (path,) = tmp_path.rglob("*.wandb")
    os.utime(path, (1e9, 1e9))
    (run,) = READ(path)
    assert run.state == "unknown"
    assert len(run.series["loss"].value) >= 300


def test_every_truncation_gives_a_prefix_of_the_rows(written: Written, tmp_path: Path) -> None:
    folder, truth = written("wandb")
    whole = min(folder.rglob("*.wandb")).read_bytes()
    losses = np.array([row["train/loss"] for row in truth[0]])
    cut = tmp_path / "run-cut.wandb"
    lengths = set()
    for size in range(7, len(whole), 41):
        cut.write_bytes(whole[:size])
        (run,) = READ(cut)
        got = run.series["train/loss"].value if run.series else np.zeros(0)
        np.testing.assert_array_equal(got, losses[: len(got)])
        assert all("no numbers in" in sentence for sentence in run.problems)
        lengths.add(len(got))
    assert lengths == set(range(len(losses) + 1))


def test_a_flipped_bit_ends_the_reading_with_a_sentence(written: Written, tmp_path: Path) -> None:
    folder, _ = written("wandb")
    whole = bytearray(min(folder.rglob("*.wandb")).read_bytes())
    whole[len(whole) // 2] ^= 4
    (tmp_path / "run-bad.wandb").write_bytes(whole)
    (run,) = READ(tmp_path)
    assert 0 < len(run.series["train/loss"].value) < 60
    assert any("checksum" in sentence or "no record" in sentence for sentence in run.problems)


def test_what_is_no_file_of_wandb_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "run-x.wandb"
    path.write_bytes(b"<html>no</html>")
    with pytest.raises(RunError, match=r"run-x\.wandb: does not begin as a file of W&B"):
        list(READ(path))
    # Among others in a folder it is a run of problems, so that the others are read.
    (run,) = READ(tmp_path)
    assert "does not begin" in run.problems[0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="holds no runs of wandb"):
        list(READ(tmp_path / "empty"))
