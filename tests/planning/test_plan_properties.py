"""What holds for every law and every budget: closed forms, inverses, more is never worse."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoflop._errors import InputError
from isoflop.accounting import ShapeRule
from isoflop.laws import (
    CLOSED_FORM,
    Component,
    Estimate,
    best_log_size,
    find_law,
    find_published,
    optimum,
)
from isoflop.planning import BuildWish, Plan, plan

RANGES: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "chinchilla": {
        "E": (0.5, 2.5), "A": (50, 3000), "alpha": (0.28, 0.42), "B": (50, 5000),
        "beta": (0.28, 0.42),
    },
    "chinchilla_tied": {"E": (0.5, 2.5), "A": (50, 3000), "alpha": (0.28, 0.42), "B": (50, 5000)},
    "kaplan_joint": {
        "N_c": (1e12, 1e15), "D_c": (1e12, 1e15), "alpha_N": (0.05, 0.15), "alpha_D": (0.05, 0.15),
    },
    "kaplan_floor": {
        "E": (0.5, 2.5), "N_c": (1e6, 1e8), "D_c": (1e7, 1e10), "alpha_N": (0.2, 0.4),
        "alpha_D": (0.2, 0.4),
    },
    "skaling": {
        "E": (0.5, 2.5), "A": (50, 3000), "alpha": (0.28, 0.42), "B": (50, 5000),
        "beta": (0.28, 0.42),
        "k": (0.5, 1.5),
    },
}  # fmt: skip
"""Constants about those of published laws."""

LOG_FLOPS = st.floats(np.log(1e19), np.log(1e24))


def laws(name: str) -> st.SearchStrategy[Estimate]:
    """Estimates of a law with constants drawn evenly in logs."""
    law = find_law(name)
    logs = [st.floats(np.log(low), np.log(high)) for low, high in RANGES[name].values()]
    assert tuple(RANGES[name]) == law.names

    def made(values: tuple[float, ...]) -> Estimate:
        theta = np.exp(values)
        component = Component(law=law, theta=theta, draws=theta[None])
        return Estimate(components=(component,), n_params_convention="total")

    return st.tuples(*logs).map(made)


ANY_LAW = st.sampled_from(CLOSED_FORM).flatmap(laws)


def planned(estimate: Estimate, **asked: float) -> Plan:
    return plan(estimate, **asked, mfu=0.4)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CLOSED_FORM)
@settings(max_examples=60, deadline=None)
@given(data=st.data(), log_flops=LOG_FLOPS)
def test_closed_form_is_the_numeric_optimum(
    name: str, data: st.DataObject, log_flops: float
) -> None:
    component = data.draw(laws(name)).best
    best = optimum(component.theta, [np.exp(log_flops)], law=component.law)
    # The root of the slope along 6·N·D, by complex step: no minimum is found so exactly.
    found = best_log_size(component.law, component.theta[None], np.array([[log_flops - np.log(6)]]))
    assert float(found[0, 0]) == pytest.approx(float(np.log(best.n_params[0])), abs=1e-9)


@settings(max_examples=8, deadline=None)
@given(estimate=ANY_LAW, log_flops=LOG_FLOPS)
def test_a_plan_is_at_the_numeric_optimum_on_its_budget(
    estimate: Estimate, log_flops: float
) -> None:
    made = planned(estimate, flops=float(np.exp(log_flops)))
    component = estimate.best
    found = best_log_size(component.law, component.theta[None], np.array([[log_flops - np.log(6)]]))
    assert np.log(made.n_params.value) == pytest.approx(float(found[0, 0]), abs=1e-9)
    assert 6 * made.n_params.value * made.n_tokens.value == pytest.approx(
        np.exp(log_flops), rel=1e-9
    )


@settings(max_examples=8, deadline=None)
@given(estimate=ANY_LAW, log_flops=LOG_FLOPS)
def test_each_question_undoes_the_other(estimate: Estimate, log_flops: float) -> None:
    flops = float(np.exp(log_flops))
    made = planned(estimate, flops=flops)
    for name in ("loss", "n_params", "n_tokens"):
        back = planned(estimate, **{name: getattr(made, name).value})
        # ln C from a loss loses the digits that the floor takes of it: L/(L - E), over the slope.
        assert np.log(back.flops.value) == pytest.approx(log_flops, abs=1e-8), name
        assert back.n_params.value == pytest.approx(made.n_params.value, rel=1e-8), name
    priced = planned(estimate, n_params=made.n_params.value, n_tokens=made.n_tokens.value)
    assert priced.loss.value == pytest.approx(made.loss.value, rel=1e-12)
    assert priced.flops.value == pytest.approx(flops, rel=1e-9)


@settings(max_examples=8, deadline=None)
@given(estimate=ANY_LAW, log_flops=LOG_FLOPS, more=st.floats(1e-6, 7.0))
def test_a_larger_budget_is_never_worse(estimate: Estimate, log_flops: float, more: float) -> None:
    small = planned(estimate, flops=float(np.exp(log_flops)))
    large = planned(estimate, flops=float(np.exp(log_flops + more)))
    assert large.loss.value < small.loss.value
    assert large.n_params.value > small.n_params.value
    assert large.n_tokens.value > small.n_tokens.value
    # Two shapes of nearly one size differ by half a per cent in FLOPs a token.
    assert large.device_hours.value > 0.99 * small.device_hours.value


@settings(max_examples=8, deadline=None)
@given(estimate=ANY_LAW, log_flops=LOG_FLOPS, lower=st.floats(0.001, 0.5))
def test_a_lower_loss_costs_more(estimate: Estimate, log_flops: float, lower: float) -> None:
    """The target is lowered by a share of what is left above the floor."""
    law = estimate.best.law
    floor = float(estimate.best.theta[law.names.index("E")]) if "E" in law.names else 0.0
    loss = planned(estimate, flops=float(np.exp(log_flops))).loss.value
    dear = planned(estimate, loss=floor + (loss - floor) * (1 - lower))
    cheap = planned(estimate, loss=loss)
    for name in ("flops", "n_params", "n_tokens"):
        assert getattr(dear, name).value > getattr(cheap, name).value, name


@settings(max_examples=4, deadline=None)
@given(log_flops=st.floats(np.log(1e18), np.log(1e24)), more=st.floats(0.01, 5.0))
def test_two_laws_together_are_monotone_too(log_flops: float, more: float) -> None:
    kaplan = find_published("kaplan").estimate.best
    additive = find_published("besiroglu").estimate
    both = replace(
        additive,
        components=(replace(additive.best, weight=0.7), replace(kaplan, weight=0.3)),
    )
    small = planned(both, flops=float(np.exp(log_flops)))
    large = planned(both, flops=float(np.exp(log_flops + more)))
    assert large.loss.value < small.loss.value
    back = planned(both, loss=small.loss.value)
    assert np.log(back.flops.value) == pytest.approx(log_flops, abs=1e-8)


@settings(max_examples=4, deadline=None)
@given(estimate=ANY_LAW, log_flops=LOG_FLOPS, aside=st.floats(0.01, 3.0))
def test_no_other_split_of_the_budget_is_better(
    estimate: Estimate, log_flops: float, aside: float
) -> None:
    made = planned(estimate, flops=float(np.exp(log_flops)))
    for factor in (np.exp(aside), np.exp(-aside)):
        other = planned(
            estimate,
            n_params=made.n_params.value * factor,
            n_tokens=made.n_tokens.value / factor,
        )
        assert other.loss.value > made.loss.value


BUDGETS = st.sampled_from(["flops", "device_hours", "days", "usd"])


@settings(max_examples=15, deadline=None)
@given(estimate=ANY_LAW, log_flops=LOG_FLOPS, more=st.floats(1e-6, 3.0), name=BUDGETS)
def test_a_larger_budget_of_any_kind_is_never_worse(
    estimate: Estimate, log_flops: float, more: float, name: str
) -> None:
    """Of one decoder, so that hours are FLOPs; its size is held, tokens grow."""
    build = BuildWish(architecture=ShapeRule().nearest(1e9, "total"))
    asked = {"n_devices": 8, "build": build, "price": 2.0}
    first = plan(estimate, flops=float(np.exp(log_flops)), **asked)  # type: ignore[arg-type]
    interval = getattr(first, name)
    small, large = (
        plan(estimate, **{name: interval.value * factor}, **asked)  # type: ignore[arg-type]
        for factor in (1.0, float(np.exp(more)))
    )
    assert large.loss.value < small.loss.value
    if name != "flops":
        assert large.risk.odds[name] <= 0.1 + 1e-3


LIMITS = ("max_flops", "max_device_hours", "max_days", "max_usd", "max_n_params", "max_n_tokens")


@settings(max_examples=20, deadline=None)
@given(
    estimate=ANY_LAW,
    log_flops=LOG_FLOPS,
    shares=st.dictionaries(st.sampled_from(LIMITS), st.floats(0.05, 5.0), min_size=1, max_size=3),
    goal=st.sampled_from(["flops", "loss"]),
)
def test_limits_are_kept_or_the_refusal_names_one(
    estimate: Estimate, log_flops: float, shares: dict[str, float], goal: str
) -> None:
    asked = {"mfu": 0.3, "price": 2.0}
    free = plan(estimate, flops=float(np.exp(log_flops)), **asked)  # type: ignore[arg-type]
    limits = {
        name: share * getattr(free, name.removeprefix("max_")).value
        for name, share in shares.items()
    }
    refusal, made = "", free
    try:
        made = plan(
            estimate,
            **{goal: getattr(free, goal).value},
            **limits,
            **asked,  # type: ignore[arg-type]
        )
    except InputError as error:
        refusal = str(error)
    if refusal:
        assert goal == "loss"
        assert any(name in refusal for name in limits), refusal
        return
    for name, most in limits.items():
        # Hours are those of a round shape: half a per cent of FLOPs a token.
        room = 1.01 if name in ("max_device_hours", "max_days", "max_usd") else 1 + 1e-9
        assert getattr(made, name.removeprefix("max_")).value <= most * room, name
    assert set(made.binding) <= set(limits)
    if goal == "flops":
        assert made.loss.value >= free.loss.value * (1 - 1e-9)
        if made.flops.value < free.flops.value * (1 - 1e-6):
            assert made.binding
    else:
        assert made.flops.value >= free.flops.value * (1 - 1e-6)
