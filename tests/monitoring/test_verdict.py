"""Verdicts: each state from a curve that is in it, and the figures that go with it."""

import json

import numpy as np
import pytest
from simulated_runs import AT, END, MIDDLE, band, curve, healthy, rate_tripled

from isoflop.monitoring import EXIT_CODES, judge


@pytest.fixture
def logs():
    return healthy(np.random.default_rng(0))


def half(values):
    return values[AT <= MIDDLE]


def test_a_healthy_run_is_on_track(logs):
    verdict = judge(band(), curve(logs))
    assert (verdict.state, verdict.exit_code, verdict.cause) == ("on_track", 0, "")
    assert verdict.final.low <= np.exp(logs[-1]) <= verdict.final.high


def test_a_tripled_rate_is_off_the_law_and_named(logs):
    lr = np.where(AT > MIDDLE, 3.0, 1.0) * band().rate(AT)
    verdict = judge(band(), curve(logs + rate_tripled(), lr=lr))
    assert (verdict.state, verdict.exit_code) == ("off_law", 4)
    assert "the learning rate is 3 times the planned one" in verdict.cause
    assert abs(verdict.alarm.change.since - MIDDLE) < 0.03 * END
    unlogged = judge(band(), curve(logs + rate_tripled()))
    assert "data or labels" in unlogged.cause


def test_one_domain_that_moved_is_named(logs):
    change = 0.03 * (AT >= MIDDLE)
    domains = {"a": np.exp(logs), "b": np.exp(logs), "code": np.exp(logs + 3 * change)}
    verdict = judge(band(), curve(logs + change, by_domain=domains))
    assert verdict.state == "off_law"
    assert "the domain code moved" in verdict.cause


@pytest.mark.parametrize("last", [np.nan, np.inf, 9.0])
def test_a_loss_that_left_its_level_has_diverged(logs, last):
    made = curve(logs)
    made.loss[-1] = last
    verdict = judge(band(), made)
    assert (verdict.state, verdict.exit_code) == ("diverged", 5)
    json.dumps(verdict.to_json(), allow_nan=False)


def test_the_trainers_own_word_is_enough(logs):
    verdict = judge(band(), curve(logs, state="diverged", reason="the gradient is nan"))
    assert verdict.state == "diverged"
    assert "the gradient is nan" in verdict.text


def test_silence_is_a_stall_unless_the_run_has_ended(logs):
    wall = np.arange(AT.size) * 30.0
    for now, state in ((wall[-1] + 140, "on_track"), (wall[-1] + 160, "stalled")):
        verdict = judge(band(), curve(logs, wall_s=wall), now=now)
        assert verdict.state == state
    assert EXIT_CODES["stalled"] == 6
    assert judge(band(), curve(logs, wall_s=wall, state="done"), now=1e9).state == "on_track"
    beating = curve(logs, heartbeat=1000.0, state="running")
    assert judge(band(), beating, now=1050.0).state == "on_track"
    assert judge(band(), beating, now=1061.0).state == "stalled"


def test_a_run_that_failed_has_stalled(logs):
    verdict = judge(band(), curve(logs, state="failed", reason="disk full"))
    assert (verdict.state, verdict.exit_code) == ("stalled", 6)
    assert "disk full" in verdict.text


def test_flat_before_the_cooldown_is_a_plateau_by_schedule(logs):
    keep = AT <= 0.78 * END
    verdict = judge(band(), curve(logs[keep], AT[keep]))
    assert (verdict.state, verdict.exit_code) == ("plateau_by_schedule", 0)
    assert "cooldown" in verdict.text
    early = AT <= 0.1 * END
    assert judge(band(), curve(logs[early], AT[early])).state == "on_track"


def test_before_the_first_point_there_is_a_forecast(logs):
    verdict = judge(band(), curve(logs[:0], AT[:0]))
    assert (verdict.state, verdict.n_judged) == ("on_track", 0)
    assert verdict.final == verdict.final_frozen
    assert verdict.loss is None
