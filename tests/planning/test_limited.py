"""Data-limited plans: Muennighoff's values, limits, and refusals."""

from dataclasses import replace

import numpy as np
import pytest

from isoflop._errors import InputError
from isoflop.laws import CHINCHILLA, REPEATED, Component, Estimate, find_published
from isoflop.planning import plan
from isoflop.planning.caps import Caps
from isoflop.planning.limited import effective_tokens, solve_limited
from isoflop.planning.losses import log_tokens_worth, mean_loss_of

LAW = find_published("muennighoff_repeated")
BUDGET = 6 * 6.34e9 * 242e9


def test_effective_tokens_of_the_paper() -> None:
    # laws.md 7.1: D'/U of 4, 8, 16 and 40 epochs; at most 1 + R.
    worth = effective_tokens(np.array([1.0, 4.0, 8.0, 16.0, 40.0, 1e9]), 1.0)
    assert worth == pytest.approx([1, 3.73, 6.62, 10.58, 15.17, 16.387756], abs=0.006)


def test_the_papers_case_is_within_its_flat_optimum() -> None:
    # 6.34B on 242B and 8.67B on 178B of 25B distinct tokens: losses 2.22564 and 2.22696.
    made = plan(LAW, flops=BUDGET, unique_tokens=25e9)
    assert 6.0e9 < made.n_params.value < 8.0e9
    theta = LAW.estimate.best.theta
    inputs = {
        "n_params": np.array([made.n_params.value]),
        "n_tokens": np.array([made.n_tokens.value]),
        "n_unique_tokens": np.array([25e9]),
    }
    loss = float(REPEATED.predict(theta, inputs)[0])
    assert loss <= 2.2256440889984477 + 1e-9
    assert loss == pytest.approx(made.loss.value, rel=1e-9)
    assert made.limited is not None
    assert made.limited.epochs.value == pytest.approx(made.n_tokens.value / 25e9, rel=1e-9)
    assert not made.limited.assumed


def test_no_size_nearby_is_better() -> None:
    made = plan(LAW, flops=BUDGET, unique_tokens=25e9)
    theta = LAW.estimate.best.theta
    sizes = made.n_params.value * np.geomspace(0.2, 5, 401)
    inputs = {
        "n_params": sizes,
        "n_tokens": BUDGET / 6 / sizes,
        "n_unique_tokens": np.full(401, 25e9),
    }
    losses = REPEATED.predict(theta, inputs)
    assert losses.min() == pytest.approx(losses[200], rel=1e-9)


def test_enough_text_is_no_limit() -> None:
    law = find_published("besiroglu")
    plain = plan(law, flops=1e22)
    made = plan(law, flops=1e22, unique_tokens=10 * plain.n_tokens.value)
    assert made.n_params.value == pytest.approx(plain.n_params.value, rel=1e-6)
    assert made.loss.value == pytest.approx(plain.loss.value, rel=1e-9)
    assert "repeated_data" not in {problem.code for problem in made.problems}


def test_less_text_is_never_better_and_shifts_compute_to_epochs_first() -> None:
    law = find_published("besiroglu")
    made = [plan(law, flops=1e22, unique_tokens=u) for u in (1e12, 1e11, 3e10, 1e10)]
    losses = [one.loss.value for one in made]
    assert losses == sorted(losses)
    epochs = [one.limited.epochs.value for one in made]  # type: ignore[union-attr]
    assert epochs == sorted(epochs)
    assert epochs[-1] > 4
    (problem,) = [p for p in made[-1].problems if p.code == "repeated_data"]
    assert problem.severity == "warning"
    assert "not of the runs" in problem.text


def test_draws_give_intervals() -> None:
    rng = np.random.default_rng(0)
    theta = np.array([1.8, 480.0, 0.35, 2000.0, 0.37])
    draws = theta * np.exp(rng.normal(0, [0.01, 0.1, 0.01, 0.1, 0.01], size=(1000, 5)))
    law = Estimate(components=(Component(law=CHINCHILLA, theta=theta, draws=draws),))
    made = plan(law, flops=1e22, unique_tokens=3e10)
    assert made.n_params.low < made.n_params.value < made.n_params.high
    assert made.limited is not None
    assert made.limited.epochs.low < made.limited.epochs.value < made.limited.epochs.high


def test_laws_that_know_repeats_and_laws_that_do_not_forecast_what_was_minimised() -> None:
    repeated = LAW.estimate.components[0]
    chinchilla = find_published("besiroglu").estimate.components[0]
    both = Estimate(components=(replace(repeated, weight=0.5), replace(chinchilla, weight=0.5)))
    made = plan(both, flops=BUDGET, unique_tokens=1e10)
    assert made.limited is not None
    assert made.limited.assumed
    inputs = {
        "n_params": np.array([made.n_params.value]),
        "n_tokens": np.array([made.n_tokens.value]),
    }
    unique = {"n_unique_tokens": np.array([1e10])}
    worth = {"n_tokens": effective_tokens(inputs["n_tokens"], 1e10)}
    losses = (
        REPEATED.predict(repeated.theta, {**inputs, **unique})[0],
        CHINCHILLA.predict(chinchilla.theta, {**inputs, **worth})[0],
    )
    assert made.loss.value == pytest.approx(np.sqrt(losses[0] * losses[1]), rel=1e-9)


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"flops": 1e22, "unique_tokens": 0.0}, "unique_tokens > 0"),
        ({"n_tokens": 1e11, "unique_tokens": 1e10}, "needs one of flops"),
        ({"loss": 2.2, "unique_tokens": 1e10}, "however often 1e.10 distinct tokens"),
    ],
)
def test_what_cannot_be_planned_is_refused(asked: dict[str, float], error: str) -> None:
    with pytest.raises(InputError, match=error):
        plan(LAW, **asked)  # type: ignore[arg-type]


BESIROGLU = find_published("besiroglu").estimate


def loss_at(log_n: float, log_d: float, unique: float) -> float:
    return float(mean_loss_of(BESIROGLU, unique)(np.array([[log_n]]), np.array([[log_d]]))[0, 0])


def test_tokens_behind_a_worth_are_its_inverse() -> None:
    tokens = np.geomspace(1e8, 5e11, 60)
    worth = effective_tokens(tokens, 1e10)
    np.testing.assert_allclose(log_tokens_worth(np.log(worth), 1e10), np.log(tokens), rtol=1e-12)
    assert np.isinf(log_tokens_worth(np.log([1e10 * (1 + 15.387756) * 1.001]), 1e10)[0])


@pytest.mark.parametrize("unique", [1e10, 1e11, 1e13])
def test_a_loss_is_the_dual_of_a_budget(unique: float) -> None:
    for_flops, _ = solve_limited(BESIROGLU, {"flops": 1e22}, unique, 0.9)
    loss = loss_at(for_flops.log_params, for_flops.log_tokens, unique)
    for_loss, limited = solve_limited(BESIROGLU, {"loss": loss}, unique, 0.9)
    assert for_loss.log_flops == pytest.approx(np.log(1e22), abs=1e-9)
    assert for_loss.log_params == pytest.approx(for_flops.log_params, abs=1e-6)
    epochs = max(1.0, float(np.exp(for_loss.log_tokens)) / unique)
    assert limited.epochs.value == pytest.approx(epochs, rel=1e-9)


@pytest.mark.parametrize("unique", [1e10, 1e13])
def test_a_size_gets_the_tokens_on_whose_flops_no_other_is_better(unique: float) -> None:
    made, _ = solve_limited(BESIROGLU, {"n_params": 3e9}, unique, 0.9)
    assert np.exp(made.log_params) == pytest.approx(3e9, rel=1e-12)
    best, _ = solve_limited(BESIROGLU, {"flops": float(np.exp(made.log_flops))}, unique, 0.9)
    assert best.log_params == pytest.approx(made.log_params, abs=1e-5)
    if unique == 1e13:
        plain = plan(BESIROGLU, n_params=3e9)
        assert np.exp(made.log_tokens) == pytest.approx(plain.n_tokens.value, rel=1e-5)


def test_draws_for_a_loss_and_a_size_hold_the_plan() -> None:
    rng = np.random.default_rng(0)
    theta = BESIROGLU.best.theta
    draws = theta * np.exp(rng.normal(0, [0.002, 0.02, 0.005, 0.02, 0.005], size=(1000, 5)))
    law = Estimate(components=(Component(law=CHINCHILLA, theta=theta, draws=draws),), sigma=0.002)
    for given in ({"loss": 2.3}, {"n_params": 3e9}):
        made, limited = solve_limited(law, given, 3e10, 0.9)
        assert limited.epochs.low < limited.epochs.value < limited.epochs.high
        assert np.mean(made.log_tokens_draws < made.log_tokens) == pytest.approx(0.5, abs=0.1)


def test_caps_hold_and_are_named() -> None:
    free, _ = solve_limited(BESIROGLU, {"loss": 2.3}, 3e10, 0.9)
    for name in ("log_params", "log_tokens"):
        value = getattr(free, name) - 0.1
        caps = Caps(**{name: value}, names={name: "a wish"})
        made, _ = solve_limited(BESIROGLU, {"loss": 2.3}, 3e10, 0.9, caps=caps)
        assert getattr(made, name) == pytest.approx(value, abs=1e-6)
        assert made.binding == ("a wish",)
        assert made.log_flops > free.log_flops
        assert loss_at(made.log_params, made.log_tokens, 3e10) == pytest.approx(2.3, rel=1e-9)
    tight = Caps(log_flops=free.log_flops - 0.01, names={"log_flops": "max_days"})
    with pytest.raises(InputError, match="without max_days the run cheapest to train takes"):
        solve_limited(BESIROGLU, {"loss": 2.3}, 3e10, 0.9, caps=tight)
    with pytest.raises(InputError, match="more than allowed"):
        solve_limited(BESIROGLU, {"n_params": 1e9}, 3e10, 0.9, caps=Caps(log_params=np.log(1e8)))
    less, _ = solve_limited(BESIROGLU, {"flops": 1e23}, 3e10, 0.9, caps=tight)
    assert less.log_flops == pytest.approx(tight.log_flops, abs=1e-9)
    assert less.binding == ("max_days",)
