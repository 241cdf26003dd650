"""Inference-aware plans: Sardana's cases, limits, duality, and refusals."""

import json

import numpy as np
import pytest
from scipy.optimize import brentq

from isoflop._errors import InputError
from isoflop.cli.entry import run
from isoflop.laws import CHINCHILLA, Component, Estimate, find_published
from isoflop.planning import plan

# de Vries' and Sardana's working constants.
E, A, ALPHA, B, BETA = 1.69, 406.4, 0.336, 410.7, 0.283
LAW = find_published("devries")


def by_root(loss: float, tokens: float, cost: float = 1.0) -> tuple[float, float]:
    """(N, D) from the stationarity condition of Sardana et al. 2024, arXiv:2401.00448."""

    def f(x: float) -> float:
        serving = BETA * B * tokens * cost / (3 * ALPHA) * np.exp(-(BETA + 1) * x)
        return float((BETA * B / ALPHA + B) * np.exp(-BETA * x) + serving + E - loss)

    d = np.exp(brentq(f, 10, 60, xtol=1e-13))
    return float((A / (loss - E - B * d**-BETA)) ** (1 / ALPHA)), float(d)


@pytest.mark.parametrize(
    ("loss", "tokens", "n", "d", "saving"),
    # laws.md 6.2: 30B-quality with 2T and 5T tokens served, 70B-quality with 10T.
    [(1.947, 2e12, 2.418e10, 2.657e12, 0.048), (1.9573, 5e12, 1.64e10, 3.27e12, 0.163)],
)
def test_sardanas_cases(loss: float, tokens: float, n: float, d: float, saving: float) -> None:
    made = plan(LAW, loss=loss, inference_tokens=tokens)
    assert made.lifetime is not None
    assert made.lifetime.saving == pytest.approx(saving, abs=0.012)
    if tokens == 2e12:
        assert made.n_params.value == pytest.approx(n, rel=1e-3)
        assert made.n_tokens.value == pytest.approx(d, rel=1e-3)
        assert made.lifetime.compute_optimal == pytest.approx((3.408e10, 1.810e12), rel=1e-3)
    else:
        assert made.n_params.value == pytest.approx(n, rel=0.1)
        assert made.n_tokens.value == pytest.approx(d, rel=0.1)


@pytest.mark.parametrize("loss", [1.9, 1.95, 2.2, 3.0])
@pytest.mark.parametrize("tokens", [1e9, 1e12, 1e15])
@pytest.mark.parametrize("cost", [1.0, 25.0])
def test_it_solves_the_stationarity_condition(loss: float, tokens: float, cost: float) -> None:
    made = plan(LAW, loss=loss, inference_tokens=tokens, inference_flop_cost=cost)
    n, d = by_root(loss, tokens, cost)
    assert made.n_params.value == pytest.approx(n, rel=1e-6)
    assert made.n_tokens.value == pytest.approx(d, rel=1e-6)
    assert made.lifetime is not None
    assert made.lifetime.total.value == pytest.approx(6 * n * d + 2 * cost * n * tokens, rel=1e-9)


def test_demand_shrinks_the_model_and_none_leaves_it() -> None:
    plain = plan(LAW, loss=1.95)
    sizes = [
        plan(LAW, loss=1.95, inference_tokens=t).n_params.value for t in (1.0, 1e12, 1e13, 1e14)
    ]
    assert sizes[0] == pytest.approx(plain.n_params.value, rel=1e-6)
    assert sizes == sorted(sizes, reverse=True)
    savings = [
        plan(LAW, loss=1.95, inference_tokens=t).lifetime.saving  # type: ignore[union-attr]
        for t in (1.0, 1e12, 1e13, 1e14)
    ]
    assert savings[0] == pytest.approx(0, abs=1e-9)
    assert savings == sorted(savings)


def test_a_budget_for_both_is_the_dual() -> None:
    for_loss = plan(LAW, loss=1.95, inference_tokens=5e12)
    assert for_loss.lifetime is not None
    for_budget = plan(LAW, flops=for_loss.lifetime.total.value, inference_tokens=5e12)
    assert for_budget.n_params.value == pytest.approx(for_loss.n_params.value, rel=1e-6)
    assert for_budget.loss.value == pytest.approx(1.95, rel=1e-9)
    more = plan(LAW, flops=2 * for_loss.lifetime.total.value, inference_tokens=5e12)
    assert more.loss.value < for_budget.loss.value


def test_draws_give_intervals_around_the_plan() -> None:
    rng = np.random.default_rng(0)
    theta = np.array([E, A, ALPHA, B, BETA])
    draws = theta * np.exp(rng.normal(0, [0.005, 0.05, 0.01, 0.05, 0.01], size=(1000, 5)))
    law = Estimate(components=(Component(law=CHINCHILLA, theta=theta, draws=draws),))
    made = plan(law, loss=2.0, inference_tokens=5e12)
    assert made.lifetime is not None
    for one in (made.n_params, made.n_tokens, made.flops, made.lifetime.total):
        assert one.low < one.value < one.high
    own = [by_root_of(row, 2.0, 5e12) for row in draws[:200]]
    inside = np.mean([made.n_params.low < n < made.n_params.high for n in own])
    assert 0.8 < inside < 0.97


@pytest.mark.parametrize("sigma", [0.0, 0.01])
@pytest.mark.parametrize("given", [{"flops": 1e22}, {"loss": 2.2}])
def test_one_token_of_demand_changes_no_interval(
    monkeypatch: pytest.MonkeyPatch, sigma: float, given: dict[str, float]
) -> None:
    # As many draws as a plain plan takes, so that both take the same ones.
    monkeypatch.setattr("isoflop.planning.cheapest.SAMPLES", 4000)
    rng = np.random.default_rng(1)
    theta = np.array([E, A, ALPHA, B, BETA])
    # Exponents so wide that draws' sizes lie far above and below the plan's.
    draws = theta * np.exp(rng.normal(0, [0.002, 0.3, 0.15, 0.3, 0.15], size=(1000, 5)))
    law = Estimate(components=(Component(law=CHINCHILLA, theta=theta, draws=draws),), sigma=sigma)
    plain = plan(law, **given)  # type: ignore[arg-type]
    served = plan(law, **given, inference_tokens=1.0)  # type: ignore[arg-type]
    assert plain.n_params.high > 3 * plain.n_params.value
    for one in ("n_params", "n_tokens", "flops"):
        mine, other = getattr(served, one), getattr(plain, one)
        assert mine.value == pytest.approx(other.value, rel=1e-6)
        assert mine.low == pytest.approx(other.low, rel=1e-3)
        assert mine.high == pytest.approx(other.high, rel=1e-3)


def by_root_of(row: np.ndarray, loss: float, tokens: float) -> float:
    e, a, alpha, b, beta = row
    grid = np.linspace(np.log(1e8), np.log(1e13), 20001)
    left = loss - e - a * np.exp(-alpha * grid)
    with np.errstate(invalid="ignore"):  # one infinity times another size
        d = np.where(left > 0, (b / np.maximum(left, 1e-6)) ** (1 / beta), np.inf)
    return float(np.exp(grid[np.argmin(np.exp(grid) * (6 * d + 2 * tokens))]))


def test_far_over_training_is_told() -> None:
    calm = plan(LAW, loss=1.95, inference_tokens=1e12)
    assert "over_trained" not in {problem.code for problem in calm.problems}
    wild = plan(LAW, loss=1.95, inference_tokens=1e16)
    (problem,) = [p for p in wild.problems if p.code == "over_trained"]
    assert problem.severity == "warning"


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"loss": 1.95, "inference_tokens": -1.0}, "inference_tokens > 0"),
        ({"loss": 1.95, "inference_tokens": 1e12, "inference_flop_cost": 0.0}, "flop_cost > 0"),
        ({"loss": 1.95, "inference_flop_cost": 2.0}, "Give inference_tokens"),
        ({"n_params": 1e9, "inference_tokens": 1e12}, "needs one of loss, flops and usd"),
        ({"loss": 1.6, "inference_tokens": 1e12}, "irreducible"),
    ],
)
def test_absurd_demands_are_refused(asked: dict[str, float], error: str) -> None:
    with pytest.raises(InputError, match=error):
        plan(LAW, **asked)  # type: ignore[arg-type]


def test_the_command_tells_what_serving_takes(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "--law", "devries", "--loss", "1.947", "--inference-tokens", "2e12"]
    run([*words, "--force"])
    text = capsys.readouterr().out
    assert "Serving 2T tokens" in text
    assert "Saved" in text
    run([*words, "--force", "--json"])
    made = json.loads(capsys.readouterr().out)["result"]
    assert made["lifetime"]["total"]["value"] == pytest.approx(4.8228e23, rel=1e-4)
    # Chinchilla's 70B, had it to serve ten trillion tokens, would be smaller.
    assert made["lifetime"]["compute_optimal"][0] > made["n_params"]["value"]
