"""Plans that pay real devices for serving: closed forms, duality, caps, money, latency."""

from dataclasses import replace
from functools import cache
from time import perf_counter

import numpy as np
import pytest
from scipy.optimize import brentq

from isoflop._errors import InputError
from isoflop._types import Interval
from isoflop.accounting import ShapeRule, find_accelerator, inference_cost, size_under
from isoflop.laws import CHINCHILLA, Component, Estimate, find_published
from isoflop.planning.caps import NO_CAPS, Caps
from isoflop.planning.constrained import halved
from isoflop.planning.demand import Demand, Lifetime, solve_demand
from isoflop.planning.limited import solve_limited
from isoflop.planning.losses import effective_tokens, mean_loss_of
from isoflop.planning.prices import drawn_prices
from isoflop.planning.rates import Rates
from isoflop.planning.served import (
    ServingCurve,
    ServingWish,
    largest_served,
    replica,
    serving_curve,
)
from isoflop.planning.solve import Solution

# de Vries' and Sardana's working constants.
E, A, ALPHA, B, BETA = 1.69, 406.4, 0.336, 410.7, 0.283
LAW = find_published("devries").estimate
THETA = np.array([E, A, ALPHA, B, BETA])

H100 = find_accelerator("H100-SXM")
WISH = ServingWish(accelerator=H100, input_tokens=1000, output_tokens=300)
# Two dollars an hour at MFU 0.4.
USD_PER_FLOP = 2.0 / 3600 / (989e12 * 0.4)


def cost(**deviations: np.ndarray) -> Rates:
    """What a FLOP of training takes, with draws of MFU and price."""
    mfu = Interval(value=0.4, low=0.4, high=0.4, level=0.9)
    return Rates(
        hours=USD_PER_FLOP / 2.0,
        price=2.0,
        n_devices=64,
        device="H100-SXM",
        mfu=mfu,
        deviations={"mfu": np.zeros(1000), "price": np.zeros(1000), **deviations},
    )


SURE = cost()


@cache
def curve(**changed: float) -> ServingCurve:
    return serving_curve(replace(WISH, **changed), "non_embedding_with_head")  # type: ignore[arg-type]


@cache
def drawn_law() -> Estimate:
    rng = np.random.default_rng(0)
    draws = THETA * np.exp(rng.normal(0, [0.005, 0.05, 0.01, 0.05, 0.01], size=(1000, 5)))
    return Estimate(components=(Component(law=CHINCHILLA, theta=THETA, draws=draws),))


@cache
def unsure() -> Rates:
    rng = np.random.default_rng(3)
    price = (rng.random(1000) - 0.5) * np.log(2.5)
    return cost(mfu=0.3 * rng.standard_normal(1000), price=price)


def proportional(usd_per_param: float) -> ServingCurve:
    """USD a token = usd_per_param·N, a third of it for reading: two points are enough."""
    ends = np.log([1e5, 1e14])
    return replace(
        curve(),
        log_params=ends,
        log_input=ends + np.log(usd_per_param / 3),
        log_output=ends + np.log(2 * usd_per_param / 3),
        binding=None,
    )


def served(**asked: object) -> tuple[Solution, Lifetime]:
    """`solve_demand` of loss, usd or flops with the rest as told."""
    given = {k: asked.pop(k) for k in ("loss", "usd", "flops") if k in asked}
    tokens, over = asked.pop("tokens", 5e12), asked.pop("curve", None) or curve()
    law = asked.pop("law", LAW)
    demand = Demand(tokens=tokens, curve=over)  # type: ignore[arg-type]
    return solve_demand(law, given, demand, 0.9, **{"cost": SURE, **asked})  # type: ignore[arg-type]


@pytest.mark.parametrize("loss", [1.9, 2.2, 3.0])
@pytest.mark.parametrize("tokens", [1e10, 1e13])
def test_money_in_proportion_to_size_is_sardanas_closed_case(loss: float, tokens: float) -> None:
    # A token at 25 training FLOPs' price for each of its 2·N FLOPs.
    usd_per_param = 2 * 25 * USD_PER_FLOP
    made, life = served(loss=loss, tokens=tokens, curve=proportional(usd_per_param))

    def f(x: float) -> float:
        serving = BETA * B * tokens * 25 / (3 * ALPHA) * np.exp(-(BETA + 1) * x)
        return float((BETA * B / ALPHA + B) * np.exp(-BETA * x) + serving + E - loss)

    d = float(np.exp(brentq(f, 10, 60, xtol=1e-13)))
    n = float((A / (loss - E - B * d**-BETA)) ** (1 / ALPHA))
    assert np.exp(made.log_params) == pytest.approx(n, rel=1e-6)
    assert np.exp(made.log_tokens) == pytest.approx(d, rel=1e-6)
    assert life.money is not None
    assert life.money.training.value == pytest.approx(6 * n * d * USD_PER_FLOP, rel=1e-6)
    assert life.money.serving.value == pytest.approx(usd_per_param * n * tokens, rel=1e-6)
    assert life.money.usd_per_million.value == pytest.approx(1e6 * usd_per_param * n, rel=1e-6)


@pytest.mark.parametrize("given", [{"loss": 2.0}, {"flops": 1e24}])
def test_both_ways_to_price_agree_in_every_draw(given: dict[str, float]) -> None:
    exact = replace(
        proportional(2 * USD_PER_FLOP), input_spread=0.0, output_spread=0.0, log_price_range=0.0
    )
    by_flops, one = solve_demand(drawn_law(), given, Demand(tokens=5e12), 0.9, cost=SURE)
    by_money, two = solve_demand(
        drawn_law(), given, Demand(tokens=5e12, curve=exact), 0.9, cost=SURE
    )
    assert by_money.log_params == pytest.approx(by_flops.log_params, abs=1e-6)
    # Draws are searched to 1e-4 of ln N.
    np.testing.assert_allclose(by_money.log_params_draws, by_flops.log_params_draws, atol=3e-4)
    assert one.money is not None
    assert two.money is not None
    assert two.money.total.value == pytest.approx(one.money.total.value, rel=1e-9)
    assert two.money.total.high == pytest.approx(one.money.total.high, rel=1e-6)


def test_no_size_on_the_curve_is_cheaper() -> None:
    made, life = served(loss=2.0)
    sizes = np.linspace(np.log(1e8), curve().log_params[-1], 20_001)[None]
    left = 2.0 - E - A * np.exp(-ALPHA * sizes)
    tokens = np.where(left > 0, (B / np.where(left > 0, left, 1)) ** (1 / BETA), np.inf)
    zero = np.zeros((1, 1))
    usd = 6 * np.exp(sizes) * tokens * USD_PER_FLOP
    usd += 5e12 * np.exp(curve().log_usd(sizes, zero, zero))
    assert life.money is not None
    assert life.money.total.value <= usd.min() * (1 + 1e-9)
    assert life.money.total.value == pytest.approx(usd.min(), rel=1e-6)
    assert made.log_params == pytest.approx(float(sizes[0, np.argmin(usd)]), abs=2e-3)


def mixture() -> Estimate:
    """Kaplan's and Besiroglu's laws side by side."""
    one, other = (find_published(name).estimate.best for name in ("kaplan", "besiroglu"))
    return Estimate(components=(replace(one, weight=0.3), replace(other, weight=0.7)))


@pytest.mark.parametrize("name", ["farseer_refit", "kaplan", "muennighoff_repeated", "mixture"])
@pytest.mark.parametrize("unique", [None, 3e10])
@pytest.mark.parametrize("tokens", [1e11, 1e13])
def test_any_law_is_served_at_least_cost(name: str, unique: float | None, tokens: float) -> None:
    law = mixture() if name == "mixture" else find_published(name).estimate
    loss_of = mean_loss_of(law, unique)
    loss = float(loss_of(np.log([[2e9]]), np.log([[6e10]]))[0, 0])
    made, life = served(loss=loss, law=law, unique=unique, tokens=tokens)
    sizes = np.linspace(np.log(1e8), np.log(1e11), 3001)[None]
    log_d = halved(loss_of, np.array([[loss]]), sizes)
    zero = np.zeros((1, 1))
    usd = np.exp(sizes + log_d) * 6 * USD_PER_FLOP
    usd += tokens * np.exp(curve().log_usd(sizes, zero, zero))
    assert life.money is not None
    assert life.money.total.value <= usd.min() * (1 + 1e-9)
    at = np.array([[made.log_params]]), np.array([[made.log_tokens]])
    own = np.exp(made.log_flops) * USD_PER_FLOP + tokens * np.exp(
        curve().log_usd(at[0], zero, zero)
    )
    assert life.money.total.value == pytest.approx(float(own[0, 0]), rel=1e-12)
    assert loss_of(*at)[0, 0] == pytest.approx(loss, rel=1e-9)
    assert life.money.saving >= -1e-6 * life.money.total.value


@pytest.mark.parametrize("given", [{"loss": 2.0}, {"usd": 5e6}])
@pytest.mark.parametrize("unique", [None, 1e12])
@pytest.mark.parametrize("max_token_s", [None, 0.006])
def test_more_demand_never_asks_for_a_larger_model(
    given: dict[str, float], unique: float | None, max_token_s: float | None
) -> None:
    over = curve() if max_token_s is None else curve(max_token_s=max_token_s)
    sizes = [
        served(**given, tokens=tokens, unique=unique, curve=over)[0].log_params
        for tokens in np.geomspace(1e9, 3e13, 12)
    ]
    assert np.all(np.diff(sizes) <= 1e-7)
    assert sizes[0] - sizes[-1] > 0.5


@pytest.mark.parametrize("unique", [None, 3e11])
@pytest.mark.parametrize("caps", [NO_CAPS, Caps(log_params=np.log(3e9), log_tokens=np.log(2e12))])
def test_a_larger_budget_never_gives_a_worse_loss(unique: float | None, caps: Caps) -> None:
    loss_of = mean_loss_of(LAW, unique)
    losses = []
    for usd in np.geomspace(3e5, 1e8, 15):
        made, life = served(usd=usd, unique=unique, caps=caps)
        assert life.money is not None
        assert life.money.total.value <= usd * (1 + 1e-9)
        at = np.array([[made.log_params]]), np.array([[made.log_tokens]])
        losses.append(float(loss_of(*at)[0, 0]))
    assert np.all(np.diff(losses) <= 1e-9)


def test_a_budget_is_the_dual_of_a_loss() -> None:
    for_loss, life = served(loss=2.0)
    assert life.money is not None
    for_money, _ = served(usd=life.money.total.value)
    assert for_money.log_params == pytest.approx(for_loss.log_params, abs=1e-5)
    assert for_money.log_tokens == pytest.approx(for_loss.log_tokens, abs=1e-5)


def test_serving_a_size_costs_in_proportion_to_what_it_serves() -> None:
    sizes = curve().log_params[None]
    once = Demand(tokens=1e12, curve=curve()).log_cost(sizes)
    thrice = Demand(tokens=3e12, curve=curve()).log_cost(sizes)
    np.testing.assert_allclose(np.exp(thrice - once), 3.0, rtol=1e-12)
    assert np.all(np.diff(once) >= 0)


def test_the_curve_is_what_replicas_cost() -> None:
    over, zero = curve(), np.zeros((1, 1))
    for size in (1.1e9, 8e9, 7e10):
        (near, *_) = sorted(
            ShapeRule().between(0.97 * size, 1.03 * size),
            key=lambda one: (one.n_heads % 8, abs(one.width / one.n_layers - 128)),
        )
        log_n = np.log([[size_under(near, "non_embedding_with_head")]])
        usd = 1e6 * np.exp(over.log_usd(log_n, zero, zero))[0, 0]
        own = inference_cost(WISH.serving(near)).usd_per_million()
        assert usd == pytest.approx(float(own.blended), rel=0.12)
    outside = np.array([[over.log_params[0] - 0.01, over.log_params[-1] + 0.01]])
    assert np.all(np.isinf(over.log_usd(outside, zero, zero)))


def test_latency_caps_the_size_and_is_named() -> None:
    free, _ = served(loss=1.9, tokens=1e8)
    over = curve(max_token_s=0.004)
    cap = largest_served(over.wish, over.convention)
    assert free.log_params > cap
    made, life = served(loss=1.9, tokens=1e8, curve=over)
    assert made.log_params == pytest.approx(cap, abs=1e-4)
    assert made.log_params <= cap
    assert made.binding == ("max_token_s",)
    assert life.replica is not None
    assert life.replica.token_s.value <= 0.004
    loss = mean_loss_of(LAW, None)(np.array([[made.log_params]]), np.array([[made.log_tokens]]))
    assert loss[0, 0] == pytest.approx(1.9, rel=1e-9)


@pytest.mark.parametrize(
    ("changed", "binding"),
    [
        ({}, "memory"),
        ({"max_token_s": 0.01}, "max_token_s"),
        ({"max_first_token_s": 0.02}, "max_first_token_s"),
        ({"max_token_s": 0.01, "max_first_token_s": 10.0}, "max_token_s"),
        ({"weight_bytes": 0.5, "n_devices": 1}, "memory"),
    ],
)
def test_the_largest_that_is_served_is_served_and_its_limits_kept(
    changed: dict[str, float], binding: str
) -> None:
    over = curve(**changed)
    assert over.binding == binding
    size = float(np.exp(over.log_params[-1]))
    largest = ShapeRule().between(size * (1 - 1e-9), size * (1 + 1e-9))[0]
    cheapest = replica(over.wish, largest)
    assert cheapest.token_s.median <= changed.get("max_token_s", np.inf)
    assert cheapest.first_token_s.median <= changed.get("max_first_token_s", np.inf)
    assert cheapest.n_devices <= changed.get("n_devices", 8)
    # No decoder that is a tenth larger, with heads that split as well, is.
    for more in ShapeRule().between(1.1 * size, 1.12 * size):
        if more.n_heads % 8 == 0:
            with pytest.raises(InputError):
                replica(over.wish, more)


def test_caps_are_kept_and_named() -> None:
    free, _ = served(loss=2.0)
    n, d, c = free.log_params, free.log_tokens, free.log_flops
    for caps, names in (
        (Caps(log_params=n - 0.2, names={"log_params": "a phone"}), ("a phone",)),
        (Caps(log_tokens=d - 0.2, names={"log_tokens": "the text"}), ("the text",)),
        (Caps(log_flops=c - 0.1, names={"log_flops": "the deadline"}), ("the deadline",)),
        (Caps(log_params=n + 1, log_tokens=d + 1, log_flops=c + 1), ()),
    ):
        made, _ = served(loss=2.0, caps=caps, law=drawn_law())
        reached = np.isfinite(made.log_params_draws)
        assert reached.mean() > 0.3
        assert np.all(made.log_params_draws[reached] <= caps.log_params + 1e-9)
        assert np.all(made.log_tokens_draws[reached] <= caps.log_tokens + 1e-9)
        assert np.all(made.log_flops_draws[reached] <= caps.log_flops + 1e-9)
        assert made.log_params <= caps.log_params
        assert made.log_tokens <= caps.log_tokens + 1e-9
        assert made.log_flops <= caps.log_flops + 1e-9
        assert made.binding == names
        got = mean_loss_of(LAW, None)(np.array([[made.log_params]]), np.array([[made.log_tokens]]))
        assert got[0, 0] == pytest.approx(2.0, rel=1e-9)


def test_what_the_caps_forbid_is_refused_by_name_with_what_it_takes() -> None:
    caps = Caps(log_tokens=np.log(2e11), names={"log_tokens": "the text"})
    over = curve(max_token_s=0.003)
    with pytest.raises(InputError, match=r"not reached.*max_token_s.*the text.*no one of them"):
        served(loss=1.8, caps=caps, curve=over)
    with pytest.raises(
        InputError, match=r"without the text the run cheapest to train takes .* tok"
    ):
        served(loss=2.05, caps=caps, curve=over)
    alone = Demand(tokens=1e12)
    few = Caps(log_params=np.log(3e8), log_flops=np.log(1e23), names={"log_params": "a phone"})
    with pytest.raises(InputError, match="without a phone the run cheapest to train takes"):
        solve_demand(LAW, {"loss": 2.3}, alone, 0.9, caps=few)


def test_intervals_hold_the_value_and_widen_with_what_is_not_known() -> None:
    _, sure = served(loss=2.0, law=drawn_law())
    _, doubted = served(loss=2.0, law=drawn_law(), cost=unsure())
    for life in (sure, doubted):
        assert life.money is not None
        assert life.replica is not None
        for one in (
            life.inference,
            life.total,
            life.money.training,
            life.money.serving,
            life.money.total,
            life.money.usd_per_million,
            life.replica.first_token_s,
            life.replica.token_s,
        ):
            assert one.low < one.value < one.high
    assert sure.money is not None
    assert doubted.money is not None
    wide, narrow = doubted.money.training, sure.money.training
    assert np.log(wide.high / wide.low) > 1.1 * np.log(narrow.high / narrow.low)


def test_money_for_both_is_that_of_the_planned_run_at_drawn_prices() -> None:
    made, life = served(usd=2e6, law=drawn_law(), cost=unsure())
    assert life.money is not None
    # At median prices the money is spent to the last dollar; the draws pay more or less for it.
    assert life.money.total.value == pytest.approx(2e6, rel=1e-6)
    assert life.money.total.low < 2e6 < life.money.total.high
    assert life.money.p_over == pytest.approx(0.5, abs=0.06)
    assert life.money.training.low < life.money.training.value < life.money.training.high
    assert np.all(np.isfinite(made.log_params_draws))


@pytest.mark.parametrize("sure", [0.5, 0.9])
@pytest.mark.parametrize("over", [None, "curve"])
def test_money_suffices_in_as_many_draws_as_wished(sure: float, over: str | None) -> None:
    demand = Demand(tokens=5e12, curve=curve() if over else None)
    made, life = solve_demand(LAW, {"usd": 2e6}, demand, 0.9, cost=unsure(), sure=sure)
    assert life.money is not None
    prices = drawn_prices(unsure(), demand.curve, 1000)
    serving = demand.log_cost(np.full((1000, 1), made.log_params), prices)
    usd = np.exp(np.logaddexp(made.log_flops, serving) + prices.log_usd_per_flop)
    assert np.mean(usd <= 2e6 * (1 + 1e-6)) == pytest.approx(sure, abs=1.5e-3)


def test_few_distinct_tokens_make_the_model_larger_and_the_loss_is_kept() -> None:
    sizes = []
    for unique in (1e14, 2e12, 5e11, 2e11):
        made, life = served(loss=2.0, unique=unique, law=drawn_law())
        sizes.append(made.log_params)
        tokens = np.exp(made.log_tokens)
        worth = float(effective_tokens(np.array(tokens), unique))
        loss = E + A * np.exp(-ALPHA * made.log_params) + B * worth**-BETA
        assert loss == pytest.approx(2.0, rel=1e-9)
        assert life.saving >= -1e-9
    assert sizes[0] == pytest.approx(served(loss=2.0, law=drawn_law())[0].log_params, abs=1e-6)
    assert sizes == sorted(sizes)
    with pytest.raises(InputError, match=r"not reached with at most .* parameters"):
        served(loss=2.0, unique=1e9)


def test_draws_with_repeats_reach_their_own_loss() -> None:
    made, _ = served(loss=2.0, unique=5e11, law=drawn_law())
    draws = drawn_law().best.draws
    tokens = np.exp(made.log_tokens_draws)
    worth = effective_tokens(tokens, 5e11)
    e, a, alpha, b, beta = draws.T
    reached = np.isfinite(tokens)
    losses = e + a * np.exp(-alpha * made.log_params_draws) + b * worth**-beta
    np.testing.assert_allclose(losses[reached], 2.0, rtol=1e-9)
    assert reached.mean() > 0.9


def test_a_served_plan_of_a_thousand_draws_is_made_at_once() -> None:
    wish = replace(WISH, max_token_s=0.0201)  # no other test has asked for it
    start = perf_counter()
    over = serving_curve(wish, "total")
    served(loss=2.0, law=drawn_law(), cost=unsure(), curve=over, unique=1e12)
    assert perf_counter() - start < 1.0


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"loss": 2.0, "cost": None}, "price is not known"),
        ({"usd": 1e6, "cost": replace(SURE, price=None)}, "price is not known"),
        ({"usd": 10.0}, "leaves no tokens to train on"),
        ({"loss": 1.6}, "irreducible"),
        ({"loss": 2.0, "unique": -1.0}, "unique_tokens > 0"),
        ({}, "needs one of loss, flops and usd"),
    ],
)
def test_absurd_wishes_are_refused(asked: dict[str, float], error: str) -> None:
    with pytest.raises(InputError, match=error):
        served(**asked)


def test_impossible_servers_are_refused() -> None:
    with pytest.raises(InputError, match="max_first_token_s > 0"):
        replace(WISH, max_first_token_s=0.0)
    with pytest.raises(InputError, match="max_first_token_s"):
        serving_curve(replace(WISH, max_first_token_s=1e-6), "total")
    with pytest.raises(InputError, match="max_token_s"):
        serving_curve(replace(WISH, max_token_s=1e-6), "total")
    with pytest.raises(InputError, match="utilisation"):
        serving_curve(replace(WISH, utilisation=2.0), "total")
    nameless = replace(H100, name="own", price_low=None, price_high=None, price_date=None)
    with pytest.raises(InputError, match="no rent"):
        serving_curve(replace(WISH, accelerator=nameless), "total")
    with pytest.raises(InputError, match="Keep one of them"):
        Demand(tokens=1e12, flop_cost=2.0, curve=curve())


def test_a_loss_below_most_draws_floors_is_refused() -> None:
    rng = np.random.default_rng(5)
    draws = np.tile(THETA, (1000, 1))
    draws[:, 0] = 2.1 + 0.05 * rng.random(1000)
    law = Estimate(components=(Component(law=CHINCHILLA, theta=THETA, draws=draws),))
    with pytest.raises(InputError, match="irreducible loss"):
        served(loss=2.0, law=law)
    with pytest.raises(InputError, match="irreducible loss"):
        solve_limited(law, {"loss": 2.0}, 1e12, 0.9)
