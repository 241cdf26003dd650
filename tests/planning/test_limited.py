"""Data-limited plans: Muennighoff's values, limits, and refusals."""

from dataclasses import replace

import numpy as np
import pytest

from isoflop._errors import InputError
from isoflop.laws import CHINCHILLA, REPEATED, Component, Estimate, find_published
from isoflop.planning import plan
from isoflop.planning.limited import effective_tokens

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
