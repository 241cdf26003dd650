"""The band: closed forms of its conditioning, its limits, and published laws along a run."""

from dataclasses import replace

import numpy as np
import pytest
from simulated_runs import AT, END, NOISE, band, healthy

from isoflop import InputError, LrPath, find_published
from isoflop.laws import MULTI_POWER
from isoflop.monitoring import Band, CurveNoise, Seen, published_band

NOTHING = Seen(np.zeros(0), np.zeros(0), np.zeros(0))


def some(log_loss, n):
    return Seen(AT[:n], log_loss[:n], np.ones(n))


def test_the_covariance_is_symmetric_and_positive():
    found = band().covariance(AT)
    assert np.allclose(found, found.T)
    assert np.linalg.eigvalsh(found).min() > 0


def test_with_an_offset_alone_the_end_is_the_shrunken_mean():
    # The posterior of a normal mean: weight n o^2 / (n o^2 + w^2) on the mean of n deviations.
    noise = replace(NOISE, smooth=0.0, drift=0.0, offset=0.01, white=0.004)
    forecast, rng = band(noise), np.random.default_rng(0)
    off = 0.008 + 0.004 * rng.standard_normal(30)
    found = forecast.final(some(forecast.mean(AT[:30]) + off, 30))
    weight = 30 * 0.01**2 / (30 * 0.01**2 + 0.004**2)
    expected = forecast.mean(np.array([END]))[0] + weight * off.mean()
    assert np.log(found.value) == pytest.approx(expected, abs=1e-6)


def test_before_the_run_the_final_loss_is_the_band_at_its_end():
    before, drawn = band().final(NOTHING), band().predict()
    assert before.value == pytest.approx(drawn.mean[-1], rel=1e-12)
    assert before.low == pytest.approx(drawn.low[-1], rel=1e-9)
    assert before.high == pytest.approx(drawn.high[-1], rel=1e-9)


def test_the_final_loss_narrows_and_covers():
    # 90 % intervals of 200 runs hold 166 to 193 at odds of 1 to 1000; the noise has no bend here,
    # so that they are a little wide.
    forecast, rng = band(), np.random.default_rng(1)
    medians = [np.log(forecast.final(NOTHING).high / forecast.final(NOTHING).low)]
    for n in (20, 40, 60):
        runs = [healthy(rng) for _ in range(200)]
        found = [forecast.final(some(logs, n)) for logs in runs]
        ends = [np.exp(logs[-1]) for logs in runs]
        inside = [one.low <= end <= one.high for one, end in zip(found, ends, strict=True)]
        assert sum(inside) >= 166
        medians.append(np.median([np.log(one.high / one.low) for one in found]))
    assert (np.diff(medians) < 0).all()


def test_a_band_read_back_is_the_same():
    read = Band.from_json(band().to_json())
    assert np.array_equal(read.covariance(AT), band().covariance(AT))
    assert np.array_equal(read.mean(AT), band().mean(AT))


@pytest.mark.parametrize("key", ["n_tokens", "noise", "theta", "problems", "lr"])
def test_a_band_that_lacks_a_field_is_refused(key):
    data = band().to_json()
    del data[key]
    with pytest.raises(InputError, match=key):
        Band.from_json(data)


@pytest.mark.parametrize(
    "change", [{"white": -0.1}, {"memory": 0.0}, {"drift": 0.0, "white": 0.0}, {"freedom": 0.0}]
)
def test_noise_that_is_none_is_refused(change):
    with pytest.raises(InputError, match=next(iter(change))):
        CurveNoise(**{**{k: getattr(NOISE, k) for k in CurveNoise.__slots__}, **change})


def test_a_published_law_along_steps():
    # Luo et al. 2025, 100M: a constant rate has no falls, so L = E + A (S1)^-alpha.
    batch, steps, peak = 1000, 24_000, 3e-4
    tokens = np.array([0.0, 2160.0 * batch, steps * batch])
    path = LrPath(n_tokens=tokens, lr=np.array([0.0, peak, peak]))
    made = published_band(find_published("luo_100m"), path, 1e8, batch_tokens=batch)
    total = peak * (2160 / 2 + steps - 2160)
    expected = 2.65145 + 0.601152 * total**-0.452958
    assert np.exp(made.log_loss[-1]) == pytest.approx(expected, rel=1e-9)
    assert made.law == MULTI_POWER.name
    assert made.end == steps * batch


def test_a_published_law_of_final_losses_is_refused():
    path = LrPath(n_tokens=np.array([0.0, 1e9]), lr=np.ones(2))
    with pytest.raises(InputError, match="luo_25m"):
        published_band(find_published("hoffmann"), path, 1e8, batch_tokens=1e5)
