"""Revealed demand and overheads of size: published values, the planner's inverse, refusals."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoflop._errors import InputError
from isoflop.laws import KAPLAN_FLOOR, SKALING, Component, Estimate, find_published
from isoflop.planning import plan
from isoflop.planning.demand import Demand, solve_demand
from isoflop.planning.revealed import overhead_of_size, revealed_demand

LAW = find_published("besiroglu").estimate
DE_VRIES = find_published("devries").estimate


def spread(estimate: Estimate, *, scale: float = 0.01, size: int = 300) -> Estimate:
    component = estimate.best
    rng = np.random.default_rng(5)
    factors = np.exp(scale * rng.standard_normal((size, component.theta.size)))
    return replace(estimate, components=(replace(component, draws=component.theta * factors),))


def of(law, theta: list[float]) -> Estimate:
    point = np.array(theta)
    component = Component(law=law, theta=point, draws=point[None])
    return replace(LAW, components=(component,))


@pytest.mark.parametrize(
    ("n_params", "n_tokens", "served"),
    # planner.md, "Sanity the law must give": Llama-2-7B, Llama-3 8B, 70B and 405B, two digits.
    [
        (6.738e9, 2e12, 1e13), (8.03e9, 15e12, 1.9e14), (70.55e9, 15e12, 6.5e13),
        (405.85e9, 15.6e12, 1.6e13),
    ],
)  # fmt: skip
def test_demand_that_llamas_were_made_for(n_params: float, n_tokens: float, served: float) -> None:
    found = revealed_demand(LAW, n_params, n_tokens).inference_tokens
    assert found is not None
    assert float(f"{found.value:.1e}") == pytest.approx(served, rel=0.02)
    # The condition itself, alpha A N^-alpha against beta B D^-beta.
    _, a, alpha, b, beta = LAW.best.theta
    ratio = alpha * a * n_params**-alpha / (beta * b * n_tokens**-beta)
    assert found.value == pytest.approx(3 * n_tokens * (ratio - 1), rel=1e-12)


def test_the_405b_is_near_its_training_optimum() -> None:
    # planner.md: 1.06 times the FLOPs of its loss-matched train-optimum.
    overhead = revealed_demand(LAW, 405.85e9, 15.6e12).overhead
    assert overhead.value == pytest.approx(1.06, abs=0.01)


@settings(max_examples=25, deadline=None)
@given(
    log_n=st.floats(np.log(1e8), np.log(5e11)),
    ratio=st.floats(30.0, 2000.0),
    cost=st.floats(0.2, 20.0),
)
def test_the_planner_given_the_demand_returns_the_model(
    log_n: float, ratio: float, cost: float
) -> None:
    n_params = float(np.exp(log_n))
    found = revealed_demand(LAW, n_params, ratio * n_params, inference_flop_cost=cost)
    assert found.inference_tokens is not None
    theta = LAW.best.theta
    inputs = {"n_params": np.array([n_params]), "n_tokens": np.array([ratio * n_params])}
    loss = float(LAW.best.law.predict(theta, inputs)[0])
    demand = Demand(tokens=found.inference_tokens.value, flop_cost=cost)
    solution, _ = solve_demand(LAW, {"loss": loss}, demand, 0.9)
    # A minimum in double precision is found to half its digits.
    assert solution.log_params == pytest.approx(log_n, abs=2e-5)
    assert solution.log_tokens == pytest.approx(np.log(ratio * n_params), abs=2e-5)


@pytest.mark.parametrize(
    "estimate",
    [
        of(SKALING, [1.7, 400.0, 0.34, 900.0, 0.33, 0.77]),
        of(KAPLAN_FLOOR, [1.3, 5e6, 3e8, 0.25, 0.35]),
        find_published("kaplan").estimate,
    ],
    ids=["skaling", "kaplan_floor", "kaplan"],
)
def test_numeric_slopes_agree_with_the_closed_form(estimate: Estimate) -> None:
    """A mixture of one law with itself is searched by differences; its demand is the law's."""
    closed = revealed_demand(estimate, 1e9, 1e12)
    half = replace(estimate.best, weight=0.5)
    numeric = revealed_demand(replace(estimate, components=(half, half)), 1e9, 1e12)
    assert closed.inference_tokens is not None
    assert numeric.inference_tokens is not None
    assert numeric.inference_tokens.value == pytest.approx(closed.inference_tokens.value, rel=1e-6)


def test_a_compute_optimal_model_reveals_no_demand() -> None:
    made = plan(LAW, flops=1e23, mfu=0.4)
    found = revealed_demand(LAW, made.n_params.value * 1.001, made.n_tokens.value)
    assert found.inference_tokens is None
    assert "no demand for inference explains its size" in found.text
    assert found.overhead.value == pytest.approx(1, abs=1e-6)
    # GPT-3 by Besiroglu's law: far larger than optimal.
    gpt3 = revealed_demand(LAW, 174.6e9, 300e9)
    assert gpt3.inference_tokens is None
    assert gpt3.overhead.value > 1.5


def test_intervals_come_from_the_draws() -> None:
    law = spread(LAW)
    found = revealed_demand(law, 8.03e9, 15e12)
    assert found.inference_tokens is not None
    assert 0 < found.inference_tokens.low < found.inference_tokens.value
    assert found.inference_tokens.value < found.inference_tokens.high
    assert 1 < found.overhead.low < found.overhead.value < found.overhead.high
    # Near the optimum some draws say that the model is too large: no demand, a bound of zero.
    near = plan(LAW, flops=1e23, mfu=0.4)
    close = revealed_demand(law, near.n_params.value * 0.99, near.n_tokens.value)
    assert close.inference_tokens is not None
    assert close.inference_tokens.low == 0 < close.inference_tokens.high


def test_no_run_takes_less_than_the_optimal_one_of_its_loss() -> None:
    # At 1e60 of both nothing is left above the floor in double precision.
    for n_params, n_tokens in ((7.23e10, 1.328e12), (1e60, 1e60)):
        overhead = revealed_demand(LAW, n_params, n_tokens).overhead
        assert 1 <= overhead.low <= overhead.value <= overhead.high < np.inf


@pytest.mark.parametrize(
    ("estimate", "overheads", "least"),
    [
        # de Vries 2023, Go smol or go home; laws.md 6.3 with Besiroglu's constants and floors.
        (DE_VRIES, (2.85, 20.8, 105.6, 188.9), 0.097),
        (LAW, (3.35, 25.9, 161, 347), 0.146),
    ],
    ids=["devries", "besiroglu"],
)
@pytest.mark.parametrize("flops", [1e20, 5.76e23])
def test_overheads_of_small_models(
    estimate: Estimate, overheads: tuple[float, ...], least: float, flops: float
) -> None:
    _, _, alpha, _, beta = estimate.best.theta
    for share, overhead in zip((0.75, 0.5, 0.3, 0.25), overheads, strict=True):
        found = overhead_of_size(estimate, share, flops=flops)
        digits = 0.5 if overhead > 150 and estimate is LAW else 0.05 if overhead > 3.5 else 0.005
        assert 100 * found.overhead.value == pytest.approx(overhead, abs=digits)
        closed = (1 - (share**-alpha - 1) * beta / alpha) ** (-1 / beta)
        assert found.tokens.value == pytest.approx(closed, rel=1e-9)
    floor = (1 + alpha / beta) ** (-1 / alpha)
    assert round(floor, 3) == least
    with pytest.raises(InputError, match=f"Give a share above {floor:.3g}"):
        overhead_of_size(estimate, 0.999 * floor, flops=flops)
    assert overhead_of_size(estimate, 1.001 * floor, flops=flops).overhead.value > 100


def test_overheads_of_draws() -> None:
    found = overhead_of_size(spread(LAW), 0.5)
    assert found.overhead.low < found.overhead.value < found.overhead.high
    assert found.flops == pytest.approx(3e21)  # the largest of the law's runs
    # Some draws cannot make up for so small a model: no upper bound.
    assert overhead_of_size(spread(LAW, scale=0.05), 0.15).overhead.high == np.inf
    one = overhead_of_size(LAW, 1.0)
    assert one.tokens.value == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"n_params": 0.0}, "`n_params > 0` must hold, but got n_params=0.0"),
        ({"n_tokens": float("nan")}, "`n_tokens > 0` must hold"),
        ({"inference_flop_cost": -1.0}, "`inference_flop_cost > 0` must hold"),
        ({"level": 0.0}, "`0 < level < 1` must hold"),
    ],
)
def test_absurd_questions_are_refused(asked: dict[str, float], error: str) -> None:
    with pytest.raises(InputError, match=error):
        revealed_demand(LAW, **{"n_params": 1e9, "n_tokens": 1e11, **asked})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="`share > 0` must hold"):
        overhead_of_size(LAW, 0.0)
    with pytest.raises(InputError, match="n_params and n_tokens"):
        overhead_of_size(find_published("kaplan_n_params").estimate, 0.5, flops=1e20)
