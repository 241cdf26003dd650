"""A run of its own (a cosine) is trained from nothing, looked at on the way, and resumed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from isoflop.runs import RunFolder
from isoflop.specs import RunConfig, Schedule
from isoflop.training import train_run
from isoflop.training.__main__ import main
from isoflop.training.checkpoint import load
from isoflop.training.trainer import Trainer

WISH: dict[str, Any] = {
    "threads": 1, "micro_batch": 0, "device": "cpu", "dtype": "float32", "compile": False,
    "checkpoint_seconds": 1e9,
}  # fmt: skip


@pytest.fixture
def cosine(tiny_trunk: RunConfig) -> RunConfig:
    """150 steps."""
    schedule = Schedule(kind="cosine", warmup_tokens=256, n_tokens=150 * 64)
    return replace(tiny_trunk, schedule=schedule)


def test_it_has_looks_on_the_way_and_one_end(
    corpus: Path, tmp_path: Path, cosine: RunConfig
) -> None:
    folder = RunFolder.create(tmp_path, cosine)
    train_run(corpus, folder, holds=[], wish=WISH)
    points = folder.points()
    assert [(p.step, p.kind) for p in points] == [
        (64, "intermediate"), (91, "intermediate"), (128, "intermediate"), (150, "final"),
    ]  # fmt: skip
    for point in points:
        factor = cosine.schedule.factor((point.step - 1) * 64, point.step * 64)
        assert point.lr == pytest.approx(1e-2 * factor)
    assert points[-1].lr < 0.11 * 1e-2
    assert points[-1].loss < points[0].loss
    before = folder.points()
    train_run(corpus, folder, holds=[], wish=WISH)  # done is done
    assert folder.points() == before


@pytest.mark.parametrize("stop", [30, 100, 149])
def test_a_resume_is_bitwise_norms_and_counts_included(
    corpus: Path, tmp_path: Path, cosine: RunConfig, stop: int
) -> None:
    whole = RunFolder.create(tmp_path / "a", cosine)
    train_run(corpus, whole, holds=[], wish=WISH)
    folder = RunFolder.create(tmp_path / "b", cosine)
    trainer = Trainer(cosine, folder, corpus, dict(WISH))
    while trainer.step < stop:
        trainer.train_step()
        if trainer.step in (64, 91, 128):
            trainer.record(final=False)
    trainer.save(keep=False)
    for _ in range(min(20, 149 - stop)):  # work that a kill undoes, points that it does not
        trainer.train_step()
        if trainer.step in (64, 91, 128):
            trainer.record(final=False)
    train_run(corpus, folder, holds=[], wish=WISH)
    records = [[replace(point, wall_s=0.0) for point in one.points()] for one in (whole, folder)]
    assert records[0] == records[1]


def test_the_trainer_trains_several_runs_of_their_own(
    corpus: Path, tmp_path: Path, cosine: RunConfig
) -> None:
    folders = [RunFolder.create(tmp_path, replace(cosine, seed=seed)) for seed in (1, 2)]
    words = [str(corpus), *(str(folder.path) for folder in folders), "--device", "cpu"]
    assert main(words) == 0
    finals = [folder.final() for folder in folders]
    assert finals[0] is not None
    assert finals[1] is not None
    assert finals[0].loss != finals[1].loss


def test_a_checkpoint_of_an_older_version_still_loads(
    corpus: Path, tmp_path: Path, cosine: RunConfig
) -> None:
    """Shipped studies resume: before this version a checkpoint had four entries."""
    folder = RunFolder.create(tmp_path, cosine)
    trainer = Trainer(cosine, folder, corpus, dict(WISH))
    for _ in range(10):
        trainer.train_step()
    trainer.save(keep=False)
    path = folder.checkpoints / "last_00000010.pt"
    state = torch.load(path, weights_only=True)
    torch.save({k: state[k] for k in ("step", "wall_s", "model", "optimiser")}, path)
    assert load(path, torch.device("cpu")).watch == {}
    train_run(corpus, folder, holds=[], wish=WISH)
    whole = RunFolder.create(tmp_path / "whole", cosine)
    train_run(corpus, whole, holds=[], wish=WISH)
    ends = [one.final() for one in (folder, whole)]
    assert ends[0] is not None
    assert ends[1] is not None
    assert ends[0].loss_by_domain == ends[1].loss_by_domain


def test_the_random_state_is_kept(corpus: Path, tmp_path: Path, cosine: RunConfig) -> None:
    folder = RunFolder.create(tmp_path, cosine)
    trainer = Trainer(cosine, folder, corpus, dict(WISH))
    trainer.train_step()
    trainer.save(keep=False)
    drawn = torch.rand(4)
    torch.manual_seed(999)
    trainer.restore(folder.checkpoints / "last_00000001.pt")
    assert torch.equal(torch.rand(4), drawn)
