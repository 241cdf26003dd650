"""Runs that another tool records: the plan's file is read strictly, and the right run is taken."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from isoflop import InputError, StudyError
from isoflop.monitoring import watched

PLAN = """
source = "out"
n_params = 1e8
batch_tokens = 1000
loss = "eval_loss"
lr = "learning_rate"
peak_lr = 3e-4
[schedule]
kind = "cosine"
warmup_tokens = 100_000
n_tokens = 2_000_000
"""


@pytest.fixture
def plan(tmp_path):
    """A plan's file beside a Trainer's folder with 10 evaluations."""
    history = [
        {"step": 100 * k, "epoch": 0.1, "eval_loss": 4.0 - 0.1 * k, "learning_rate": 3e-4}
        for k in range(1, 11)
    ]
    (tmp_path / "out").mkdir()
    state = {"global_step": 1000, "max_steps": 2000, "log_history": history}
    (tmp_path / "out" / "trainer_state.json").write_text(json.dumps(state))
    path = tmp_path / "big.toml"
    path.write_text(PLAN)
    return path


def test_a_run_is_looked_at_where_its_tracker_writes(plan):
    found = watched(plan)
    curve = found.look()
    assert curve.n_tokens.tolist() == [1e5 * k for k in range(1, 11)]
    assert curve.loss == pytest.approx([4.0 - 0.1 * k for k in range(1, 11)])
    assert (curve.lr == 3e-4).all()
    assert found.forecast == plan.with_suffix(".watch.json")
    assert found.plan.n_params == 1e8
    assert found.plan.path.n_tokens[-1] == 2e6
    assert found.plan.path.lr.max() == pytest.approx(3e-4)


def test_a_rate_may_be_given_point_by_point(plan):
    text = PLAN.split("[schedule]")[0] + "lr_path = [[0, 0.0], [1e5, 1.0], [1.6e6, 1.0], [2e6, 0]]"
    plan.write_text(text)
    path = watched(plan).plan.path
    assert path.rate(np.array([5e4, 1e6, 1.8e6])) == pytest.approx([0.5, 1.0, 0.5])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("n_params = 1e8", "n_params = -1"), "n_params"),
        (("n_params = 1e8", ""), "n_params"),
        (("n_params = 1e8", "n_param = 1e8"), "n_param"),
        (("batch_tokens = 1000", "batch_tokens = 0"), "batch_tokens"),
        (('loss = "eval_loss"', "loss = 3"), "loss"),
        (("[schedule]", "lr_path = [[0, 1]]\n[schedule]"), "schedule"),
        (('kind = "cosine"', 'kind = "line"'), "schedule.kind"),
        (("n_tokens = 2_000_000", "n_tokens = 10"), "n_tokens"),
        (("[schedule]", "[schedule"), "TOML"),
        (("peak_lr = 3e-4", "peak_lr = nan"), "peak_lr"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_with_its_file_and_key(plan, change, named):
    plan.write_text(PLAN.replace(*change))
    with pytest.raises((InputError, StudyError), match=named) as refused:
        watched(plan)
    assert "big.toml" in str(refused.value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (('source = "out"', 'source = "gone"'), "gone"),
        (('source = "out"', 'source = "big.toml"'), "nothing in it is known"),
        (('loss = "eval_loss"', 'loss = "val"'), "eval_loss"),
        (('lr = "learning_rate"', 'lr = "rate"'), "rate"),
        (('source = "out"', 'source = "out"\nrun = "another"'), "another"),
    ],
)
def test_a_run_that_is_not_there_is_named(plan, change, named):
    plan.write_text(PLAN.replace(*change))
    with pytest.raises(InputError, match=named):
        watched(plan).look()


def test_a_table_is_a_source_too(plan):
    rows = ["step,eval_loss,learning_rate", *(f"{100 * k},{4 - 0.1 * k},3e-4" for k in range(1, 6))]
    (plan.parent / "log.csv").write_text("\n".join(rows) + "\n")
    plan.write_text(PLAN.replace('source = "out"', 'source = "log.csv"'))
    curve = watched(plan).look()
    assert curve.n_tokens.tolist() == [1e5, 2e5, 3e5, 4e5, 5e5]
    assert curve.loss == pytest.approx([3.9, 3.8, 3.7, 3.6, 3.5])


def test_the_plan_of_the_page_is_one(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "watch.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```toml\n(.*?)^```", page, re.S | re.M)
    (tmp_path / "big.toml").write_text(text)
    plan = watched(tmp_path / "big.toml").plan
    assert plan.path.n_tokens[-1] == 1.4e12
    assert plan.schedule.hold_tokens == 1.12e12
