"""Measured curves: attempts, units, and groups that never depend on the losses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_runs import AT, END, band, curve, healthy

from isoflop import InputError
from isoflop.monitoring import curve_of
from isoflop.monitoring.sources import latest_attempt
from isoflop.runs.foreign import ForeignRun, Series


def series(step, value, wall=None):
    step = np.array(step, dtype=np.int64)
    wall = np.full(step.size, np.nan) if wall is None else np.array(wall, dtype=np.float64)
    return Series(step=step, value=np.array(value, dtype=np.float64), wall_s=wall)


def foreign(**named):
    return ForeignRun(tool="table", place="runs.csv", run_id="a", series=named)


@given(st.lists(st.integers(0, 12), max_size=30))
def test_the_later_attempt_wins_from_its_first_step(steps):
    kept = []
    for place, step in enumerate(steps):
        kept = [one for one in kept if steps[one] < step] + [place]
    assert latest_attempt(np.array(steps, dtype=np.int64)).tolist() == kept


def test_tokens_come_from_their_series_or_from_the_step():
    run = foreign(
        loss=series([10, 20, 30, 20, 30], [5, 4, 9, 3.5, 3]),
        tokens=series([0, 20, 30], [1, 2000, 3000]),
        lr=series([20], [0.1]),
    )
    found = curve_of(run, loss="loss", tokens="tokens", lr="lr")
    assert found.n_tokens.tolist() == [1, 2000, 3000]
    assert found.loss.tolist() == [5, 3.5, 3]
    assert np.isnan(found.lr[0])
    assert found.lr[1:].tolist() == [0.1, 0.1]
    by_step = curve_of(run, loss="loss", tokens_per_step=100)
    assert by_step.n_tokens.tolist() == [1000, 2000, 3000]


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"loss": "x"}, "x"),
        ({"loss": "loss", "lr": "y"}, "y"),
        ({"loss": "loss"}, "tokens_per_step"),
    ],
)
def test_what_is_not_there_is_named(asked, named):
    with pytest.raises(InputError, match=named):
        curve_of(foreign(loss=series([1], [2])), **asked)


def test_an_empty_series_is_an_empty_curve():
    assert curve_of(foreign(loss=series([], [])), loss="loss", tokens_per_step=1).n_tokens.size == 0


def test_a_counter_of_tokens_that_goes_back_is_an_attempt_too():
    tokens = series([1, 2, 3, 4], [1000, 1200, 500, 700])
    run = foreign(loss=series([1, 2, 3, 4], [5, 4, 4.5, 4.2]), tokens=tokens)
    found = curve_of(run, loss="loss", tokens="tokens")
    assert found.n_tokens.tolist() == [500, 700]
    assert found.loss.tolist() == [4.5, 4.2]


def test_any_series_is_a_sign_of_life():
    run = foreign(loss=series([1], [5], [100.0]), gpu=series([1, 2], [0, 0], [110.0, 170.0]))
    assert curve_of(run, loss="loss", tokens_per_step=1).heartbeat == 170.0


def test_only_losses_that_the_forecast_covers_are_judged():
    logs = healthy(np.random.default_rng(0))
    at = np.concatenate([[1e3], AT, [2 * END]])
    loss = np.concatenate([[5.0], logs, [logs[-1]]])
    loss[50] = np.nan
    made = curve(loss, at)
    assert made.usable(band()).sum() == AT.size - 1
    assert made.seen(band()).n_tokens.size == AT.size - 1


def test_a_long_curve_is_judged_in_groups_that_stay_as_they_were():
    at = np.linspace(4e5, END, 5000)
    made = curve(healthy(np.random.default_rng(1), at), at)
    whole = made.seen(band())
    assert whole.n_tokens.size <= 400
    assert (whole.counts == 13).all()
    early = curve(np.log(made.loss[:1000]), at[:1000]).seen(band())
    n = early.n_tokens.size
    assert np.allclose(early.log_loss, whole.log_loss[:n])
    assert n == 1000 // 13
