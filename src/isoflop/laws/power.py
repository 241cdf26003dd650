"""Laws of one variable: a pure power and a power above a floor.

Use when only one thing varies (compute on the frontier, tokens of one size). Not for allocation.
"""

from collections.abc import Mapping

import numpy as np

from isoflop._types import Array
from isoflop.laws._law import Inputs, Law, Param

_X0 = Param(name="x0", low=1e-300, high=1e300, unit="unit of x")
_ALPHA = Param(name="alpha", low=0.005, high=3.0)


def _power(theta: Array, inputs: Inputs) -> Array:
    x0, alpha = (theta[..., i, None] for i in range(2))
    return np.asarray(np.exp(alpha * (np.log(x0) - np.log(inputs["x"]))))


def _power_jacobian(theta: Array, inputs: Inputs) -> Array:
    x0, alpha = (theta[..., i, None] for i in range(2))
    ratio = np.log(x0) - np.log(inputs["x"])
    value = np.exp(alpha * ratio)
    return np.stack([value * alpha / x0, value * ratio], axis=-1)


def _floor(theta: Array, inputs: Inputs) -> Array:
    return theta[..., 0, None] + _power(theta[..., 1:], inputs)


def _floor_jacobian(theta: Array, inputs: Inputs) -> Array:
    slope = _power_jacobian(theta[..., 1:], inputs)
    return np.concatenate([np.ones_like(slope[..., :1]), slope], axis=-1)


def _rescale_power(theta: Array, scales: Mapping[str, float]) -> Array:
    return np.asarray(theta * np.array([1 / scales["x"], 1.0]))


def _rescale_floor(theta: Array, scales: Mapping[str, float]) -> Array:
    return np.asarray(theta * np.array([1.0, 1 / scales["x"], 1.0]))


POWER = Law(
    name="power",
    params=(_X0, _ALPHA),
    inputs=("x",),
    predict=_power,
    jacobian=_power_jacobian,
    rescale=_rescale_power,
    formula="L = (x0/x)^alpha",
    source="Kaplan et al. 2020, arXiv:2001.08361, eq. 1.1-1.3",
    range_note="No floor: too optimistic once the loss nears the entropy of the text.",
)

POWER_FLOOR = Law(
    name="power_floor",
    params=(Param(name="E", low=1e-3, high=1e3, unit="nats/token"), _X0, _ALPHA),
    inputs=("x",),
    predict=_floor,
    jacobian=_floor_jacobian,
    rescale=_rescale_floor,
    formula="L = E + (x0/x)^alpha",
    source="Henighan et al. 2020, arXiv:2010.14701, eq. 1.1",
    range_note="E is identified only where the curve bends in log-log.",
)
