"""The doubt of a plan: its shares, odds, regret and what measuring is worth."""

import numpy as np
import pytest

from isoflop.accounting import MFU_PRIOR, RunSetting, find_accelerator
from isoflop.laws import CHINCHILLA, Component, Estimate, find_published
from isoflop.planning import plan
from isoflop.planning.frontier import drawn_components
from isoflop.planning.rates import PLAN_YEAR, STEP_ERROR

LAW = find_published("besiroglu")
THETA = np.array([1.8, 480.0, 0.35, 2100.0, 0.37])
Z90 = 1.6448536


def doubtful(spread: float = 0.02, sigma: float = 0.004) -> Estimate:
    """An additive law whose draws lie about it."""
    rng = np.random.default_rng(3)
    scale = np.array([0.002, 0.2, spread, 0.2, spread])
    draws = THETA * np.exp(scale * rng.standard_normal((4000, 5)))
    return Estimate(
        components=(Component(law=CHINCHILLA, theta=THETA, draws=draws),),
        n_params_convention="non_embedding_with_head",
        ranges={"n_params*n_tokens": (1e17, 1e21)},
        sigma=sigma,
    )


def test_days_without_doubt_of_the_law_are_as_wide_as_the_prior_of_mfu():
    made = plan(LAW, flops=1e23, n_devices=512, price=2.0)
    setting = RunSetting(
        bf16_tflops=find_accelerator("H100-SXM").bf16_tflops,
        flops_per_token=made.exact_flops.value / made.n_tokens.value,
        year=PLAN_YEAR,
        n_devices=512,
    )
    assert made.mfu.value == pytest.approx(MFU_PRIOR.median(setting), rel=5e-3)
    # 4,000 draws: the ends of an interval of 90 % scatter by 3 % of its half-width.
    width = np.log(made.days.high / made.days.low)
    assert width == pytest.approx(2 * Z90 * MFU_PRIOR.spread_of(setting), rel=0.05)
    assert made.risk.shares["days"] == {"mfu": 1.0}
    assert made.risk.shares["usd"] == {"mfu": 1.0}


def test_what_is_stated_leaves_no_doubt():
    made = plan(LAW, flops=1e23, n_devices=512, mfu=0.35, price=2.0)
    assert made.days.low == made.days.high
    assert "days" not in made.risk.shares
    assert made.risk.measurements == ()
    assert made.risk.reserve_usd == pytest.approx(made.usd.value, rel=1e-12)


def test_a_timed_step_leaves_goodput():
    made = plan(LAW, flops=1e23, n_devices=512, step_mfu=0.4, price=2.0)
    shares = made.risk.shares["days"]
    assert set(shares) == {"mfu", "goodput"}
    assert sum(shares.values()) == pytest.approx(1, abs=1e-12)
    assert shares["goodput"] > 0.9
    # Goodput lies in 0.70-0.97 in 80 % of draws, 0.94 in the middle; 3 % move it little.
    assert made.mfu.value == pytest.approx(0.4 * 0.944, rel=0.01)
    assert 1.25 < made.days.high / made.days.value < 1.6
    assert STEP_ERROR == 0.03


@pytest.mark.parametrize("goal", [{"flops": 1e22}, {"loss": 2.1}, {"usd": 1e5}, {"n_params": 1e9}])
def test_shares_add_up_and_odds_are_probabilities(goal):
    made = plan(doubtful(), n_devices=64, **goal)
    for answer, shares in made.risk.shares.items():
        assert sum(shares.values()) == pytest.approx(1, abs=1e-9), answer
        assert min(shares.values()) > 0
    assert all(0 <= odds <= 1 for odds in made.risk.odds.values())


def test_shares_are_those_of_independent_logs():
    """ln USD = ln C + ln hours + ln price: the variances of its parts."""
    made = plan(doubtful(), loss=2.1, n_devices=64)
    parts = {
        "law and noise": np.log(made.flops.high / made.flops.low) ** 2,
        "mfu": np.log(made.mfu.high / made.mfu.low) ** 2,
        "price": (0.9 * np.log(6.88 / 1.99)) ** 2,  # log-uniform over the range of H100-SXM
    }
    shares = made.risk.shares["usd"]
    found = [shares["law"] + shares["noise"], shares["mfu"], shares["price"]]
    wanted = np.array(list(parts.values())) / sum(parts.values())
    np.testing.assert_allclose(found, wanted, atol=0.03)


def test_odds_of_a_deadline_are_the_share_of_draws_beyond_it():
    free = plan(LAW, flops=1e23, n_devices=512)
    at_median = plan(LAW, flops=1e23, n_devices=512, max_days=free.days.value, sure=0.5)
    assert at_median.risk.odds["days"] == pytest.approx(0.5, abs=0.01)
    late = plan(LAW, flops=1e23, n_devices=512, max_days=1e4)
    assert late.risk.odds["days"] == 0


def test_the_loss_asked_for_is_missed_as_often_as_the_run_ends_above_it():
    law = doubtful()
    made = plan(law, loss=2.1, mfu=0.4)
    where = {name: getattr(made, name).value for name in ("n_params", "n_tokens")}
    losses = law.sample(where, 20_000, seed=5)[:, 0]
    assert made.risk.odds["loss"] == pytest.approx(np.mean(losses > 2.1), abs=0.03)


def test_regret_is_the_loss_over_each_draws_own_best():
    law = doubtful(spread=0.05)
    made = plan(law, flops=1e22)
    ((component, draws),) = drawn_components(law)
    log_n = np.log(made.n_params.value) + np.linspace(-6, 6, 601)
    grid = {"n_params": np.exp(log_n), "n_tokens": 1e22 / 6 / np.exp(log_n)}
    best = component.law.predict(draws, grid).min(axis=1)
    here = {"n_params": np.array([made.n_params.value]), "n_tokens": [made.n_tokens.value]}
    regret = component.law.predict(draws, here)[:, 0] / best - 1
    assert made.risk.regret.loss.value == pytest.approx(regret.mean(), rel=0.01)
    assert 0 <= made.risk.regret.loss.low <= made.risk.regret.loss.high
    assert 0 <= made.risk.regret.flops.low <= made.risk.regret.flops.high < 1
    assert plan(LAW, flops=1e22).risk.regret.loss.high < 1e-9, "one draw has nothing to regret"
    assert plan(law, n_params=1e9, n_tokens=1e11).risk.regret is None


def test_a_quote_is_worth_the_reserve_that_it_sets_free():
    """Nested by hand: the average, over prices, of the money to hold once the price is known."""
    made = plan(LAW, flops=1e23, n_devices=512)
    worth = {one.name: one.saves_usd for one in made.risk.measurements}
    rng = np.random.default_rng(8)
    prices = 1.99 * (6.88 / 1.99) ** rng.random(2000)
    spread = np.log(made.days.high / made.days.low) / 2 / Z90
    hours = made.device_hours.value * np.exp(spread * rng.standard_normal(200_000))
    known = np.quantile(hours, 0.9) * prices.mean()
    unknown = np.quantile(hours * rng.choice(prices, hours.size), 0.9)
    assert made.risk.reserve_usd == pytest.approx(unknown, rel=0.03)
    assert worth["price"] == pytest.approx(unknown - known, rel=0.15)


def test_knowing_more_never_costs():
    for goal in ({"flops": 1e22}, {"loss": 2.1}, {"usd": 1e5}):
        made = plan(doubtful(), n_devices=64, **goal)
        names = [one.name for one in made.risk.measurements]
        assert set(names) <= {"step_time", "price", "law"}
        worth = [one.saves_usd for one in made.risk.measurements]
        assert worth == sorted(worth, reverse=True)
        assert all(0 < one < made.risk.reserve_usd for one in worth)


def test_the_same_luck_meets_every_plan():
    """Common random numbers: twice the compute takes twice the days in every quantile."""
    once, twice = (
        plan(LAW, n_params=7e9, n_tokens=tokens, n_devices=512) for tokens in (1e12, 2e12)
    )
    for end in ("low", "value", "high"):
        ratio = getattr(twice.days, end) / getattr(once.days, end)
        assert ratio == pytest.approx(2, rel=1e-9)
