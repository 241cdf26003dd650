"""One training told in several places is one; evaluations go to the model they are of."""

from dataclasses import replace

import numpy as np
import pytest
from foreign_runs import CONFIG, curve, foreign, series

from isoflop.runs import Asked, ImportedRun
from isoflop.runs.joined import attach_evaluations, merge_twins
from isoflop.runs.segment import segment_of
from isoflop.runs.stitch import lineages
from isoflop.runs.understand import understand

STEPS = range(0, 101, 10)


def read(*runs):
    lines = lineages(segment_of(run, Asked()) for run in runs)
    return [understand(line, Asked()) for line in merge_twins(attach_evaluations(lines))]


def evaluation(model, value=0.5, **rest):
    return foreign(
        "e", tool="lm_eval", place="out/results.json", series={}, config={},
        summary={"arc/acc": value, "arc/acc_stderr": 0.1}, name=model, **rest,
    )  # fmt: skip


def test_two_trackers_of_one_training_are_one_run():
    tracked = foreign("a", config={"learning_rate": 0.01})
    losses = np.array(curve(STEPS)).astype(np.float32).astype(np.float64)
    board = foreign("runs/a", tool="tensorboard", config=CONFIG, series={
        "loss": series(STEPS, losses), "lr": series(STEPS, np.full(11, 0.01)),
    })  # fmt: skip
    for order in ((tracked, board), (board, tracked)):
        (run,) = read(*order)
        assert isinstance(run, ImportedRun)
        assert run.tool == "wandb"  # float64, where the other has float32
        assert run.points["loss"].tolist() == curve(STEPS[1:])
        assert run.facts["width"] == 256
        assert run.facts["lr"] == 0.01
        assert "of wandb/runs/a" in run.provenance["width"]


@pytest.mark.parametrize("change", [1e-4, np.nan])
def test_trainings_that_differ_anywhere_stay_two(change):
    losses = np.array(curve(STEPS))
    losses[5] += change
    other = foreign("b", tool="mlflow", series={"loss": series(STEPS, losses)})
    assert len(read(foreign("a"), other)) == 2


def test_seeds_of_one_tool_are_never_merged():
    assert len(read(foreign("a"), foreign("b"))) == 2


def test_two_equal_losses_are_chance():
    short = {"loss": series([50, 100], curve([50, 100]))}
    assert len(read(foreign("a", series=short), foreign("b", tool="mlflow", series=short))) == 2


def test_an_evaluation_of_the_end_and_of_a_checkpoint():
    run = foreign("x1", name="big")
    (end,) = read(run, evaluation("ckpt/big"))
    assert end.finals == {"acc_arc": 0.5}
    assert end.provenance["acc_arc"] == "wandb/x1: arc/acc of out/results.json"
    (middle,) = read(run, evaluation("ckpt/big/checkpoint-40"))
    assert middle.finals == {}
    at = middle.points["step"] == 40
    assert middle.points["acc_arc"][at].tolist() == [0.5]
    assert np.isnan(middle.points["acc_arc"][~at]).all()
    (last,) = read(run, evaluation("ckpt/big/step100"))
    assert last.finals == {"acc_arc": 0.5}


def test_an_evaluation_that_may_be_of_two_or_none_is_told():
    runs = [foreign(name, name="twin", config={**CONFIG, "seed": i}) for i, name in enumerate("ab")]
    found = read(*runs, evaluation("ckpt/twin"))
    assert len([one for one in found if isinstance(one, ImportedRun)]) == 2
    assert "a training that is not here" in found[-1].questions[0]
    (alone,) = read(replace(evaluation("ckpt/none"), run_id="z"))
    assert "a training that is not here" in alone.questions[0]
