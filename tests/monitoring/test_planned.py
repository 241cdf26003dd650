"""Our own run folders: plans of trunks and branches, and curves that belong together."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from isoflop import RunError
from isoflop.monitoring import curve_of_folder, planned_run
from isoflop.runs import RunFolder

RUNS = Path(__file__).parents[2] / "examples" / "results" / "cpu-study" / "runs"
BRANCH, TRUNK = "fc7a5c893a22", "12c73a6a9112"


def test_a_branch_is_planned_to_its_end():
    found, config = planned_run(RunFolder(RUNS / BRANCH)), RunFolder(RUNS / BRANCH).config()
    assert found.lineage == TRUNK
    assert found.n_params == 763_392
    assert found.path.n_tokens[-1] == config.n_tokens == 11_499_520
    assert found.path.lr[-1] == 0.0
    # The rate falls as a power of tokens from 344k on: its peak is that of the end of the warm-up.
    assert 0.9 * config.optimiser.lr < found.path.lr.max() <= config.optimiser.lr
    assert found.batch_tokens == config.optimiser.batch_tokens


def test_a_trunk_is_planned_to_where_its_last_branch_begins():
    hold = RunFolder(RUNS / BRANCH).config().schedule.hold_tokens
    found = planned_run(RunFolder(RUNS / TRUNK))
    assert found.path.n_tokens[-1] == hold
    assert found.lineage == TRUNK


def test_a_trunk_without_branches_has_no_end(tmp_path):
    shutil.copytree(RUNS / TRUNK, tmp_path / TRUNK)
    with pytest.raises(RunError, match="no branch beside it"):
        planned_run(RunFolder(tmp_path / TRUNK))


def test_a_branch_has_the_points_of_its_trunk_up_to_its_cooldown():
    made, own = curve_of_folder(RUNS / BRANCH), RunFolder(RUNS / BRANCH).points()
    hold = RunFolder(RUNS / BRANCH).config().schedule.hold_tokens
    trunk = [p for p in RunFolder(RUNS / TRUNK).points() if p.n_tokens <= hold]
    assert made.n_tokens.tolist() == [p.n_tokens for p in trunk + own]
    assert np.array_equal(made.loss, [p.loss for p in trunk + own])
    assert (np.diff(made.n_tokens) > 0).all()
    assert made.state == "done"
    assert made.ended


def test_a_branch_waits_while_its_trunk_is_trained(tmp_path):
    for run in (BRANCH, TRUNK):
        shutil.copytree(RUNS / run, tmp_path / run)
    for name in ("status.json", "metrics.jsonl"):
        (tmp_path / BRANCH / name).unlink()
    (tmp_path / TRUNK / "status.json").write_text('{"state": "running", "heartbeat": 7.0}')
    made = curve_of_folder(tmp_path / BRANCH)
    assert (made.state, made.heartbeat) == ("running", 7.0)
    (tmp_path / TRUNK / "status.json").write_text('{"state": "done", "heartbeat": 7.0}')
    assert not curve_of_folder(tmp_path / BRANCH).ended


def test_a_branch_without_its_trunk_is_named(tmp_path):
    shutil.copytree(RUNS / BRANCH, tmp_path / BRANCH)
    with pytest.raises(RunError, match=TRUNK):
        curve_of_folder(tmp_path / BRANCH)
