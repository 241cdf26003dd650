"""Farseer: floor, data term and data exponent all move with size.

Use it where both spans are wide and runs many (nine parameters, the paper fitted a thousand
models). Its parameters lie on a ridge: only predictions are identified.
"""

from collections.abc import Mapping

import numpy as np

from isoflop._types import Array
from isoflop.laws._law import Inputs, Law, Param

Part = tuple[Array, Array, Array]
"""`a N^g + b` (..., R), `N^g` and ln N."""


def _part(theta: Array, inputs: Inputs, first: int) -> Part:
    a, g, b = (theta[..., first + i, None] for i in range(3))
    log_n = np.log(inputs["n_params"])
    power = np.exp(g * log_n)
    return a * power + b, power, log_n


def _slopes(theta: Array, part: Part, first: int) -> list[Array]:
    """Derivatives of the part by its a, g and b."""
    _, power, log_n = part
    return [power, theta[..., first, None] * power * log_n, np.ones_like(power)]


def _predict(theta: Array, inputs: Inputs) -> Array:
    floor, height, exponent = (_part(theta, inputs, first)[0] for first in (0, 3, 6))
    return np.asarray(
        np.exp(floor) + np.exp(height - np.exp(exponent) * np.log(inputs["n_tokens"]))
    )


def _jacobian(theta: Array, inputs: Inputs) -> Array:
    floor, height, exponent = (_part(theta, inputs, first) for first in (0, 3, 6))
    fall = np.exp(exponent[0]) * np.log(inputs["n_tokens"])
    by_size, by_data = np.exp(floor[0]), np.exp(height[0] - fall)
    columns = [by_size * slope for slope in _slopes(theta, floor, 0)]
    columns += [by_data * slope for slope in _slopes(theta, height, 3)]
    columns += [-by_data * fall * slope for slope in _slopes(theta, exponent, 6)]
    return np.stack(columns, axis=-1)


def _rescale(theta: Array, scales: Mapping[str, float]) -> Array:
    assert scales["n_tokens"] == 1, scales
    out = theta.copy()
    for first in (0, 3, 6):
        out[..., first] *= scales["n_params"] ** theta[..., first + 1]
    return out


def _param(name: str, reach: float) -> Param:
    return Param(name=name, low=-reach, high=reach, real=True)


FARSEER = Law(
    name="farseer",
    # Wide bounds for what multiplies N^g, narrow ones for g: in the units of a fit N is near 1.
    params=tuple(
        _param(f"{letter}{number}", reach)
        for number in (3, 2, 1)
        for letter, reach in (("a", 50.0), ("g", 1.0), ("b", 50.0))
    ),
    inputs=("n_params", "n_tokens"),
    predict=_predict,
    jacobian=_jacobian,
    rescale=_rescale,
    formula="L = exp(a3 N^g3 + b3) + exp(a2 N^g2 + b2) D^-exp(a1 N^g1 + b1)",
    source="Farseer, arXiv:2506.10972 (g3, g2, g1 are its gamma, beta, alpha)",
    range_note="Nine parameters on a ridge: needs dozens of runs; its optimum has no closed form.",
    # The exponent of D moves with N, so no constant takes up another unit of D.
    unscaled=("n_tokens",),
)
