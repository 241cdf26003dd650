"""Attempts of one training: the later segment wins from its first step, seeds stay apart."""

import math

import numpy as np
import pytest
from foreign_runs import CONFIG, curve, foreign, read, series, taken

from isoflop.runs import ImportedRun
from isoflop.runs.rows import imported_rows

GROUPED = {**CONFIG, "wandb.group": "g"}


def test_a_restart_under_a_new_id_takes_the_place_of_what_it_does_again():
    first = foreign("a", config=GROUPED, steps=range(0, 71, 10), at=0.0, state="failed")
    again = range(50, 101, 10)
    second = foreign(
        "b", config=GROUPED, at=1000.0, series={"loss": series(again, curve(again, 0.05), 1000.0)}
    )
    run = taken(second, first)
    assert run.segments == ("a", "b")
    assert run.provenance["attempts"] == "wandb/a; wandb/b"
    assert (run.id, run.state) == ("a", "done")
    assert run.points["step"].tolist() == list(range(10, 101, 10))
    expected = curve(range(10, 50, 10)) + curve(again, 0.05)
    np.testing.assert_array_equal(run.points["loss"], expected)


def test_the_later_wins_from_the_first_step_of_any_of_its_series():
    """An evaluation of the abandoned branch goes, even before the new one's first evaluation."""
    train, val = range(0, 91, 10), [45, 90]
    first = foreign("a", config=GROUPED, at=0.0, series={
        "train_loss": series(train, curve(train), 0.0), "val_loss": series(val, [5.0, 4.0], 0.0),
    })  # fmt: skip
    again = range(80, 121, 10)
    second = foreign("b", config=GROUPED, at=500.0, series={
        "train_loss": series(again, curve(again), 500.0), "val_loss": series([120], [3.0], 500.0),
    })  # fmt: skip
    run = taken(first, second)
    seen = np.isfinite(run.points["loss"])
    assert run.points["step"][seen].tolist() == [45, 120]


def test_attempts_in_one_file_are_stitched_too():
    """The steps go back in every series; the times tell which evaluation was abandoned."""
    train = [*range(0, 91, 10), *range(60, 121, 10)]
    run = taken(foreign(series={
        "train_loss": series(train, curve(train[:10]) + curve(train[10:], 0.05), 0.0),
        "val_loss": series([50, 85, 120], [5.0, 4.9, 3.0]),
    }))  # fmt: skip
    np.testing.assert_array_equal(
        run.points["train_loss"][np.isfinite(run.points["train_loss"])],
        curve(range(10, 60, 10)) + curve(range(60, 121, 10), 0.05),
    )
    at = series([50, 85, 120], [5.0, 4.9, 3.0])
    timed = type(at)(step=at.step, value=at.value, wall_s=np.array([5.5, 8.6, 16.5]))
    run = taken(foreign(series={
        "train_loss": series(train, curve(train), 0.0), "val_loss": timed,
    }))  # fmt: skip
    seen = np.isfinite(run.points["loss"])
    assert run.points["step"][seen].tolist() == [50, 120]


def test_late_evaluations_take_nothing_back():
    """A job on the side that evaluates step 50 after step 100 is no restart."""
    steps = range(0, 101, 10)
    run = taken(foreign(series={
        "train_loss": series(steps, curve(steps)),
        "val_loss": series([100, 50], [3.0, 4.0]),
    }))  # fmt: skip
    seen = np.isfinite(run.points["loss"])
    assert run.points["loss"][seen].tolist() == [4.0, 3.0]


def test_seeds_and_cells_of_one_group_stay_apart():
    runs = [
        foreign(str(seed), config={**GROUPED, "seed": seed}, at=float(seed)) for seed in range(3)
    ]
    assert [one.id for one in read(*runs)] == ["0", "1", "2"]


def test_a_branch_of_another_size_is_not_taken_for_a_restart():
    first = foreign("a", config=GROUPED, steps=range(0, 71, 10), at=0.0)
    other = foreign("b", steps=range(50, 101, 10), at=99.0, config={**GROUPED, "d_model": 512})
    found = read(first, other)
    assert [one.id for one in found] == ["a", "b"]
    assert any("begins at step 50" in text for text in found[1].problems)


@pytest.mark.parametrize("state", ["done", "unknown"])
def test_a_cooldown_beside_a_training_that_went_on_is_its_branch(state):
    trunk = foreign("a", config=GROUPED, at=0.0, state=state)
    steps = range(50, 81, 10)
    branches = [
        foreign(name, config=GROUPED, state="done", steps=steps, at=500.0 + i,
                series={"loss": series(steps, curve(steps, -0.01 * (1 + i)), 500.0 + i)})
        for i, name in enumerate("bc")
    ]  # fmt: skip
    found = {one.id: one for one in read(trunk, *branches)}
    assert found["a"].points["step"].tolist() == list(range(10, 101, 10))
    for name in "bc":
        assert found[name].facts["trunk"] == found["a"].run_id
        assert found[name].points["step"].tolist() == list(steps)
        assert not any("begins at" in text for text in found[name].problems)
    rows = imported_rows(list(found.values()), "final")
    assert {row["trunk"] for row in rows} == {found["a"].run_id}
    assert len({row["run"] for row in rows}) == 3


def test_a_finished_training_that_is_carried_on_is_one():
    first = foreign("a", config=GROUPED, steps=range(0, 71, 10), at=0.0, state="done")
    second = foreign("b", config=GROUPED, steps=range(70, 121, 10), at=99.0)
    assert taken(first, second).segments == ("a", "b")


def test_with_two_that_it_might_go_on_from_nothing_is_guessed():
    firsts = [foreign(name, config=GROUPED, steps=range(0, 71, 10), at=0.0) for name in "ab"]
    later = foreign("c", config=GROUPED, steps=range(50, 101, 10), at=99.0)
    found = read(*firsts, later)
    assert [one.id for one in found] == ["a", "b", "c"]


def test_three_attempts_and_the_same_id():
    parts = [
        foreign("a", steps=range(0, 41, 10), at=0.0),
        foreign("a", steps=range(30, 81, 10), at=100.0),
        foreign("a", steps=range(0, 61, 10), at=200.0),
    ]
    run = taken(*parts[::-1])
    # The third began again from the start: nothing of the others is left.
    assert run.points["step"].tolist() == list(range(10, 61, 10))
    assert len(run.segments) == 3
    assert isinstance(run, ImportedRun)


def test_no_times_are_needed():
    first = foreign("a", config=GROUPED, steps=range(0, 71, 10))
    second = foreign("b", config=GROUPED, steps=range(50, 101, 10))
    assert math.isnan(first.series["loss"].wall_s[0])
    assert taken(first, second).segments == ("a", "b")
