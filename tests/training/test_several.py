"""Two processes train what one trains, through torchrun, whole (DDP) or in shards (FSDP2)."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isoflop._errors import InputError
from isoflop.runs import Point, RunFolder
from isoflop.specs import RunConfig, Schedule
from isoflop.training import World, train_run

WISH: dict[str, Any] = {
    "threads": 1, "micro_batch": 0, "device": "cpu", "dtype": "float32", "compile": False,
    "checkpoint_seconds": 1e9,
}  # fmt: skip


@pytest.fixture
def job(tiny_trunk: RunConfig) -> tuple[RunConfig, RunConfig]:
    """A trunk and its branch of 50 steps of 8 sequences."""
    trunk = replace(tiny_trunk, optimiser=replace(tiny_trunk.optimiser, batch_tokens=128))
    schedule = Schedule(kind="wsd", warmup_tokens=256, n_tokens=50 * 128, cooldown_tokens=10 * 128)
    return trunk, replace(trunk, schedule=schedule, trunk=trunk.run_id)


def _spread(corpus: Path, folders: list[RunFolder], *options: str) -> int:
    words = [str(corpus), *(str(folder.path) for folder in folders), "--device", "cpu"]
    words += ["--dtype", "float32", "--processes", "2", *options]
    with (folders[0].path / "log.txt").open("wb") as log:
        environment = dict(os.environ, OMP_NUM_THREADS="1")
        return subprocess.run(
            [sys.executable, "-m", "isoflop.training", *words],
            stdout=log, stderr=log, env=environment, timeout=300, check=False,
        ).returncode  # fmt: skip


def _alone(corpus: Path, runs: Path, job: tuple[RunConfig, RunConfig]) -> Point:
    trunk, branch = (RunFolder.create(runs, run) for run in job)
    train_run(corpus, trunk, holds=[job[1].schedule.hold_tokens], wish=WISH)
    train_run(corpus, branch, holds=[], wish=WISH)
    final = branch.final()
    assert final is not None
    return final


def _agree(one: Point, other: Point) -> None:
    assert other.step == one.step
    assert other.loss_by_domain == pytest.approx(dict(one.loss_by_domain), rel=1e-5)
    assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-4)


@pytest.mark.parametrize("parallel", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_two_processes_train_what_one_trains(
    corpus: Path, tmp_path: Path, job: tuple[RunConfig, RunConfig], parallel: str
) -> None:
    """A branch from its trunk; then the same trunk's branch by one process from its file."""
    one = _alone(corpus, tmp_path / "one", job)
    folders = [RunFolder.create(tmp_path / "two", run) for run in job]
    options = ["--parallel", parallel, "--micro-batch", "2"]
    assert _spread(corpus, folders, *options) == 0, (folders[0].path / "log.txt").read_text()
    two = folders[1].final()
    assert two is not None
    _agree(one, two)
    assert len(folders[1].points()) == 1  # one writer
    execution = folders[1].execution()
    assert execution is not None
    assert (execution["processes"], execution["parallel"]) == (2, parallel)
    # The world may change: checkpoints are whole, whoever wrote them.
    (folders[1].path / "metrics.jsonl").unlink()
    for path in folders[1].checkpoints.glob("*.pt"):
        path.unlink()
    train_run(corpus, folders[1], holds=[], wish=WISH)
    again = folders[1].final()
    assert again is not None
    _agree(one, again)
    execution = folders[1].execution()
    assert execution is not None
    assert execution["notes"] == ["goes on with 1 processes (ddp), before: 2"]


@pytest.mark.slow
def test_a_fault_of_the_input_comes_through_as_two(
    corpus: Path, tmp_path: Path, job: tuple[RunConfig, RunConfig]
) -> None:
    folder = RunFolder.create(tmp_path, job[1])  # its trunk has not been trained
    assert _spread(corpus, [folder]) == 2
    assert "trains the trunk first" in folder.status().reason


@pytest.mark.slow
def test_a_checkpoint_of_one_process_goes_on_in_shards(
    corpus: Path, tmp_path: Path, job: tuple[RunConfig, RunConfig]
) -> None:
    one = _alone(corpus, tmp_path / "one", job)
    trunk, branch = (RunFolder.create(tmp_path / "two", run) for run in job)
    train_run(corpus, trunk, holds=[job[1].schedule.hold_tokens], wish=WISH)
    assert _spread(corpus, [trunk, branch], "--parallel", "fsdp") == 0
    two = branch.final()
    assert two is not None
    _agree(one, two)


@pytest.mark.slow
def test_divergence_is_one_decision_of_all(
    corpus: Path, tmp_path: Path, job: tuple[RunConfig, RunConfig]
) -> None:
    wild = replace(job[0], optimiser=replace(job[0].optimiser, lr=1e30))
    branch = replace(job[1], optimiser=wild.optimiser, trunk=wild.run_id)
    folders = [RunFolder.create(tmp_path, run) for run in (wild, branch)]
    assert _spread(corpus, folders) == 0
    assert [folder.status().state for folder in folders] == ["diverged", "diverged"]


@pytest.mark.slow
def test_a_signal_saves_in_all_and_the_next_start_goes_on(
    corpus: Path, tmp_path: Path, job: tuple[RunConfig, RunConfig]
) -> None:
    schedule = Schedule(kind="cosine", warmup_tokens=256, n_tokens=1500 * 128)
    long = replace(job[0], schedule=schedule, data=replace(job[0].data, repeat=True))
    folder = RunFolder.create(tmp_path, long)
    words = [sys.executable, "-m", "isoflop.training", str(corpus), str(folder.path)]
    words += ["--device", "cpu", "--dtype", "float32", "--processes", "2"]
    with (tmp_path / "log.txt").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
        deadline = time.monotonic() + 120
        while folder.status().step == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.terminate()
        assert process.wait(timeout=60) == 130
    stopped = folder.status()
    assert stopped.state == "preempted"
    assert 0 < stopped.step < 1500
    assert (folder.checkpoints / f"last_{stopped.step:08d}.pt").exists()
    assert _spread(corpus, [folder]) == 0
    assert f"from step {stopped.step} to 1500" in (folder.path / "log.txt").read_text()


def test_a_batch_must_divide(job: tuple[RunConfig, RunConfig]) -> None:
    world = World(size=3)
    with pytest.raises(InputError, match="8 sequences cannot be divided among 3 processes"):
        world.share_of(8)
    assert World(size=4).share_of(8) == 2


@pytest.mark.parametrize(("code", "passed"), [(2, 2), (130, 130), (1, 1), (-9, 137), (-15, 143)])
def test_what_became_of_a_worker_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, code: int, passed: int
) -> None:
    """A worker that was killed is known by its signal, as a shell says it."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    from isoflop.training import torchrun

    def fail(_module: Any, words: list[str]) -> None:
        assert words[:4] == ["--standalone", "--nproc-per-node", "2", "-m"]
        failure = ProcessFailure(local_rank=0, pid=1, exitcode=code, error_file="none")
        raise ChildFailedError("trainer", {0: failure})

    monkeypatch.setattr(torchrun, "_torchrun", fail)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "1")
    assert torchrun.run_processes([], 2, threads=1) == passed


def test_nodes_that_nothing_brings_together_are_bad_input(
    corpus: Path, tmp_path: Path, job: tuple[RunConfig, RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    from isoflop.training.__main__ import main

    monkeypatch.delenv("ISOFLOP_RENDEZVOUS", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "1")
    assert main([str(corpus), str(tmp_path), "--nodes", "2"]) == 2
