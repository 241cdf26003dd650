"""Budgets in hours, days and money; limits."""

import numpy as np
import pytest

from isoflop._errors import InputError
from isoflop.accounting import ShapeRule, find_accelerator, size_under, token_flops
from isoflop.laws import find_published
from isoflop.planning import plan

LAW = find_published("besiroglu")
STATED = {"hardware": "H100-SXM", "n_devices": 64, "mfu": 0.4, "price": 2.0}


def test_hours_days_and_money_are_exact_flops_at_the_stated_mfu_and_price():
    flops = 1e6 * 3600 * 989.5e12 * 0.4
    by_hours = plan(LAW, device_hours=1e6, **STATED)
    assert by_hours.exact_flops.value == pytest.approx(flops, rel=1e-9)
    assert by_hours.flops.low == by_hours.flops.high
    assert by_hours.device_hours.value == pytest.approx(1e6, rel=1e-12)
    assert by_hours.risk.odds["device_hours"] == 0.0
    by_days = plan(LAW, days=1e6 / 24 / 64, **STATED)
    assert by_days.days.value == pytest.approx(1e6 / 24 / 64, rel=1e-12)
    assert by_days.n_params.value == pytest.approx(by_hours.n_params.value, rel=1e-12)
    by_money = plan(LAW, usd=2e6, **STATED)
    assert by_money.flops.value == pytest.approx(by_hours.flops.value, rel=1e-12)
    assert by_money.usd.value == pytest.approx(2e6, rel=1e-12)
    assert by_money.usd.low == by_money.usd.high


def test_exact_flops_are_those_of_a_decoder_of_the_planned_size():
    made = plan(LAW, flops=1e23)
    shape = made.build.architecture
    a_token = token_flops(shape, ShapeRule().context, convention="exact_causal")
    six = 6 * size_under(shape, made.n_params_convention)
    assert six / 6 == pytest.approx(made.n_params.value, rel=0.25)
    assert made.exact_flops.value / 1e23 == pytest.approx(a_token / six, rel=1e-12)


@pytest.mark.parametrize("sure", [0.5, 0.8, 0.95])
def test_a_budget_suffices_in_the_share_of_draws_asked_for(sure):
    made = plan(LAW, usd=1e6, n_devices=256, sure=sure)
    assert made.risk.odds["usd"] == pytest.approx(1 - sure, abs=1e-3)
    assert made.risk.reserve_usd == pytest.approx(1e6, rel=1e-3)
    again = plan(LAW, flops=made.flops.value, n_devices=256, sure=sure)
    assert again.n_params.value == pytest.approx(made.n_params.value, rel=1e-9)
    # Two shapes of nearly one size may take turns: their FLOPs a token differ by half a per cent.
    assert again.usd.high == pytest.approx(made.usd.high, rel=0.01)


def test_more_certainty_buys_less():
    sizes = [plan(LAW, usd=1e6, n_devices=256, sure=sure).flops.value for sure in (0.5, 0.9)]
    assert sizes[0] > sizes[1]


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("max_days", 3.0),
        ("max_usd", 1e5),
        ("max_device_hours", 1e4),
        ("max_flops", 1e21),
    ],
)
def test_a_limit_cuts_the_budget_and_is_named(limit, value):
    made = plan(LAW, flops=1e24, n_devices=128, **{limit: value})
    assert made.binding == (limit,)
    alone = plan(LAW, n_devices=128, **{limit.removeprefix("max_"): value})
    # Round shapes of nearly one size differ by half a per cent in FLOPs a token.
    assert made.flops.value == pytest.approx(alone.flops.value, rel=0.01)
    assert made.n_params.value == pytest.approx(alone.n_params.value, rel=0.01)
    assert made.risk.odds.get(limit.removeprefix("max_"), 0.0) <= 0.1
    loose = plan(LAW, flops=1e19, n_devices=128, **{limit: value})
    assert loose.binding == ()
    assert loose.flops.value == 1e19


def test_limits_on_size_and_tokens_move_the_run_along_its_budget():
    free = plan(LAW, flops=1e22)
    small = plan(LAW, flops=1e22, max_n_params=free.n_params.value / 3)
    assert small.binding == ("max_n_params",)
    assert small.n_params.value == pytest.approx(free.n_params.value / 3, rel=1e-12)
    assert 6 * small.n_params.value * small.n_tokens.value == pytest.approx(1e22, rel=1e-9)
    short = plan(LAW, flops=1e22, max_n_tokens=free.n_tokens.value / 3)
    assert short.binding == ("max_n_tokens",)
    assert short.n_params.value == pytest.approx(3 * free.n_params.value, rel=1e-9)
    both = plan(LAW, flops=1e22, max_n_tokens=1e10, max_n_params=1e9)
    assert set(both.binding) == {"max_n_params", "max_n_tokens"}
    assert both.flops.value == pytest.approx(6e19, rel=1e-9)
    assert free.loss.value < small.loss.value < both.loss.value


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_a_loss_with_a_size_or_tokens_held_lies_on_its_level_set(share):
    free = plan(LAW, loss=2.2)
    for name in ("n_params", "n_tokens"):
        held = plan(LAW, loss=2.2, **{name: share * getattr(free, name).value})
        where = {key: getattr(held, key).value for key in ("n_params", "n_tokens")}
        assert where[name] == share * getattr(free, name).value
        assert LAW.estimate.predict(where, of="mean").mean[0] == pytest.approx(2.2, rel=1e-12)
        assert held.flops.value > free.flops.value
    capped = plan(LAW, loss=2.2, max_n_params=0.5 * free.n_params.value)
    fixed = plan(LAW, loss=2.2, n_params=0.5 * free.n_params.value)
    assert capped.n_tokens.value == pytest.approx(fixed.n_tokens.value, rel=1e-12)
    assert capped.binding == ("max_n_params",)


@pytest.mark.parametrize("limit", ["max_days", "max_flops", "max_usd"])
@pytest.mark.parametrize("name", ["n_params", "n_tokens"])
def test_a_given_size_is_held_by_limits_and_the_rest_is_cut(name, limit):
    free = plan(LAW, n_devices=64, **{name: 5e9 if name == "n_params" else 1e11})
    most = 0.3 * getattr(free, limit.removeprefix("max_")).value
    cut = plan(LAW, n_devices=64, **{name: getattr(free, name).value}, **{limit: most})
    assert getattr(cut, name) == getattr(free, name)
    assert cut.binding == (limit,)
    assert cut.flops.value < 0.35 * free.flops.value


@pytest.mark.parametrize("goal", [{"usd": 1e6}, {"loss": 2.1}, {"n_params": 7e9, "n_tokens": 1e12}])
@pytest.mark.parametrize("beside", [{}, {"inference_tokens": 1e12}, {"unique_tokens": 3e11}])
def test_without_a_number_of_devices_as_many_are_taken_as_meet_the_deadline(goal, beside):
    if beside and set(goal) != {"loss"}:
        return
    made = plan(LAW, max_days=14, **goal, **beside)
    assert "max_days" not in made.binding
    assert made.days.value <= 14
    half = made.n_devices // 2
    if half >= 8 and "loss" in goal:
        with pytest.raises(InputError, match="max_days"):
            plan(LAW, max_days=14, n_devices=half, **goal, **beside)


def test_what_would_be_built_keeps_the_limits_too():
    small = plan(LAW, flops=3e22, max_n_params=1e9)
    assert small.build.n_params <= 1e9
    short = plan(LAW, flops=1e22, max_n_tokens=1e11)
    assert short.build.n_tokens <= 1e11
    given = plan(LAW, flops=1e22, n_tokens=1.5e11)
    assert given.build.n_tokens <= 1.5e11


def test_a_refused_deadline_names_devices_that_meet_it_at_the_drawn_mfu():
    with pytest.raises(InputError, match=r"n_devices=\d+") as refused:
        plan(LAW, loss=2.1, max_days=3, n_devices=64)
    enough = int(str(refused.value).split("n_devices=")[1].split(",")[0])
    # Some multiple of a node: a number that divides nothing is refused for that.
    made = plan(LAW, loss=2.1, max_days=3, n_devices=-(-enough // 64) * 64)
    assert made.risk.odds["days"] < 0.5


def test_a_budget_tells_what_it_may_buy():
    made = plan(LAW, usd=1e6, n_devices=512)
    assert made.flops.low == made.flops.high
    assert made.buys.low < made.flops.value < made.buys.value < made.buys.high
    again = plan(LAW, flops=made.flops.value, n_devices=512)
    assert again.usd.value == pytest.approx(made.usd.value, rel=0.01)
    assert again.usd.high == pytest.approx(made.usd.high, rel=0.01)
    assert again.buys is None


def test_money_for_training_and_serving_has_its_odds():
    made = plan(LAW, usd=1e6, n_devices=64, inference_tokens=1e12)
    assert made.risk.odds["usd"] == pytest.approx(0.1, abs=0.01)
    total = made.lifetime.money.total
    assert total.low < total.value < 1e6 < total.high


def test_a_mixture_of_experts_and_a_large_cluster_are_slower():
    dense, wide = (plan(LAW, flops=1e25, n_devices=n) for n in (1024, 16_384))
    assert wide.device_hours.value > 1.02 * dense.device_hours.value
    stated = [plan(LAW, flops=1e25, n_devices=n, mfu=0.3) for n in (1024, 16_384)]
    assert stated[1].device_hours.value == pytest.approx(stated[0].device_hours.value, rel=0.01)


def test_compute_with_a_size_or_tokens_held_gives_the_other():
    assert plan(LAW, flops=6e21, n_params=1e9).n_tokens.value == pytest.approx(1e12, rel=1e-12)
    assert plan(LAW, flops=6e21, n_tokens=1e12).n_params.value == pytest.approx(1e9, rel=1e-12)


def test_a_loss_beyond_the_limits_names_the_limit_and_what_would_do():
    with pytest.raises(InputError, match=r"max_days=3 allows on 64.*n_devices=\d+") as refused:
        plan(LAW, loss=2.1, max_days=3, n_devices=64, mfu=0.4)
    enough = int(str(refused.value).split("n_devices=")[1].split(",")[0])
    assert plan(LAW, loss=2.1, max_days=3, n_devices=enough, mfu=0.4).days.value <= 3
    with pytest.raises(InputError, match=r"max_n_tokens=1e\+09.*Raise it"):
        plan(LAW, loss=2.1, max_n_tokens=1e9)
    with pytest.raises(InputError, match="more than max_n_params allows"):
        plan(LAW, n_params=1e10, n_tokens=1e12, max_n_params=1e9)


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"usd": -5}, "usd > 0"),
        ({"usd": 5, "days": 3}, "exactly one of"),
        ({"flops": 1e21, "max_days": -1}, "max_days > 0"),
        ({"flops": 1e21, "sure": 1.0}, "0 < sure < 1"),
        ({"flops": 1e21, "mfu": 0.4, "step_mfu": 0.5}, "Give one of them"),
        ({"flops": 1e21, "price": 0}, "price > 0"),
        ({"usd": 1e6, "hardware": "B300-SXM"}, "No price of B300-SXM"),
    ],
)
def test_impossible_budgets_are_refused(request_, text):
    with pytest.raises(InputError, match=text):
        plan(LAW, **request_)


def test_money_without_a_range_of_prices_takes_one_of_your_own():
    made = plan(LAW, usd=1e6, hardware="B300-SXM", price=5.0, mfu=0.3)
    assert made.device_hours.value == pytest.approx(2e5, rel=1e-9)
    assert plan(LAW, flops=1e21, hardware="B300-SXM").usd is None
    assert find_accelerator("B300-SXM").price_low is None
    assert np.isfinite(made.loss.high)
