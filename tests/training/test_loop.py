"""Training resumes bitwise, branches equal the undivided run, bad runs are said to be bad."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from isoflop._errors import RunError
from isoflop.runs import Point, RunFolder
from isoflop.specs import Optimiser, RunConfig
from isoflop.training import train_run
from isoflop.training.loop import Trainer

WISH: dict[str, Any] = {
    "threads": 1,
    "micro_batch": 0,
    "device": "cpu",
    "dtype": "float32",
    "compile": False,
    "checkpoint_seconds": 1e9,
}


def _train(corpus: Path, runs: Path, trunk: RunConfig, branch: RunConfig) -> Point:
    trunk_folder, folder = RunFolder.create(runs, trunk), RunFolder.create(runs, branch)
    holds = [branch.schedule.hold_tokens]
    train_run(corpus, trunk_folder, holds=holds, wish=WISH)
    train_run(corpus, folder, holds=[], wish=WISH)
    point = folder.final()
    assert point is not None
    return replace(point, wall_s=0.0)


def test_it_learns_and_records(
    corpus: Path, tmp_path: Path, tiny_trunk: RunConfig, tiny_branch: RunConfig
) -> None:
    point = _train(corpus, tmp_path, tiny_trunk, tiny_branch)
    assert point.loss < math.log(300) - 1
    assert point.loss == pytest.approx(sum(point.loss_by_domain.values()) / 2)
    assert point.step == 60
    assert point.bpb is not None
    assert RunFolder(tmp_path / tiny_trunk.run_id).status().state == "done"


def test_a_branch_equals_the_undivided_run_bitwise(
    corpus: Path, tmp_path: Path, tiny_trunk: RunConfig, tiny_branch: RunConfig
) -> None:
    branched = _train(corpus, tmp_path / "a", tiny_trunk, tiny_branch)
    folder = RunFolder.create(tmp_path / "b", tiny_branch)
    execution = {**WISH, "device": "cpu"}
    trainer = Trainer(tiny_branch, folder, corpus, execution)
    while trainer.step < 60:
        trainer.train_step()
    losses = trainer.evaluate(stride=1)
    assert losses == branched.loss_by_domain


def test_resuming_from_any_checkpoint_is_bitwise(
    corpus: Path, tmp_path: Path, tiny_trunk: RunConfig, tiny_branch: RunConfig
) -> None:
    whole = _train(corpus, tmp_path / "a", tiny_trunk, tiny_branch)
    for stop in (1, 20, 44):
        runs = tmp_path / f"b{stop}"
        folder = RunFolder.create(runs, tiny_trunk)
        trainer = Trainer(tiny_trunk, folder, corpus, {**WISH, "device": "cpu"})
        while trainer.step < stop:
            trainer.train_step()
        trainer.save(keep=False)
        assert _train(corpus, runs, tiny_trunk, tiny_branch) == whole


def test_micro_batches_change_the_sum_and_not_the_result(
    corpus: Path, tmp_path: Path, tiny_trunk: RunConfig
) -> None:
    losses = []
    for micro in (0, 1, 2):
        folder = RunFolder.create(tmp_path / str(micro), tiny_trunk)
        trainer = Trainer(tiny_trunk, folder, corpus, {**WISH, "micro_batch": micro})
        for _ in range(10):
            trainer.train_step()
        losses.append(trainer.evaluate(stride=4)["prose"])
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-4)


def test_a_diverged_run_is_marked(corpus: Path, tmp_path: Path, tiny_trunk: RunConfig) -> None:
    wild = replace(tiny_trunk, optimiser=Optimiser(lr=1e30, batch_tokens=64))
    folder = RunFolder.create(tmp_path, wild)
    train_run(corpus, folder, holds=[64 * 50], wish=WISH)
    status = folder.status()
    assert status.state == "diverged"
    assert "loss became" in status.reason


def test_a_branch_without_its_trunk_says_so(
    corpus: Path, tmp_path: Path, tiny_branch: RunConfig
) -> None:
    folder = RunFolder.create(tmp_path, tiny_branch)
    with pytest.raises(RunError, match="trains the trunk first"):
        train_run(corpus, folder, holds=[], wish=WISH)
    assert folder.status().state == "failed"


def test_a_corrupt_checkpoint_is_named(
    corpus: Path, tmp_path: Path, tiny_trunk: RunConfig, tiny_branch: RunConfig
) -> None:
    trunk, folder = RunFolder.create(tmp_path, tiny_trunk), RunFolder.create(tmp_path, tiny_branch)
    train_run(corpus, trunk, holds=[tiny_branch.schedule.hold_tokens], wish=WISH)
    path = next(trunk.checkpoints.glob("hold_*.pt"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match=path.name):
        train_run(corpus, folder, holds=[], wish=WISH)


def test_checkpoints_cannot_run_code(tmp_path: Path) -> None:
    from isoflop.training.checkpoint import load

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.system, ("touch " + str(tmp_path / "owned"),))

    path = tmp_path / "last_00000001.pt"
    torch.save({"step": Evil()}, path)
    with pytest.raises(RunError, match="corrupt checkpoint"):
        load(path, torch.device("cpu"))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_next_start_goes_on(
    corpus: Path, tmp_path: Path, tiny_trunk: RunConfig, tiny_branch: RunConfig, number: int
) -> None:
    longer = replace(
        tiny_branch,
        schedule=replace(tiny_branch.schedule, n_tokens=64 * 200, cooldown_tokens=64 * 20),
    )
    trunk, branch = RunFolder.create(tmp_path, tiny_trunk), RunFolder.create(tmp_path, longer)
    command = [
        sys.executable, "-m", "isoflop.training", str(corpus), str(trunk.path), str(branch.path),
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not trunk.points() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(number)
    assert process.wait(timeout=60) in (0, 130)
    assert subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0
    final = branch.final()
    assert final is not None
    assert replace(final, wall_s=0.0) == _train(corpus, tmp_path / "whole", tiny_trunk, longer)
