"""Plans against published optima, identities and impossible requests."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoflop._errors import InputError
from isoflop._types import Problem
from isoflop.accounting import find_accelerator, training_days
from isoflop.laws import CHINCHILLA, KAPLAN_JOINT, Component, Estimate, find_published
from isoflop.planning import Plan, plan, plan_from_json, read_plan, summary_lines

THETA = np.array([1.8, 480.0, 0.35, 2100.0, 0.37])
RANGES = {
    "n_params": (1e7, 1e9),
    "n_tokens": (1e9, 1e10),
    "n_params*n_tokens": (1e17, 1e19),
}


def estimate(*, problems: tuple[Problem, ...] = (), n_draws: int = 500) -> Estimate:
    """An additive law with draws around it: 3 % on E and exponents, 20 % on A and B."""
    rng = np.random.default_rng(1)
    scale = np.array([0.01, 0.2, 0.03, 0.2, 0.03])
    draws = THETA * np.exp(scale * rng.standard_normal((n_draws, 5)))
    return Estimate(
        components=(Component(law=CHINCHILLA, theta=THETA, draws=draws),),
        problems=problems,
        source="a law made for this test",
        n_params_convention="non_embedding_with_head",
        ranges=RANGES,
        sigma=0.005,
        spread=0.01,
    )


def mixture() -> Estimate:
    """Two thirds additive, one third Kaplan, as a fit that hedges its choice of law."""
    additive = estimate().components[0]
    theta = find_published("kaplan").estimate.best.theta
    rng = np.random.default_rng(2)
    draws = theta * np.exp(0.02 * rng.standard_normal((300, 4)))
    other = Component(law=KAPLAN_JOINT, theta=theta, draws=draws, weight=0.25)
    return replace(estimate(), components=(replace(additive, weight=0.75), other))


@pytest.mark.parametrize(
    ("name", "flops", "n_params", "n_tokens", "loss"),
    [
        # Hoffmann et al. 2022, arXiv:2203.15556: TeX constants, then those printed in eq. 10
        ("hoffmann", 5.76e23, 4.036e10, 2.379e12, 1.91841),
        ("hoffmann_printed", 5.76e23, 3.219e10, 2.982e12, 1.93075),
    ],
)
def test_published_optima(
    name: str, flops: float, n_params: float, n_tokens: float, loss: float
) -> None:
    found = plan(find_published(name), flops=flops)
    # half a unit of the last of four and six digits
    assert found.n_params.value == pytest.approx(n_params, rel=3e-4)
    assert found.n_tokens.value == pytest.approx(n_tokens, rel=3e-4)
    assert found.loss.value == pytest.approx(loss, abs=6e-6)


@pytest.mark.parametrize(
    ("flops", "n_params", "n_tokens", "loss", "ratio"),
    [
        (5.76e23, 7.225e10, 1.329e12, 1.97444, 18.39),
        (1e21, 2.778e9, 5.999e10, 2.30553, 21.59),
    ],
)
def test_besiroglu_as_printed(
    flops: float, n_params: float, n_tokens: float, loss: float, ratio: float
) -> None:
    """Besiroglu et al. 2024, arXiv:2404.10102, table 1; unrounded they give 0.15 % more N."""
    theta = np.array([1.8172, 482.01, 0.3478, 2085.43, 0.3658])
    component = Component(law=CHINCHILLA, theta=theta, draws=theta[None])
    found = plan(Estimate(components=(component,)), flops=flops)
    assert found.n_params.value == pytest.approx(n_params, rel=3e-4)
    assert found.n_tokens.value == pytest.approx(n_tokens, rel=3e-4)
    assert found.loss.value == pytest.approx(loss, abs=6e-6)
    assert found.tokens_per_param.value == pytest.approx(ratio, rel=3e-4)
    unrounded = plan(find_published("besiroglu"), flops=flops)
    assert unrounded.n_params.value == pytest.approx(n_params, rel=2e-3)


@pytest.mark.parametrize("flops", [1e14, 1e21, 1e25])
def test_first_order_condition(flops: float) -> None:
    """N ∂L/∂N = D ∂L/∂D on the line C = 6ND."""
    found = plan(estimate(), flops=flops)
    _, a, alpha, b, beta = THETA
    by_size = alpha * a / found.n_params.value**alpha
    by_data = beta * b / found.n_tokens.value**beta
    assert by_size == pytest.approx(by_data, rel=1e-9)
    assert 6 * found.n_params.value * found.n_tokens.value == pytest.approx(flops, rel=1e-9)


@pytest.mark.parametrize("law", ["besiroglu", "muennighoff", "kaplan"])
def test_optimum_beats_its_neighbours(law: str) -> None:
    source = find_published(law).estimate
    found = plan(source, flops=1e21)
    factors = np.array([0.5, 0.99, 1.0, 1.01, 2.0])
    inputs = {
        "n_params": found.n_params.value * factors,
        "n_tokens": found.n_tokens.value / factors,
    }
    losses = source.predict(inputs, of="mean").mean
    assert int(np.argmin(losses)) == 2


@pytest.mark.parametrize("make", [estimate, mixture])
@pytest.mark.parametrize("name", ["loss", "n_params", "n_tokens"])
def test_the_four_questions_have_one_answer(make: Callable[[], Estimate], name: str) -> None:
    """flops -> plan -> its loss, size or tokens -> the same flops."""
    there = plan(make(), flops=3e20)
    back = plan(make(), **{name: getattr(there, name).value})
    for field in ("flops", "n_params", "n_tokens", "loss"):
        expected = getattr(there, field).value
        assert getattr(back, field).value == pytest.approx(expected, rel=1e-9), field


def test_pricing_a_given_run_changes_nothing() -> None:
    found = plan(estimate(), n_params=7e9, n_tokens=2e12)
    assert found.flops.low == found.flops.high == pytest.approx(6 * 7e9 * 2e12)
    assert (found.n_params.low, found.n_params.high) == (7e9, 7e9)
    expected = estimate().predict({"n_params": 7e9, "n_tokens": 2e12})
    assert found.loss.value == pytest.approx(expected.mean[0])
    assert found.loss.low == pytest.approx(expected.low[0])
    assert not found.optimal


def test_intervals_come_from_the_draws() -> None:
    source = estimate()
    found = plan(source, flops=1e21)
    _, a, alpha, b, beta = source.components[0].draws.T
    scale = (alpha * a / (beta * b)) ** (1 / (alpha + beta))
    sizes = scale * (1e21 / 6) ** (beta / (alpha + beta))
    # each of the 500 draws stands 8 times; ranks are rounded outwards
    low = np.quantile(np.repeat(sizes, 8), 0.05, method="lower")
    high = np.quantile(np.repeat(sizes, 8), 0.95, method="higher")
    assert found.n_params.low == pytest.approx(low, rel=1e-9)
    assert found.n_params.high == pytest.approx(high, rel=1e-9)
    assert found.flops.low == found.flops.high == 1e21


@pytest.mark.parametrize("make", [estimate, mixture])
def test_intervals_are_ordered_and_widen_with_level(make: Callable[[], Estimate]) -> None:
    narrow, wide = (plan(make(), loss=2.4, level=level) for level in (0.5, 0.9))
    for name in ("n_params", "n_tokens", "flops", "loss", "tokens_per_param", "days"):
        inner, outer = getattr(narrow, name), getattr(wide, name)
        assert outer.low <= inner.low <= inner.value <= inner.high <= outer.high, name
        assert outer.level == 0.9
    assert wide.flops.low < narrow.flops.low


def test_noise_widens_the_compute_of_a_target() -> None:
    quiet = replace(estimate(), sigma=0.0, spread=0.0)
    noisy = replace(estimate(), sigma=0.03, spread=0.0)
    narrow, wide = (plan(source, loss=2.4).flops for source in (quiet, noisy))
    assert narrow.value == pytest.approx(wide.value)
    assert wide.high / wide.low > narrow.high / narrow.low


def test_days_and_money_follow_the_exact_flops() -> None:
    where = {"hardware": "A100-SXM-80GB", "n_devices": 64, "mfu": 0.5, "price": 2.0}
    found = plan(estimate(), loss=2.4, **where)  # type: ignore[arg-type]
    device = find_accelerator("A100-SXM-80GB")
    for bound in ("low", "value", "high"):
        days = training_days(getattr(found.exact_flops, bound), device, 64, 0.5)
        assert getattr(found.days, bound) == pytest.approx(days)
        assert getattr(found.device_hours, bound) == pytest.approx(days * 64 * 24)
        assert found.usd is not None
        assert getattr(found.usd, bound) == pytest.approx(days * 64 * 24 * 2.0)
    assert plan(estimate(), flops=1e21, hardware="B300-SXM").usd is None


def test_extrapolation_ratio_and_problem() -> None:
    # the largest run has 6·1e19 FLOPs
    far = plan(estimate(), flops=6e21)
    assert far.extrapolation == pytest.approx(100)
    (problem,) = [p for p in far.problems if p.code == "extrapolation"]
    assert problem.severity == "warning"
    assert "100 times" in problem.text
    (near,) = [p for p in plan(estimate(), flops=3e20).problems if p.code == "extrapolation"]
    assert near.severity == "note"
    assert plan(estimate(), n_params=5e8, n_tokens=5e9).problems == ()
    assert plan(replace(estimate(), ranges={}), flops=6e21).extrapolation is None


def test_a_target_below_the_floor_names_the_floor() -> None:
    with pytest.raises(InputError, match=r"irreducible loss 1\.797 .*90 % interval 1\.7.* to 1\.8"):
        plan(estimate(), loss=1.7)
    with pytest.raises(InputError, match="irreducible loss"):
        plan(find_published("besiroglu"), loss=1.8)


def test_a_target_near_the_floor_has_no_upper_bound() -> None:
    found = plan(estimate(), loss=1.82)
    assert found.flops.high == float("inf")
    assert "floor_unidentified" in {problem.code for problem in found.problems}
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert data["flops"]["high"] is None
    assert any("∞" in text for _, text in summary_lines(found))


def test_disqualified_allocation_is_not_usable_but_priced_runs_are() -> None:
    ray = Problem(
        code="one_ray",
        severity="disqualifying",
        text="All runs lie on one ray.",
        remedy="Vary the tokens of one size.",
        affects=("allocation",),
    )
    source = estimate(problems=(ray,))
    found = plan(source, flops=1e21)
    assert not found.usable
    assert not found.forced
    assert found.n_params.value > 0
    assert ("Status", "must not be used: see the problems") in summary_lines(found)
    forced = plan(source, flops=1e21, force=True)
    assert forced.forced
    assert not forced.usable
    assert plan(source, n_params=5e8, n_tokens=5e9).usable


def test_problems_of_the_law_travel_with_the_plan() -> None:
    codes = {problem.code for problem in plan(find_published("kaplan"), flops=1e21).problems}
    assert "rounded_constants" in codes
    unknown = replace(estimate(), n_params_convention="unknown")
    codes = {problem.code for problem in plan(unknown, flops=1e21).problems}
    assert "unknown_convention" in codes


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({}, "got none"),
        ({"flops": 1e21, "loss": 2.0}, "flops, loss"),
        ({"flops": 1e21, "n_params": 1e9, "n_tokens": 1e9}, "Keep one"),
        ({"flops": 1e21, "loss": 2.0, "n_params": 1e9}, "Keep one"),
        ({"flops": -1.0}, "`flops > 0`"),
        ({"flops": float("nan")}, "`flops > 0`"),
        ({"flops": float("inf")}, "`flops > 0`"),
        ({"loss": 0.0}, "`loss > 0`"),
        ({"flops": 1e21, "mfu": 40.0}, "0 < mfu <= 1"),
        ({"flops": 1e21, "n_devices": 0}, "n_devices >= 1"),
        ({"flops": 1e21, "hardware": "H300"}, "'H300'"),
        ({"flops": 1e21, "level": 90}, "0 < level < 1"),
    ],
)
def test_impossible_requests_are_refused(request_: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        plan(estimate(), **request_)


def test_only_laws_of_size_and_tokens_plan() -> None:
    with pytest.raises(InputError, match=r"one of x \(power\)"):
        plan(find_published("henighan_flops"), flops=1e21)
    with pytest.raises(InputError, match="got dict"):
        plan({}, flops=1e21)  # type: ignore[arg-type]


def test_same_request_same_numbers() -> None:
    assert plan(mixture(), loss=2.4).to_json() == plan(mixture(), loss=2.4).to_json()


@pytest.mark.parametrize(
    "request_",
    [
        {"flops": 1e21},
        {"loss": 1.82},
        {"usd": 1e5, "max_days": 10},
        {"loss": 2.4, "inference_tokens": 1e12},
        {"flops": 1e21, "unique_tokens": 1e10},
        {"n_params": 1e9, "n_tokens": 1e10, "hardware": "B300-SXM"},
    ],
)
def test_json_is_read_as_the_same_plan(request_: dict[str, Any], tmp_path: Path) -> None:
    made = plan(mixture(), **request_)
    text = json.dumps(made.to_json(), allow_nan=False)
    assert plan_from_json(json.loads(text)) == made
    (tmp_path / "plan.json").write_text(text, encoding="utf-8")
    assert read_plan(tmp_path / "plan.json") == made


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"version": 1}, "version"),
        ({"surprise": 1}, "no key 'surprise'"),
        ({"flops": 3}, "again"),
    ],
)
def test_json_that_is_no_plan_is_refused(change: dict[str, Any], text: str) -> None:
    data = plan(estimate(), flops=1e21).to_json() | change
    with pytest.raises(InputError, match=text):
        plan_from_json(data)


def test_json_holds_every_field() -> None:
    data = json.loads(json.dumps(plan(estimate(), flops=1e21).to_json(), allow_nan=False))
    assert set(data) == {"version", "usable", *Plan.__slots__}
    assert data["n_params"]["level"] == 0.9


@pytest.mark.parametrize("request_", [{"flops": 1e21}, {"loss": 2.4}, {"n_params": 1e9}])
def test_summary_gives_every_number_its_interval(request_: dict[str, Any]) -> None:
    lines = dict(summary_lines(plan(estimate(), **request_)))
    for label in ("Model size", "Tokens", "Training compute", "Loss of the run", "Time"):
        assert any(word in lines[label] for word in ("90 %:", "(given)", "exact")), label
    assert "[non_embedding_with_head]" in lines["Model size"]
    assert "8 × H100-SXM" in lines["Time"]
    assert "exact FLOPs" in lines["MFU"]


def test_summary_says_when_a_law_has_no_draws() -> None:
    lines = dict(summary_lines(plan(find_published("besiroglu"), flops=1e21)))
    assert "without draws" in lines["Model size"]


def test_plan_tells_how_flat_the_optimum_is() -> None:
    source = find_published("besiroglu").estimate
    made = plan(source, flops=1e23)
    assert [one.share for one in made.near_optimal] == [0.001, 0.005]
    for one in made.near_optimal:
        assert one.n_low < made.n_params.value < one.n_high
        edge = source.predict({"n_params": [one.n_low], "n_tokens": [1e23 / 6 / one.n_low]})
        assert edge.mean[0] / made.loss.value - 1 == pytest.approx(one.share, rel=1e-6)
    assert made.to_json()["near_optimal"][0]["share"] == 0.001
    lines = dict(summary_lines(made))
    assert "parameters on the same compute" in lines["Within 0.5 % of the best loss"]
    assert plan(source, n_params=1e9, n_tokens=1e11).near_optimal == ()


def test_a_law_of_repeats_plans_with_new_tokens_and_says_so() -> None:
    made = plan(find_published("muennighoff_repeated"), flops=1e21)
    tied = plan(find_published("muennighoff"), flops=1e21)
    assert made.n_params.value == pytest.approx(tied.n_params.value, rel=0.01)
    (said,) = [problem for problem in made.problems if problem.code == "repeated_data"]
    assert f"{made.n_tokens.value:.3g} distinct ones" in said.text
    assert not [problem for problem in tied.problems if problem.code == "repeated_data"]


def test_a_law_that_falls_without_bound_at_an_end_is_planned_between_the_ends() -> None:
    """Farseer's form, refitted, has its lowest loss at one token on 1.7e20 parameters."""
    source = find_published("farseer_refit").estimate
    made = plan(source, flops=1e21)
    assert 1e8 < made.n_params.value < 1e11
    factors = np.array([0.9, 1.0, 1.1])
    inputs = {"n_params": made.n_params.value * factors, "n_tokens": made.n_tokens.value / factors}
    assert int(np.argmin(source.predict(inputs, of="mean").mean)) == 1
