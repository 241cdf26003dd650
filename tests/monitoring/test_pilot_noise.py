"""Calibration: the noise of simulated pilots is found again, and too few of them are refused."""

import numpy as np
import pytest

from isoflop import InputError
from isoflop.monitoring import CurveNoise, Deviations, calibrate_noise

TRUTH = CurveNoise(
    offset=0.008, smooth=0.004, length=1.0, drift=0.003, memory=3e5, white=0.001, freedom=4.0
)


def pilots(n, seed=0, noise=TRUTH):
    rng = np.random.default_rng(seed)
    at = np.concatenate([np.geomspace(2e5, 2e6, 20), np.linspace(2.1e6, 8e6, 40)])
    factor = np.linalg.cholesky(noise.covariance(at))
    return [Deviations(n_tokens=at, value=factor @ rng.standard_normal(at.size)) for _ in range(n)]


def test_the_noise_of_many_pilots_is_found_again():
    found = calibrate_noise(pilots(40), freedom=40)
    assert found.offset == pytest.approx(TRUTH.offset, rel=0.35)
    assert found.drift == pytest.approx(TRUTH.drift, rel=0.25)
    assert found.white == pytest.approx(TRUTH.white, rel=0.35)
    assert found.memory == pytest.approx(TRUTH.memory, rel=0.6)
    assert found.freedom == 40


def test_the_spread_of_few_pilots_is_of_the_right_size():
    # Median over 8 sets of 6 pilots of the found over the true variance at one point.
    at = np.array([4e6])
    found = [calibrate_noise(pilots(6, seed), freedom=6) for seed in range(8)]
    ratios = [one.covariance(at)[0, 0] / TRUTH.covariance(at)[0, 0] for one in found]
    assert 0.5 < np.median(ratios) < 1.6


def test_exact_pilots_have_hardly_any_noise():
    at = np.linspace(1e5, 1e6, 10)
    found = calibrate_noise([Deviations(n_tokens=at, value=np.zeros(10))] * 4, freedom=1)
    assert found.covariance(at)[0, 0] < 1e-8
    assert found.freedom == 4


def test_one_pilot_says_nothing_of_others():
    with pytest.raises(InputError, match="two pilots"):
        calibrate_noise(pilots(1), freedom=1)
