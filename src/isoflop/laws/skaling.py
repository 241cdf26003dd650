"""The coupled law of size and tokens: Chinchilla's two terms joined by a p-norm.

`k = 1` is the additive law; below it, what a larger model gains grows with its data, as measured
ladders show (0.77 on the Chinchilla points, and the same on our own). Use it where both sizes and
horizons span a factor of four; with less, `k` is not identified.
"""

from collections.abc import Mapping

import numpy as np

from isoflop._types import Array
from isoflop.laws._law import Inputs, Law, Param


def _parts(theta: Array, inputs: Inputs) -> tuple[Array, Array, Array, Array]:
    """log of both terms over k (..., R), the log of their sum, and k (..., 1)."""
    _, a, alpha, b, beta, k = (theta[..., i, None] for i in range(6))
    by_size = (np.log(a) - alpha * np.log(inputs["n_params"])) / k
    by_data = (np.log(b) - beta * np.log(inputs["n_tokens"])) / k
    # log(e^x + e^y) by hand: np.logaddexp takes no complex numbers (complex-step check).
    top = np.maximum(by_size.real, by_data.real)
    total = top + np.log(np.exp(by_size - top) + np.exp(by_data - top))
    return by_size, by_data, total, k


def _predict(theta: Array, inputs: Inputs) -> Array:
    _, _, total, k = _parts(theta, inputs)
    return np.asarray(theta[..., 0, None] + np.exp(k * total))


def _jacobian(theta: Array, inputs: Inputs) -> Array:
    by_size, by_data, total, k = _parts(theta, inputs)
    a, b = theta[..., 1, None], theta[..., 3, None]
    reducible = np.exp(k * total)
    share_n, share_d = np.exp(by_size - total), np.exp(by_data - total)
    columns = [
        share_n / a,
        -share_n * np.log(inputs["n_params"]),
        share_d / b,
        -share_d * np.log(inputs["n_tokens"]),
        total - share_n * by_size - share_d * by_data,
    ]
    slope = reducible[..., None] * np.stack(columns, axis=-1)
    return np.concatenate([np.ones_like(slope[..., :1]), slope], axis=-1)


def _rescale(theta: Array, scales: Mapping[str, float]) -> Array:
    out = theta.copy()
    out[..., 1] *= scales["n_params"] ** -theta[..., 2]
    out[..., 3] *= scales["n_tokens"] ** -theta[..., 4]
    return out


SKALING = Law(
    name="skaling",
    params=(
        Param(name="E", low=1e-3, high=1e3, unit="nats/token"),
        Param(name="A", low=1e-200, high=1e200, unit="nats/token * parameters^alpha"),
        Param(name="alpha", low=0.02, high=2.5),
        Param(name="B", low=1e-200, high=1e200, unit="nats/token * tokens^beta"),
        Param(name="beta", low=0.02, high=2.5),
        Param(name="k", low=0.2, high=2.0),
    ),
    inputs=("n_params", "n_tokens"),
    predict=_predict,
    jacobian=_jacobian,
    rescale=_rescale,
    formula="L = E + ((A/N^alpha)^(1/k) + (B/D^beta)^(1/k))^k",
    source="Skaling, arXiv:2608.07222",
    range_note="One exponent more than the additive law: few sizes or horizons leave k open.",
)
