"""Annealing laws of Tissue et al.: the loss falls by as much as the learning rate has fallen.

One size, `L = E + A/S1^alpha - C*S2`, and the extension to sizes that public ladder code uses.
S1 and S2 are `lr_sum` and `lr_drop` of `LrPath`. Use `annealed` first: a fall of the rate from 4 %
to zero gains more than one from 100 % to 96 %, which these two forms deny.
"""

from collections.abc import Mapping

import numpy as np

from isoflop._types import Array
from isoflop.laws._law import Inputs, Law, Param
from isoflop.laws._linear import AMPLITUDE, GRID, linear_starts

_E = Param(name="E", low=1e-3, high=1e3, unit="nats/token")
_C = Param(name="C", low=1e-200, high=1e200, unit="nats/token / (lr * tokens)")
_OF_SUM = "nats/token * (lr * tokens)^"


def _one(theta: Array, inputs: Inputs) -> Array:
    e, a, alpha, c = (theta[..., i, None] for i in range(4))
    return np.asarray(e + _power(a, alpha, inputs["lr_sum"]) - c * inputs["lr_drop"])


def _power(amplitude: Array, exponent: Array, x: Array) -> Array:
    return np.asarray(np.exp(np.log(amplitude) - exponent * np.log(x)))


def _one_jacobian(theta: Array, inputs: Inputs) -> Array:
    a, alpha = theta[..., 1, None], theta[..., 2, None]
    term = _power(a, alpha, inputs["lr_sum"])
    drop = np.broadcast_to(-inputs["lr_drop"], term.shape)
    columns = [np.ones_like(term), term / a, -term * np.log(inputs["lr_sum"]), drop]
    return np.stack(columns, axis=-1)


def _one_rescale(theta: Array, scales: Mapping[str, float]) -> Array:
    out = theta.copy()
    out[..., 1] *= scales["lr_sum"] ** -theta[..., 2]
    out[..., 3] *= scales["lr_drop"]
    return out


def _one_starts(inputs: Inputs, loss: Array) -> Array:
    return np.array(
        [
            [e, a, alpha, max(c, AMPLITUDE * loss.min() / max(inputs["lr_drop"].max(), 1e-300))]
            for alpha in GRID
            for e, a, c in [linear_starts([inputs["lr_sum"] ** -alpha, -inputs["lr_drop"]], loss)]
        ]
    )


TISSUE = Law(
    name="tissue",
    params=(
        _E,
        Param(name="A", low=1e-200, high=1e200, unit=_OF_SUM + "alpha"),
        Param(name="alpha", low=0.02, high=2.5),
        _C,
    ),
    inputs=("lr_sum", "lr_drop"),
    predict=_one,
    jacobian=_one_jacobian,
    rescale=_one_rescale,
    formula="L = E + A/S1^alpha - C*S2",
    source="Tissue et al. 2024, arXiv:2408.11029",
    range_note="One size. The gain is linear in the fall of the rate; the warm-up is left out.",
    starts=_one_starts,
    unscaled=("lr_drop",),
)


def _parts(theta: Array, inputs: Inputs) -> tuple[Array, Array, Array]:
    """A/N^alpha, B/S1^beta and C*S2*N^gamma, (..., R)."""
    _, a, alpha, b, beta, c, gamma = (theta[..., i, None] for i in range(7))
    gain = inputs["lr_drop"] * c * np.exp(gamma * np.log(inputs["n_params"]))
    return _power(a, alpha, inputs["n_params"]), _power(b, beta, inputs["lr_sum"]), gain


def _sizes(theta: Array, inputs: Inputs) -> Array:
    by_size, by_data, gain = _parts(theta, inputs)
    return np.asarray(theta[..., 0, None] + by_size + by_data - gain)


def _sizes_jacobian(theta: Array, inputs: Inputs) -> Array:
    by_size, by_data, gain = _parts(theta, inputs)
    log_n, log_s = np.log(inputs["n_params"]), np.log(inputs["lr_sum"])
    columns = [
        np.ones_like(by_size),
        by_size / theta[..., 1, None],
        -by_size * log_n,
        by_data / theta[..., 3, None],
        -by_data * log_s,
        -gain / theta[..., 5, None],
        -gain * log_n,
    ]
    return np.stack(columns, axis=-1)


def _sizes_rescale(theta: Array, scales: Mapping[str, float]) -> Array:
    out = theta.copy()
    out[..., 1] *= scales["n_params"] ** -theta[..., 2]
    out[..., 3] *= scales["lr_sum"] ** -theta[..., 4]
    out[..., 5] *= scales["lr_drop"] * scales["n_params"] ** theta[..., 6]
    return out


def _sizes_starts(inputs: Inputs, loss: Array) -> Array:
    least = AMPLITUDE * loss.min() / max(inputs["lr_drop"].max(), 1e-300)
    rows = []
    for alpha in GRID:
        for beta in GRID:
            columns = [inputs["n_params"] ** -alpha, inputs["lr_sum"] ** -beta, -inputs["lr_drop"]]
            e, a, b, c = linear_starts(columns, loss)
            rows.append([e, a, alpha, b, beta, max(c, least), 0.0])
    return np.array(rows)


TISSUE_SIZES = Law(
    name="tissue_sizes",
    params=(
        _E,
        Param(name="A", low=1e-200, high=1e200, unit="nats/token * parameters^alpha"),
        Param(name="alpha", low=0.02, high=2.5),
        Param(name="B", low=1e-200, high=1e200, unit=_OF_SUM + "beta"),
        Param(name="beta", low=0.02, high=2.5),
        _C,
        Param(name="gamma", low=-1.0, high=1.0, real=True),
    ),
    inputs=("n_params", "lr_sum", "lr_drop"),
    predict=_sizes,
    jacobian=_sizes_jacobian,
    rescale=_sizes_rescale,
    formula="L = E + A/N^alpha + B/S1^beta - C*S2*N^gamma",
    source="Tissue et al. 2024, arXiv:2408.11029; the power of N as in OLMo-ladder code",
    range_note="Size and data add; the gain is linear in the fall of the rate.",
    starts=_sizes_starts,
    unscaled=("lr_drop",),
)
