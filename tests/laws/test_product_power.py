"""The product of powers: Jacobian and units."""

import numpy as np

from isoflop.laws import product_power

LAW = product_power(("n_params", "n_tokens"), "lr")
THETA = np.array([1.79, -0.713, 0.307])
INPUTS = {"n_params": np.array([6e7, 1e9]), "n_tokens": np.array([2e9, 1e11])}


def test_product_power_jacobian_equals_complex_step():
    jacobian = LAW.jacobian(THETA, INPUTS)
    for i in range(3):
        shifted = THETA.astype(complex)
        shifted[i] += 1e-30j
        expected = LAW.predict(shifted, INPUTS).imag / 1e-30
        np.testing.assert_allclose(jacobian[:, i], expected, rtol=1e-12)


def test_product_power_in_other_units():
    scales = {"n_params": 1e6, "n_tokens": 1e9}
    scaled = {name: INPUTS[name] / scales[name] for name in LAW.inputs}
    other = LAW.predict(LAW.rescale(THETA, scales), scaled)
    np.testing.assert_allclose(other, LAW.predict(THETA, INPUTS), rtol=1e-12)
