"""Laws of one variable that flatten: M3 at the late end only, M4 at both ends.

Use when a curve starts from a plateau (a guess, an untrained model) or ends on one. M1 and M2 of
the same paper are `power` and `power_floor`.
"""

from collections.abc import Mapping
from itertools import product

import numpy as np

from isoflop._types import Array
from isoflop.laws._law import Inputs, Law, Param, softplus

_FLOORS = (0.0, 0.5, 0.8, 0.95, 0.995)
"""Shares of the lowest loss that starts take as the floor."""

_TOPS = (1.01, 1.1, 1.5, 4.0)
"""Multiples of the highest loss that starts of M4 take as the early plateau."""

_SHARPNESS = (0.3, 1.0, 3.0)
_BENDS = np.geomspace(1e-4, 1e2, 13)
"""Starts of M3's gamma, in units of one over the typical x."""

_NEWTON = 60
"""Newton's steps at most: each one lands on the same side of the root, a few digits nearer."""


def _m3(theta: Array, inputs: Inputs) -> Array:
    beta, gamma, c = (theta[..., i, None] for i in range(3))
    return np.asarray(np.exp(np.log(beta) + c * np.log(1 / inputs["x"] + gamma)))


def _m3_jacobian(theta: Array, inputs: Inputs) -> Array:
    beta, gamma, c = (theta[..., i, None] for i in range(3))
    inner = 1 / inputs["x"] + gamma
    value = _m3(theta, inputs)
    return np.stack([value / beta, value * c / inner, value * np.log(inner)], axis=-1)


def _rescale_m3(theta: Array, scales: Mapping[str, float]) -> Array:
    out = theta.copy()
    out[..., 0] *= scales["x"] ** -theta[..., 2]
    out[..., 1] *= scales["x"]
    return out


def _m3_starts(inputs: Inputs, loss: Array) -> Array:
    """The other two are linear in logs for every gamma."""
    rows = []
    for gamma in _BENDS:
        c, intercept = np.polyfit(np.log(1 / inputs["x"] + gamma), np.log(loss), 1)
        rows.append([np.exp(intercept), gamma, max(c, 0.01)])
    return np.array(rows)


def _unsaturated(t: Array, kappa: Array) -> Array:
    """The root v of `log s - kappa log(1 - s) = t`, s = 1/(1 + exp(-v)), by Newton's steps.

    The left side is monotone in v and bends one way: Newton's steps cannot miss.
    """
    v = np.where(t.real < 0, t.real, t.real / kappa.real)
    for _ in range(_NEWTON):
        step = _newton(v, t.real, kappa.real)
        v = v - step
        if not np.any(np.abs(step) > 1e-9 * (1 + np.abs(v))):
            break
    # From the root of the real part one more step carries t's and kappa's own digits over.
    return np.asarray(v - _newton(v, t, kappa))


def _newton(v: Array, t: Array, kappa: Array) -> Array:
    rise = 1 / (1 + np.exp(-np.clip(v, -700, 700)))
    off = kappa * softplus(v) - softplus(-v) - t
    return np.asarray(off / ((1 - rise) + kappa * rise))


def _m4_parts(theta: Array, inputs: Inputs) -> tuple[Array, Array, Array]:
    """u, 1 - u and log(x0/x), each (..., R)."""
    _, _, kappa, x0, c = (theta[..., i, None] for i in range(5))
    ratio = np.log(x0) - np.log(inputs["x"])
    with np.errstate(all="ignore"):
        v = _unsaturated(c * ratio, kappa)
        return np.exp(-softplus(-v)), np.exp(-softplus(v)), ratio


def _m4(theta: Array, inputs: Inputs) -> Array:
    return np.asarray(theta[..., 0, None] + theta[..., 1, None] * _m4_parts(theta, inputs)[0])


def _m4_jacobian(theta: Array, inputs: Inputs) -> Array:
    _, span, kappa, x0, c = (theta[..., i, None] for i in range(5))
    u, rest, ratio = _m4_parts(theta, inputs)
    # d u / d t of log u - kappa log(1 - u) = t = c log(x0/x), times S.
    slope = span * u * rest / (rest + kappa * u)
    columns = [np.ones_like(u), u, slope * np.log(rest), slope * c / x0, slope * ratio]
    return np.stack(columns, axis=-1)


def _rescale_m4(theta: Array, scales: Mapping[str, float]) -> Array:
    return np.asarray(theta * np.array([1.0, 1.0, 1.0, 1 / scales["x"], 1.0]))


def _m4_starts(inputs: Inputs, loss: Array) -> Array:
    """For every floor, plateau and sharpness, x0 and c are linear in logs."""
    rows = []
    for floor, top, kappa in product(_FLOORS, _TOPS, _SHARPNESS):
        low, high = floor * loss.min(), top * loss.max()
        u = (loss - low) / (high - low)
        slope, intercept = np.polyfit(np.log(inputs["x"]), np.log(u) - kappa * np.log(1 - u), 1)
        c = max(-slope, 0.02)
        x0 = np.exp(np.clip(intercept / c, -100, 100))
        rows.append([max(low, 1e-3 * loss.min()), high - low, kappa, x0, c])
    return np.array(rows)


M3 = Law(
    name="m3",
    params=(
        Param(name="beta", low=1e-200, high=1e200, unit="nats/token * (unit of x)^c"),
        Param(name="gamma", low=1e-9, high=1e9, unit="1/(unit of x)"),
        Param(name="c", low=0.005, high=10.0),
    ),
    inputs=("x",),
    predict=_m3,
    jacobian=_m3_jacobian,
    rescale=_rescale_m3,
    formula="L = beta (1/x + gamma)^c",
    source="Alabdulmohsin et al. 2022, arXiv:2209.06640, M3",
    range_note="Its floor is beta gamma^c, reached faster than by a power above a floor.",
    starts=_m3_starts,
)

M4 = Law(
    name="m4",
    params=(
        Param(name="E", low=1e-3, high=1e3, unit="nats/token"),
        Param(name="S", low=1e-6, high=1e6, unit="nats/token"),
        Param(name="kappa", low=0.01, high=100.0),
        Param(name="x0", low=1e-300, high=1e300, unit="unit of x"),
        Param(name="c", low=0.005, high=10.0),
    ),
    inputs=("x",),
    predict=_m4,
    jacobian=_m4_jacobian,
    rescale=_rescale_m4,
    formula="L = E + S u, u/(1 - u)^kappa = (x0/x)^c",
    source="Alabdulmohsin et al. 2022, arXiv:2209.06640, M4: eps_inf = E, eps_0 = E + S, "
    "alpha = kappa, beta = x0^c S^(1-kappa)",
    range_note="The early plateau E + S is open where the curve does not start on it.",
    starts=_m4_starts,
)
