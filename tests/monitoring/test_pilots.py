"""From simulated pilots to the watch of a size never trained, whose noise is found from them."""

import numpy as np
import pytest
from scipy.stats import binom
from simulated_runs import AT, END, NOISE, SIZE, healthy, log_law, path, pilots, rate_tripled

from isoflop import fit_curves
from isoflop.monitoring import Seen, forecast_band, look_ahead, noise_of_pilots, watch
from isoflop.specs import Schedule

ONES = np.ones(AT.size)


def made(seed, n_draws=100):
    table = pilots(np.random.default_rng(seed))
    fit = fit_curves(table, n_draws=n_draws)
    noise = noise_of_pilots(table, fit)
    return fit, forecast_band(fit, path(), SIZE, noise, source="simulated")


@pytest.fixture(scope="module")
def one():
    return made(0)


def test_the_noise_of_the_pilots_is_of_the_right_size(one):
    # What a point deviates by: the runs' own noise, and what a law of three or four sizes errs by
    # at the next.
    at = np.array([1e7])
    found = np.sqrt(one[1].noise.covariance(at)[0, 0])
    true = np.hypot(NOISE.offset, np.hypot(NOISE.drift, NOISE.white))
    assert true / 1.2 < found < 3 * true
    assert one[1].noise.freedom == 5


def test_a_size_never_trained_is_forecast_with_its_doubt(one):
    band = one[1]
    off = np.abs(log_law(AT[band.first <= AT]) - band.mean(AT[band.first <= AT]))
    sd = np.sqrt(np.diag(band.covariance(AT[band.first <= AT])))
    assert (off < 3 * sd).all()
    assert off[-1] < 0.02


def test_a_healthy_run_of_it_is_quiet_and_a_tripled_rate_rings(one):
    rng, band = np.random.default_rng(1), one[1]
    keep = band.first <= AT
    logs = healthy(rng)
    assert not watch(band, Seen(AT[keep], logs[keep], ONES[keep])).rings
    harmed = logs + rate_tripled()
    assert watch(band, Seen(AT[keep], harmed[keep], ONES[keep])).rings


def test_beyond_the_end_the_law_is_asked_along_the_same_schedule(one):
    fit, band = one
    schedule = Schedule(
        kind="wsd", warmup_tokens=100_000, n_tokens=int(END), cooldown_tokens=int(0.2 * END)
    )
    ahead = look_ahead(fit, schedule, 1.0, SIZE)
    true = log_law(np.array([2 * END]), since=4 * END, planned=path(2 * END))[0]
    assert ahead.log_loss[1] == pytest.approx(true, abs=0.03)
    # The simulated cooldown is linear, the schedule's falls as 1 - sqrt: the ends differ a little.
    assert ahead.log_loss[0] == pytest.approx(band.log_loss[-1], abs=0.015)
    assert ahead.log_loss[1] < ahead.log_loss[0]
    assert ahead.flops == pytest.approx(6 * SIZE * 1.2 * END)
    assert np.linalg.eigvalsh(ahead.covariance).min() > -1e-12


@pytest.mark.slow
def test_false_alarms_of_forecasts_from_pilots_stay_below_the_level():
    # 20 ladders of 25 runs: runs of one ladder share its law's error, so that the count varies
    # more than binomially; 5 % of 500 with all of one ladder ringing is 25 + 25.
    rung = 0
    for seed in range(20):
        _, band = made(100 + seed, n_draws=60)
        rng = np.random.default_rng(seed)
        keep = band.first <= AT
        for _ in range(25):
            logs = healthy(rng)
            rung += watch(band, Seen(AT[keep], logs[keep], ONES[keep])).rings
    assert rung <= binom.ppf(0.999, 500, 0.05)
