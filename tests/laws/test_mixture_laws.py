"""Mixture laws: Jacobians, units, gauges, zero shares."""

import numpy as np
import pytest

from isoflop._errors import InputError
from isoflop.laws import additive_mixture, bimix, exponential_mixing, joint_mixture

DOMAINS = ("web", "code", "books")
LAWS = (
    exponential_mixing(DOMAINS),
    bimix("code"),
    additive_mixture(DOMAINS),
    joint_mixture(DOMAINS),
)
THETA = {
    "exponential_mixing[3]": [1.5, 0.4, -2.0, 0.9],
    "bimix[code]": [0.1, 60.0, 0.3, 1.4],
    "additive_mixture[3]": [1.2, 60.0, 0.3, 900.0, 0.4, 1.0, 3.0, 0.5, 0.6, 0.4, 1.1],
    "joint_mixture[3]": [
        *[1.2, 0.3, 0.5, 0.4, 0.7],
        *[900.0, 400.0, 2500.0, 9000.0, 4000.0, 250.0],
        *[1.0, 3.0, 0.5, 0.6, 0.4, 1.1],
    ],
}


def _inputs(seed=0, rows=7):
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(3), rows)
    columns = {f"w_{domain}": shares[:, i] for i, domain in enumerate(DOMAINS)}
    return {
        **columns,
        "n_params": 10 ** rng.uniform(5, 8, rows),
        "n_tokens": 10 ** rng.uniform(7, 10, rows),
    }


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_mixture_jacobian_equals_complex_step(law):
    theta, inputs = np.array(THETA[law.name]), _inputs()
    jacobian = law.jacobian(theta, inputs)
    assert jacobian.shape == (7, len(law.params))
    for i in range(theta.size):
        step = 1e-30 * abs(theta[i])
        shifted = theta.astype(complex)
        shifted[i] += 1j * step
        expected = law.predict(shifted, inputs).imag / step
        np.testing.assert_allclose(jacobian[:, i], expected, rtol=1e-10)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_mixture_laws_keep_leading_axes_and_units(law):
    theta, inputs = np.array(THETA[law.name]), _inputs()
    many = np.tile(theta, (3, 2, 1))
    values = law.predict(many, inputs)
    assert values.shape == (3, 2, 7)
    np.testing.assert_allclose(values[2, 1], law.predict(theta, inputs), rtol=1e-14)
    scales = {name: 1.0 if name.startswith("w_") else 1e4 for name in law.inputs}
    scaled = {name: inputs[name] / scales[name] for name in law.inputs}
    np.testing.assert_allclose(
        law.predict(law.rescale(theta, scales), scaled), law.predict(theta, inputs), rtol=1e-12
    )


@pytest.mark.parametrize("law", [LAWS[0], LAWS[2], LAWS[3]], ids=lambda law: law.name)
def test_a_share_may_be_zero(law):
    inputs = {**_inputs(rows=1), "w_web": np.zeros(1), "w_code": np.ones(1), "w_books": np.zeros(1)}
    theta = np.array(THETA[law.name])
    assert np.isfinite(law.predict(theta, inputs)).all()
    assert np.isfinite(law.jacobian(theta, inputs)).all()


def test_gauge_of_the_exponential_law():
    # c + k exp(t w) with any k is the same law as long as shares add up to one.
    law, inputs, k = exponential_mixing(DOMAINS), _inputs(), 0.37
    e, *t = THETA[law.name]
    total = sum(slope * inputs[name] for slope, name in zip(t, law.inputs, strict=True))
    gauged = np.array([e, *(np.array(t) + np.log(k))])
    np.testing.assert_allclose(law.predict(gauged, inputs), e + k * np.exp(total))
    alone = {name: np.array([float(name == "w_code")]) for name in law.inputs}
    assert law.predict(np.array([e, *t]), alone)[0] == pytest.approx(e + np.exp(t[1]))


def test_joint_law_with_equal_amplitudes_is_the_additive_one():
    theta = np.array(THETA["additive_mixture[3]"])
    e, a, alpha, b, beta = theta[:5]
    joint = np.array([e, alpha, 0.5, beta, 2.0, *[a**2] * 3, *[b**0.5] * 3, *theta[5:]])
    np.testing.assert_allclose(
        LAWS[3].predict(joint, _inputs()), LAWS[2].predict(theta, _inputs()), rtol=1e-12
    )


@pytest.mark.parametrize("domains", [("web",), ("web", "web"), ()])
def test_domains_must_be_several_and_different(domains):
    with pytest.raises(InputError, match="at least two different"):
        exponential_mixing(domains)
