"""Identities that every law keeps: Jacobian, units, shapes, optimum."""

import numpy as np
import pytest

from isoflop._errors import InputError
from isoflop.laws import (
    LAWS,
    Component,
    Estimate,
    find_law,
    find_published,
    frontier_exponent,
    optimum,
)

THETA = {
    "chinchilla": [1.8, 480.0, 0.35, 2100.0, 0.37],
    "chinchilla_tied": [1.8, 480.0, 0.35, 2100.0],
    "skaling": [1.8, 480.0, 0.35, 2100.0, 0.37, 0.77],
    "repeated": [1.8, 480.0, 0.35, 700.0, 8.0, 3.0],
    "kaplan_joint": [6.4e8, 1.8e9, 0.2, 0.3],
    "kaplan_steps": [6.4e8, 2.1e3, 0.2, 0.7],
    "farseer": [-0.4, 0.05, 1.2, 9.0, -0.14, 2.0, -0.3, 0.04, -0.3],
    "kaplan_floor": [1.2, 6.4e8, 1.8e9, 0.2, 0.3],
    "power_floor": [1.5, 3e9, 0.2],
    "power": [3e9, 0.2],
    "m3": [40.0, 2e-7, 0.3],
    "m4": [1.5, 4.0, 0.6, 1e6, 0.4],
    "bnsl_1": [1.5, 30.0, 0.1, 3e5, 0.4, 0.3],
    "bnsl_2": [1.5, 30.0, -0.05, 3e5, 0.4, 0.3, 1e7, 0.2, -0.1],
    "sigmoid": [0.25, 0.6, 5.0, 0.9],
    "sigmoid_to_one": [0.25, 5.0, 0.9],
    "error_on_loss": [0.85, 2.08, 0.756],
}
PAIR = ("chinchilla", "chinchilla_tied", "skaling", "kaplan_joint", "kaplan_floor")


def _inputs(law):
    rng = np.random.default_rng(3)
    ranges = {"loss": (-0.3, 0.5)}
    return {name: 10 ** rng.uniform(*ranges.get(name, (4, 8)), 7) for name in law.inputs}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_jacobian_equals_complex_step(law):
    theta, inputs = np.array(THETA[law.name]), _inputs(law)
    jacobian = law.jacobian(theta, inputs)
    for i in range(theta.size):
        step = 1e-30 * theta[i]
        shifted = theta.astype(complex)
        shifted[i] += 1j * step
        expected = law.predict(shifted, inputs).imag / step
        # Where terms cancel (a size far beyond its data), both are zero but for rounding.
        rounding = 1e-15 * np.abs(expected).max()
        np.testing.assert_allclose(jacobian[:, i], expected, rtol=1e-12, atol=rounding)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_leading_axes_are_kept(law):
    theta = np.tile(THETA[law.name], (3, 2, 1)) * np.array([1, 2, 3])[:, None, None] ** 0.1
    inputs = _inputs(law)
    values, slopes = law.predict(theta, inputs), law.jacobian(theta, inputs)
    assert values.shape == (3, 2, 7)
    assert slopes.shape == (3, 2, 7, len(law.params))
    np.testing.assert_array_equal(values[1, 0], law.predict(theta[1, 0], inputs))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_rescaled_parameters_predict_the_same(law):
    theta, inputs = np.array(THETA[law.name]), _inputs(law)
    scales = {name: 1.0 if name in law.unscaled else 1000.0 for name in law.inputs}
    scaled = {name: column / scales[name] for name, column in inputs.items()}
    np.testing.assert_allclose(
        law.predict(law.rescale(theta, scales), scaled), law.predict(theta, inputs), rtol=1e-12
    )


@pytest.mark.parametrize("name", PAIR)
def test_optimum_beats_its_neighbours_and_balances(name):
    law, theta, flops = find_law(name), np.array(THETA[name]), 1e15
    best = optimum(theta, [flops], law=law)
    assert best.n_params[0] * best.n_tokens[0] * 6 == pytest.approx(flops)
    assert float(best.a + best.b) == pytest.approx(1.0)
    size = best.n_params * np.exp(np.linspace(-0.5, 0.5, 101))
    losses = law.predict(theta, {"n_params": size, "n_tokens": flops / 6 / size})
    assert losses.argmin() == 50
    # N dL/dN = D dL/dD at the optimum of C ~ N D, by central differences.
    step = 1e-6
    up, down = 1 + step, 1 - step
    by_n = [
        law.predict(theta, {"n_params": best.n_params * f, "n_tokens": best.n_tokens})
        for f in (up, down)
    ]
    by_d = [
        law.predict(theta, {"n_params": best.n_params, "n_tokens": best.n_tokens * f})
        for f in (up, down)
    ]
    assert by_n[0] - by_n[1] == pytest.approx(by_d[0] - by_d[1], rel=1e-6)


@pytest.mark.parametrize("name", PAIR)
def test_frontier_exponent_is_the_slope_of_the_reducible_loss(name):
    law, theta = find_law(name), np.array(THETA[name])
    losses = optimum(theta, [1e14, 1e16], law=law).loss
    floor = theta[0] if "E" in law.names else 0.0
    slope = -np.diff(np.log(losses - floor))[0] / np.log(100)
    assert float(frontier_exponent(theta, law)) == pytest.approx(slope, rel=1e-9)


def test_optimum_over_draws_equals_one_by_one():
    draws = np.array([THETA["chinchilla"], [1.7, 400.0, 0.34, 400.0, 0.28]])
    both = optimum(draws, [1e18, 1e20])
    assert both.n_params.shape == both.loss.shape == (2, 2)
    for i, theta in enumerate(draws):
        np.testing.assert_allclose(both.loss[i], optimum(theta, [1e18, 1e20]).loss)


def test_optimum_of_one_variable_is_refused():
    with pytest.raises(InputError, match="power_floor"):
        optimum(THETA["power_floor"], [1e18], law=find_law("power_floor"))


def test_parabola_shift_of_wide_isoflop_grids():
    # Czech et al. 2026, arXiv:2603.22339: vertex shift in log10 N, 15 points over +-16x.
    for alpha, beta, shift in ((0.34, 0.28, 0.022735), (0.46, 0.15, 0.114167)):
        w = np.linspace(-np.log10(16), np.log10(16), 15)
        c2, c1, _ = np.polyfit(w, beta * 10 ** (-alpha * w) + alpha * 10 ** (beta * w), 2)
        assert -c1 / (2 * c2) == pytest.approx(shift, abs=1e-6)


def _estimate(**changes):
    law = find_law("power")
    theta = np.array(THETA["power"])
    component = Component(law=law, theta=theta, draws=theta[None])
    return Estimate(components=(component,), ranges={"x": (1e6, 1e8)}, **changes)


def test_interval_has_the_width_of_the_noise():
    prediction = _estimate(sigma=0.02).predict({"x": [1e7]})
    halfwidth = np.log(prediction.high / prediction.low)[0] / 2
    # 1.645 sd; 4000 draws fix a 5 % quantile to about 2 % of it.
    assert halfwidth == pytest.approx(1.645 * 0.02, rel=0.05)
    law_only = _estimate(sigma=0.02).predict({"x": [1e7]}, of="mean")
    assert law_only.low == pytest.approx(law_only.high)


def test_spread_grows_with_distance_only_outside():
    estimate = _estimate(sigma=0.001, spread=0.05, spread_distance=float(np.log(4)))
    widths = estimate.predict({"x": [1e7, 1e8, 4e8, 1.6e9]})
    halfwidth = np.log(widths.high / widths.low) / 2
    assert halfwidth[0] == pytest.approx(halfwidth[1])
    assert halfwidth[3] == pytest.approx(2 * halfwidth[2], rel=0.01)
    assert [p.code for p in widths.problems] == ["extrapolation"]
    assert estimate.predict({"x": [1e7]}).problems == ()


def test_mixture_weights_count():
    one, two = find_published("hoffmann").estimate.best, find_published("besiroglu").estimate.best
    mix = Estimate(
        components=(
            Component(law=one.law, theta=one.theta, draws=one.draws, weight=0.25),
            Component(law=two.law, theta=two.theta, draws=two.draws, weight=0.75),
        )
    )
    inputs = {"n_params": [1e9], "n_tokens": [2e10]}
    singles = [
        float(find_published(n).estimate.predict(inputs).mean[0]) for n in ("hoffmann", "besiroglu")
    ]
    expected = np.exp(0.25 * np.log(singles[0]) + 0.75 * np.log(singles[1]))
    prediction = mix.predict(inputs, of="mean")
    assert prediction.mean[0] == pytest.approx(expected)
    assert prediction.low[0] <= min(singles) * 1.001
    assert prediction.high[0] >= max(singles) * 0.999


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "'x' must be given"),
        ({"x": [1.0, -2.0]}, r"x=-2.0 in row 1"),
        ({"x": [np.nan]}, "row 0"),
        ({"x": []}, "non-empty"),
    ],
)
def test_bad_inputs_are_named(inputs, words):
    with pytest.raises(InputError, match=words):
        _estimate().predict(inputs)
