"""The alarm: exact likelihood ratios, false alarms at the stated level, power and delay."""

import numpy as np
import pytest
from scipy.stats import binom, multivariate_t
from simulated_runs import AT, END, MIDDLE, NOISE, band, healthy, rate_tripled

from isoflop import InputError
from isoflop.monitoring import Seen, watch
from isoflop.monitoring.alarm import bets_of, forms

LEVEL = 0.05
ONES = np.ones(AT.size)


def seen(log_loss, keep=slice(None)):
    return Seen(AT[keep], log_loss[keep], ONES[keep])


def ringing(change, runs, seed):
    """Share of runs that ring and their delays in shares of the run; `change` added."""
    rng, forecast = np.random.default_rng(seed), band()
    alarms = [watch(forecast, seen(healthy(rng) + change), LEVEL) for _ in range(runs)]
    delays = [(one.rung_at - MIDDLE) / END for one in alarms if one.rings]
    return np.mean([one.rings for one in alarms]), np.array(delays), alarms


def test_the_evidence_is_the_mean_of_exact_likelihood_ratios():
    forecast, logs = band(), healthy(np.random.default_rng(1))
    n = 60
    bets = bets_of(forecast, AT[:n])
    alarm = watch(forecast, seen(logs, slice(0, n)), LEVEL)
    form = forms(bets, forecast, AT[:n])
    base = forecast.covariance(AT[:n])
    off, free = logs[:n] - forecast.mean(AT[:n]), NOISE.freedom
    null = multivariate_t(shape=base, df=free).logpdf(off)
    ratios = [
        multivariate_t(shape=base + (s * f)[:, None] * (s * f)[None], df=free).logpdf(off) - null
        for s, f in zip(bets.size, form.T, strict=True)
    ]
    direct = np.log(bets.stake @ np.exp(ratios) + 1 - bets.stake.sum())
    assert alarm.log_evidence[-1] == pytest.approx(direct, abs=1e-6)


def test_the_stakes_add_up_to_one():
    # All of it at the planned end, and earlier the same on what has been passed.
    whole = bets_of(band(), AT)
    assert whole.stake.sum() == pytest.approx(1.0, abs=1e-12)
    early = bets_of(band(), AT[:50])
    assert early.stake.sum() < 1
    names = [zip(one.shape, one.since, one.size, strict=True) for one in (whole, early)]
    known = dict(zip(names[0], whole.stake, strict=True))
    for name, stake in zip(names[1], early.stake, strict=True):
        assert known[name] == pytest.approx(stake, rel=1e-12)


def test_later_points_do_not_change_what_was_said():
    forecast, logs = band(), healthy(np.random.default_rng(2)) + rate_tripled()
    whole = watch(forecast, seen(logs), LEVEL).log_evidence
    for n in (1, 30, 60):
        early = watch(forecast, seen(logs, slice(0, n)), LEVEL)
        assert early.log_evidence == pytest.approx(whole[:n], abs=1e-9)


def test_healthy_runs_ring_no_more_often_than_stated():
    # Ville's bound: at most 5 % of 400, were it exact; more than the 99.9 % point means a fault.
    share, _, _ = ringing(0.0, 400, seed=3)
    assert share * 400 <= binom.ppf(0.999, 400, LEVEL)
    assert share <= LEVEL


@pytest.mark.slow
def test_the_level_holds_at_20_percent_and_for_many_runs():
    rng, forecast = np.random.default_rng(4), band()
    found = [watch(forecast, seen(healthy(rng)), 0.2).evidence for _ in range(4000)]
    for level in (0.2, 0.05, 0.01):
        assert np.mean(np.array(found) >= 1 / level) <= level


def test_a_tripled_rate_rings_soon():
    share, delays, alarms = ringing(rate_tripled(), 40, seed=5)
    assert share == 1.0
    assert np.median(delays) <= 0.03  # of the run
    assert alarms[0].change.size > 0
    assert abs(alarms[0].change.since - MIDDLE) < 0.05 * END


def test_a_jump_of_two_percent_rings():
    share, delays, alarms = ringing(0.02 * (AT >= MIDDLE), 40, seed=6)
    assert share >= 0.95
    assert np.median(delays) <= 0.05
    sizes = [one.change.size for one in alarms if one.rings]
    assert np.median(sizes) == pytest.approx(0.02, rel=0.3)


def test_a_slower_slope_rings():
    share, delays, _ = ringing(0.04 * np.maximum(AT / MIDDLE - 1, 0), 40, seed=7)
    assert share >= 0.9
    assert np.median(delays) <= 0.3


def test_an_offset_within_the_laws_error_does_not_ring_and_one_far_beyond_does():
    forecast, logs = band(), healthy(np.random.default_rng(8))
    assert not watch(forecast, seen(logs + NOISE.offset), LEVEL).rings
    far = watch(forecast, seen(logs + 20 * NOISE.offset), LEVEL)
    assert far.rings
    assert far.change.shape == "offset"


def test_before_the_first_point_nothing_rings():
    alarm = watch(band(), seen(healthy(np.random.default_rng(9)), slice(0, 0)), LEVEL)
    assert not alarm.rings
    assert alarm.evidence == 1.0


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, float("nan")])
def test_a_level_that_is_no_share_is_refused(level):
    with pytest.raises(InputError, match="level"):
        watch(band(), seen(healthy(np.random.default_rng(10))), level)
