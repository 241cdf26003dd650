"""Hours of published runs, given a rate and foretold; draws of MFU, goodput and price."""

from dataclasses import replace
from math import exp, log

import numpy as np
import pytest

from conftest import REPOSITORY
from isoflop._errors import InputError
from isoflop.accounting import (
    MFU_PRIOR,
    RunSetting,
    device_hours,
    find_accelerator,
    fit_mfu_prior,
    hours_from_flops_rate,
    hours_from_rate,
    sample_goodput,
    sample_mfu,
    sample_price,
)

H100 = RunSetting(bf16_tflops=989.5, flops_per_token=6e10, year=2025.0, n_devices=512)


@pytest.fixture
def bench(monkeypatch, data_dir):
    monkeypatch.syspath_prepend(str(REPOSITORY / "scripts"))
    import bench_plan_hours

    monkeypatch.setattr(bench_plan_hours, "DATA", data_dir)
    return bench_plan_hours


# Published rates (SOURCES.md). Hours of the first four look derived from the rate, goodputs of
# the last three are billed over running hours: only Llama 3.1 405B has both independently.
@pytest.mark.parametrize(
    ("n_tokens", "rate", "goodput", "billed"),
    [
        pytest.param(1.4e12, 380, 1.0, 1_022_362, id="LLaMA-65B"),
        pytest.param(3e12, 24_000, 1.0, 34_560, id="TinyLlama"),
        pytest.param(11.14e12, 14_000, 1.0, 220_000, id="SmolLM3"),
        pytest.param(5.93e12, 7_700, 0.91, 234_000, id="OLMo-3-7B"),
        pytest.param(5.5e12, 1_900, 0.77, 1_050_000, id="OLMo-3-32B"),
        pytest.param(780e9, 238_300 / 6144, 0.66, 6144 * 1200 + 3072 * 336, id="PaLM"),
    ],
)
def test_hours_from_published_tokens_a_second(n_tokens, rate, goodput, billed) -> None:
    assert hours_from_rate(n_tokens, rate, goodput) == pytest.approx(billed, rel=0.02)


@pytest.mark.parametrize(
    ("flops_per_token", "n_tokens", "tflops", "goodput", "billed"),
    [
        pytest.param(2.50457e11, 14.8e12, 385, 1.0, 2.664e6, id="DeepSeek-V3"),
        pytest.param(2.52397e12, 15.6e12, 400, 0.9, 30.84e6, id="Llama-3.1-405B"),
    ],
)
def test_hours_from_published_tflops(flops_per_token, n_tokens, tflops, goodput, billed) -> None:
    hours = hours_from_flops_rate(flops_per_token * n_tokens, tflops, goodput)
    assert hours == pytest.approx(billed, rel=0.02)


def test_the_three_ways_to_hours_agree() -> None:
    flops, h100 = 6e10 * 1e12, find_accelerator("H100-SXM")
    by_mfu = device_hours(flops, h100, 0.4 * 0.9)
    tflops = 0.4 * h100.bf16_tflops
    assert hours_from_flops_rate(flops, tflops, 0.9) == pytest.approx(by_mfu)
    assert hours_from_rate(1e12, tflops * 1e12 / 6e10, 0.9) == pytest.approx(by_mfu)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: hours_from_rate(0, 100), "n_tokens"),
        (lambda: hours_from_rate(1e9, -1), "tokens_per_second_per_device"),
        (lambda: hours_from_rate(1e9, 100, 1.2), "goodput"),
        (lambda: hours_from_flops_rate(1e20, 400, 0.0), "goodput"),
        (lambda: hours_from_flops_rate(float("nan"), 400), "flops"),
        (lambda: hours_from_flops_rate(1e20, 0), "tflops_per_device"),
        (lambda: replace(H100, n_devices=0), "n_devices"),
        (lambda: replace(H100, year=0), "year"),
    ],
)
def test_impossible_numbers_are_refused(call, name) -> None:
    with pytest.raises(InputError, match=f"{name}.*must hold"):
        call()


def test_prior_is_what_the_published_runs_give(bench) -> None:
    runs = bench.published_runs()
    fitted = bench.prior_of(runs)
    assert len(runs) == 29
    assert "MPT-30B" not in {run.name for run in runs}
    assert fitted.intercept == pytest.approx(MFU_PRIOR.intercept, abs=1e-4)
    assert fitted.coefficients == pytest.approx(MFU_PRIOR.coefficients, abs=1e-4)
    assert fitted.spread == pytest.approx(MFU_PRIOR.spread, abs=1e-4)


def test_published_hours_are_foretold(bench) -> None:
    figures = bench.hours_figures()
    assert figures["hours_given_rate_max_err"] <= 0.02
    assert figures["hours_med_err"] <= 0.25
    assert 0.80 <= figures["hours_cover90"] <= 0.97


def test_whole_organisations_are_foretold(bench) -> None:
    """Runs of one team are alike: none of them may help another."""
    errors = [abs(f.hours_error) for f in bench.leave_one_out(bench.published_runs(), by_org=True)]
    assert np.median(errors) <= 0.25


def test_a_run_is_foretold_without_its_own_hours(bench) -> None:
    runs = bench.published_runs()
    before = next(iter(bench.leave_one_out(runs)))
    after = next(iter(bench.leave_one_out([replace(runs[0], mfu=0.9), *runs[1:]])))
    assert (after.median, after.low, after.high) == (before.median, before.low, before.high)


def test_regression_recovers_what_made_the_data() -> None:
    """300 runs, scatter 0.1: each of 6 effects within 0.1 of the truth, whose errors are 0.02."""
    rng = np.random.default_rng(0)
    settings = [
        RunSetting(
            bf16_tflops=float(rng.choice([125, 312, 989.5])),
            flops_per_token=float(6 * 10 ** rng.uniform(9, 11.5)),
            year=float(rng.uniform(2020.5, 2026)),
            n_devices=int(2 ** rng.integers(3, 12)),
            moe=bool(rng.integers(2)),
        )
        for _ in range(300)
    ]
    truth = replace(MFU_PRIOR, intercept=-1.5, coefficients=(-0.3, -0.4, -0.2, 0.05, 0.3, 0.08))
    mfu = [min(1.0, truth.median(s) * exp(0.1 * rng.standard_normal())) for s in settings]
    fitted = fit_mfu_prior(settings, mfu)
    assert fitted.coefficients == pytest.approx(truth.coefficients, abs=0.1)
    assert fitted.spread == pytest.approx(0.1, rel=0.2)


def test_fit_refuses_what_it_cannot_use() -> None:
    with pytest.raises(InputError, match="at least 3 runs"):
        fit_mfu_prior([H100] * 2, [0.3, 0.4])
    with pytest.raises(InputError, match="0 < mfu <= 1"):
        fit_mfu_prior([H100] * 3, [0.3, 0.4, 1.4])


def test_settings_beyond_the_published_ones_are_held_at_their_end() -> None:
    for peak, last in ((125, 2022.5), (312, 2024.5), (989.5, 2026.1)):
        now, then = (
            replace(H100, bf16_tflops=peak, year=year, n_devices=None) for year in (2040, last)
        )
        assert MFU_PRIOR.median(now) == MFU_PRIOR.median(then)
    assert MFU_PRIOR.median(replace(H100, n_devices=10**6)) == MFU_PRIOR.median(
        replace(H100, n_devices=None)
    )
    blackwell = replace(H100, bf16_tflops=2250)
    assert MFU_PRIOR.median(blackwell) == MFU_PRIOR.median(H100)
    assert MFU_PRIOR.spread_of(blackwell) > MFU_PRIOR.spread_of(H100) == MFU_PRIOR.spread


def test_draws_of_mfu_have_the_priors_median_and_spread() -> None:
    """Of 20,000 draws the median of ln MFU is off by 0.002 (1 sigma): 0.01 fails once in 1e6."""
    mfu = sample_mfu(np.random.default_rng(1), 20_000, H100)
    assert log(np.median(mfu)) == pytest.approx(log(MFU_PRIOR.median(H100)), abs=0.01)
    assert np.std(np.log(mfu)) == pytest.approx(MFU_PRIOR.spread, rel=0.05)
    best = replace(H100, bf16_tflops=312, flops_per_token=2.4e12, n_devices=8)
    assert MFU_PRIOR.median(best) == 0.6
    assert sample_mfu(np.random.default_rng(1), 20_000, best).max() == 0.9


def test_draws_of_goodput_are_as_documented() -> None:
    goodput = sample_goodput(np.random.default_rng(1), 100_000)
    assert goodput.mean() == pytest.approx(0.87, abs=0.003)
    assert np.quantile(goodput, [0.1, 0.9]) == pytest.approx([0.7, 0.97], abs=0.005)
    assert 0 < goodput.min() <= goodput.max() <= 1


def test_draws_of_price_are_log_uniform_over_the_range() -> None:
    h100 = find_accelerator("H100-SXM")
    price = sample_price(np.random.default_rng(1), 100_000, h100)
    assert 1.99 <= price.min() <= price.max() <= 6.88
    assert np.median(price) == pytest.approx((1.99 * 6.88) ** 0.5, rel=0.02)
    one = sample_price(np.random.default_rng(1), 5, find_accelerator("H800-SXM"))
    assert one == pytest.approx(2.0)
    with pytest.raises(InputError, match="no price of B300-SXM"):
        sample_price(np.random.default_rng(1), 5, find_accelerator("B300-SXM"))


def test_candidates_meet_the_same_luck() -> None:
    """Equal seeds: the ratio of two settings' draws is the ratio of their medians, draw by draw."""
    a100 = replace(H100, bf16_tflops=312)
    one, two = (sample_mfu(np.random.default_rng(7), 100, s) for s in (H100, a100))
    assert two / one == pytest.approx(MFU_PRIOR.median(a100) / MFU_PRIOR.median(H100))
    cheap, dear = (
        sample_price(np.random.default_rng(7), 100, find_accelerator(name))
        for name in ("A100-SXM-80GB", "B200-SXM")
    )
    assert np.array_equal(np.argsort(cheap), np.argsort(dear))
    for draw in (lambda rng: sample_mfu(rng, 9, H100), lambda rng: sample_goodput(rng, 9)):
        assert np.array_equal(draw(np.random.default_rng(3)), draw(np.random.default_rng(3)))
