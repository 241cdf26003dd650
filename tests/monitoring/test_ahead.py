"""Going on by the law along a run: what of the curve's deviation stays, and with whom."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtri
from simulated_runs import NOISE

from isoflop import Interval
from isoflop.monitoring import Ahead, going_on, look_ahead
from isoflop.specs import Schedule

EXACT = replace(NOISE, offset=0.01, smooth=0.0, drift=1e-9, white=0.0)
MEANS = np.log([2.5, 2.4, 2.45])


def ahead(covariance):
    return Ahead(
        flops=1e20,
        on_tokens=2e10,
        new_params=2e9,
        new_tokens=1e10,
        log_loss=MEANS,
        covariance=np.asarray(covariance, dtype=np.float64),
    )


def final(deviation, sd=1e-9):
    reach = float(ndtri(0.95)) * sd
    value = MEANS[0] + deviation
    return Interval(
        value=np.exp(value), low=np.exp(value - reach), high=np.exp(value + reach), level=0.9
    )


def test_an_offset_of_the_run_stays_with_it_alone():
    made = going_on(ahead(np.zeros((3, 3))), final(0.02), EXACT)
    assert np.log(made.loss.value) == pytest.approx(MEANS[1] + 0.02, abs=1e-9)
    assert np.log(made.new_loss.value) == pytest.approx(MEANS[2], abs=1e-9)
    assert made.gain.value == pytest.approx(np.exp(MEANS[0] + 0.02) - np.exp(MEANS[1] + 0.02))
    assert made.gain_per_token == pytest.approx(made.gain.value / 1e10)


def test_an_error_that_the_law_makes_everywhere_moves_both():
    everywhere = np.full((3, 3), 1.0)
    made = going_on(ahead(everywhere), final(0.02), EXACT)
    assert np.log(made.loss.value) == pytest.approx(MEANS[1] + 0.02, abs=1e-5)
    assert np.log(made.new_loss.value) == pytest.approx(MEANS[2] + 0.02, abs=1e-5)


def test_the_odds_are_even_where_both_ways_are_alike():
    alike = replace(ahead(np.zeros((3, 3))), log_loss=np.log([2.5, 2.4, 2.4]))
    assert going_on(alike, final(0.0), EXACT).odds == pytest.approx(0.5, abs=1e-6)
    better = going_on(alike, final(-0.02), EXACT).odds
    assert better > 0.9
    assert going_on(alike, final(0.02), EXACT).odds == pytest.approx(1 - better, abs=1e-6)


def test_a_cosine_cannot_go_on():
    cosine = Schedule(kind="cosine", warmup_tokens=10, n_tokens=1000)
    assert look_ahead(None, cosine, 1e-3, 1e6) is None
