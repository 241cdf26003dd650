"""`scripts/short_runs.py`: its loop trains as the trainer does, and harms begin half-way."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from isoflop.runs import RunFolder
from isoflop.specs import RunConfig, Schedule
from isoflop.training import train_run

SCRIPTS = Path(__file__).parent.parent.parent / "scripts"
STEPS = 120


@pytest.fixture
def short_runs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import short_runs

    monkeypatch.setattr(short_runs, "STRIDE", 1)
    monkeypatch.setattr(short_runs, "SHARD_SEQUENCES", 20)
    return short_runs


@pytest.fixture
def config(tiny_trunk: RunConfig) -> RunConfig:
    cosine = Schedule(kind="cosine", warmup_tokens=256, n_tokens=STEPS * 64, final_factor=0.0)
    return replace(tiny_trunk, schedule=cosine)


@pytest.fixture
def root(tmp_path: Path, corpus: Path) -> Path:
    (tmp_path / "data").symlink_to(corpus)
    (tmp_path / "curves").mkdir()
    return tmp_path


def test_a_healthy_run_ends_where_the_trainers_own_does(short_runs, config, root):
    short_runs._train_one(root, short_runs.Task(config=config))
    found = short_runs.read_curves_of(root, config)["healthy"]
    folder = RunFolder.create(root / "runs", config)
    wish = {"threads": 1, "micro_batch": 0, "device": "cpu", "dtype": "float32", "compile": False}
    train_run(root / "data", folder, holds=[], wish={**wish, "checkpoint_seconds": 60.0})
    final = folder.final()
    assert found.n_tokens[-1] == final.n_tokens
    assert found.loss[-1] == pytest.approx(final.loss, rel=1e-6)


def test_harmed_runs_are_healthy_until_half_way_and_others_then(short_runs, config, root):
    short_runs._train_one(root, short_runs.Task(config=config, harms=short_runs.HARMS))
    curves = short_runs.read_curves_of(root, config)
    healthy = curves.pop("healthy")
    half = healthy.n_tokens <= STEPS * 64 / 2
    assert set(curves) == set(short_runs.HARMS)
    for name, curve in curves.items():
        assert np.array_equal(curve.n_tokens, healthy.n_tokens)
        assert np.array_equal(curve.loss[half], healthy.loss[half]), name
        assert (curve.loss[~half] != healthy.loss[~half]).all(), name
    # What is trained on uniform labels for a fifth has a worse loss than what is not.
    assert curves["labels"].loss[-1] > healthy.loss[-1]


def test_runs_that_are_there_are_not_trained_again(short_runs, config, root):
    path = short_runs.curve_path(root, config)
    path.write_text('{"healthy": {"n_tokens": [1.0], "by_domain": {"a": [2.0]}, "seconds": 3.0}}')
    short_runs.run_all(root, [short_runs.Task(config=config)], 1)
    assert short_runs.read_curves_of(root, config)["healthy"].loss.tolist() == [2.0]
    assert short_runs.seconds_of(root, config) == 3.0
    assert not short_runs._is_there(root, short_runs.Task(config=config, harms=("rate",)))
