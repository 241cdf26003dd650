"""Stop or go: closed forms of the marginal gain, LLaMA's case, and what each advice hangs on."""

from dataclasses import replace

import numpy as np
import pytest

from isoflop import InputError, find_accelerator, find_published
from isoflop.accounting import cost_usd, device_hours
from isoflop.monitoring import metric_gain, stop_or_go

LAW = find_published("hoffmann").estimate
EXACT = replace(LAW, sigma=0.0, spread=0.0)
E, A, ALPHA, B, BETA = LAW.best.theta
LLAMA_7B, TRILLION = 6.7e9, 1e12


def loss(n_params, n_tokens):
    return E + A * n_params**-ALPHA + B * n_tokens**-BETA


def test_the_marginal_gain_is_that_of_the_law():
    made = stop_or_go(EXACT, LLAMA_7B, TRILLION)
    # Over the next 2 % of the tokens: the derivative beta B / D^(beta + 1) within 2 %.
    assert made.gain_per_token.value == pytest.approx(BETA * B * TRILLION ** -(BETA + 1), rel=0.02)
    doubling = B * TRILLION**-BETA * (1 - 2**-BETA)
    assert made.gain_per_doubling.value == pytest.approx(doubling, rel=1e-9)
    assert made.go_on.n_tokens == pytest.approx(2 * TRILLION)
    assert made.go_on.gain.value == pytest.approx(doubling, rel=1e-9)
    assert made.now.value == pytest.approx(loss(LLAMA_7B, TRILLION), rel=1e-12)
    expected = np.exp(loss(LLAMA_7B, 2 * TRILLION))
    assert made.go_on.perplexity.value == pytest.approx(expected, rel=1e-9)


def test_llama_7b_still_gains_at_a_trillion_tokens():
    # Touvron et al. 2023, arXiv:2302.13971, sec. 2.3: the 7B model improves even after 1T tokens,
    # where Hoffmann et al. recommend a 10B model on 200B tokens.
    made = stop_or_go(LAW, LLAMA_7B, TRILLION)
    assert made.advice == "go_on"
    assert made.odds["go_on"] > 0.7
    assert made.gain_per_doubling.low > 0
    assert made.go_on.gain.value == pytest.approx(0.028, abs=0.001)
    assert "2e+12 tokens" in made.text


def test_the_odds_of_going_on_fall_with_the_tokens():
    odds = [stop_or_go(LAW, LLAMA_7B, d).odds["go_on"] for d in (1e11, 1e12, 5e12, 5e13)]
    assert (np.diff(odds) < 0).all()
    far = stop_or_go(LAW, LLAMA_7B, 1.5e13)
    assert far.advice == "larger_model"
    assert far.larger.n_params > LLAMA_7B
    assert far.larger.loss.value < far.go_on.loss.value


def test_both_ways_spend_the_same():
    made = stop_or_go(EXACT, 1e9, 1e11, flops=1e21)
    new, on = made.larger, made.go_on
    assert 6 * new.n_params * new.n_tokens == pytest.approx(1e21)
    assert 6 * 1e9 * (on.n_tokens - 1e11) == pytest.approx(1e21)
    assert new.loss.value == pytest.approx(loss(new.n_params, new.n_tokens), rel=1e-9)


def test_a_gain_below_what_is_asked_for_is_none():
    made = stop_or_go(LAW, LLAMA_7B, TRILLION, least_gain=0.5)
    assert made.advice == "stop"
    assert made.odds["worth_it"] < 0.01


def test_the_runs_own_level_stays_with_it_and_not_with_another():
    here = loss(LLAMA_7B, TRILLION)
    plain = stop_or_go(EXACT, LLAMA_7B, TRILLION)
    better = stop_or_go(EXACT, LLAMA_7B, TRILLION, loss=0.98 * here)
    assert better.go_on.loss.value == pytest.approx(0.98 * plain.go_on.loss.value)
    assert better.larger.loss.value == pytest.approx(plain.larger.loss.value)


def test_dollars_are_those_of_the_accounting():
    device = find_accelerator("H100-SXM")
    made = stop_or_go(LAW, LLAMA_7B, TRILLION, price=(device, 0.4))
    flops = 6 * LLAMA_7B * TRILLION
    assert made.go_on.usd == cost_usd(device_hours(flops, device, 0.4), device)
    low, high = made.gain_per_usd
    assert low * made.go_on.usd[1] == pytest.approx(made.gain_per_token.value * TRILLION)
    assert low < high


@pytest.mark.parametrize(
    "wrong", [{"n_params": 0}, {"n_tokens": -1}, {"flops": 0}, {"loss": -2}, {"least_gain": np.nan}]
)
def test_what_is_not_positive_is_refused(wrong):
    given = {"n_params": 1e9, "n_tokens": 1e10, **wrong}
    with pytest.raises(InputError, match=next(iter(wrong))):
        stop_or_go(LAW, given.pop("n_params"), given.pop("n_tokens"), **given)


def test_a_metric_that_is_a_line_in_log_tokens_gains_its_slope():
    at = np.geomspace(1e9, 1e12, 40)
    found = metric_gain(at, 0.3 + 0.021 * np.log2(at))
    assert (found.value, found.low, found.high) == pytest.approx((0.021,) * 3, abs=1e-9)


def test_the_metrics_interval_covers():
    # 90 % of 300: 253 to 286 at odds of 1 to 1000 on each side.
    rng, at = np.random.default_rng(0), np.linspace(5e11, 1e12, 12)
    inside = 0
    for _ in range(300):
        found = metric_gain(at, 0.5 + 0.02 * np.log2(at) + 0.004 * rng.standard_normal(12))
        inside += found.low <= 0.02 <= found.high
    assert 253 <= inside <= 286


def test_two_evaluations_tell_no_gain():
    with pytest.raises(InputError, match="three points"):
        metric_gain([1e9, 1e11, 1e12], [0.1, 0.2, 0.3])
