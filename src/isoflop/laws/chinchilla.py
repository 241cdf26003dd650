"""The additive law of size and tokens, `L = E + A/N^alpha + B/D^beta`, free and tied.

Use the free form by default; the tied one (alpha = beta) where few runs cannot tell the two
exponents apart.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from isoflop._types import Array
from isoflop.laws._law import Inputs, Law, Param, Term

_E = Param(name="E", low=1e-3, high=1e3, unit="nats/token")
_A = Param(name="A", low=1e-200, high=1e200, unit="nats/token * parameters^alpha")
_B = Param(name="B", low=1e-200, high=1e200, unit="nats/token * tokens^beta")
_ALPHA = Param(name="alpha", low=0.02, high=2.5)
_BETA = Param(name="beta", low=0.02, high=2.5)


def _terms(theta: Array, inputs: Inputs) -> tuple[Array, Array, Array, Array]:
    """A/N^alpha and B/D^beta (..., R), and the logs of N and D (R,)."""
    _, a, alpha, b, beta = (theta[..., i, None] for i in range(5))
    log_n, log_d = np.log(inputs["n_params"]), np.log(inputs["n_tokens"])
    return np.exp(np.log(a) - alpha * log_n), np.exp(np.log(b) - beta * log_d), log_n, log_d


def _free(theta: Array, inputs: Inputs) -> Array:
    by_size, by_data, _, _ = _terms(theta, inputs)
    return theta[..., 0, None] + by_size + by_data


def _free_jacobian(theta: Array, inputs: Inputs) -> Array:
    by_size, by_data, log_n, log_d = _terms(theta, inputs)
    a, b = theta[..., 1, None], theta[..., 3, None]
    columns = [
        np.ones_like(by_size),
        by_size / a,
        -by_size * log_n,
        by_data / b,
        -by_data * log_d,
    ]
    return np.stack(columns, axis=-1)


def _untie(theta: Array) -> Array:
    return np.concatenate([theta, theta[..., 2:3]], axis=-1)


def _tied(theta: Array, inputs: Inputs) -> Array:
    return _free(_untie(theta), inputs)


def _tied_jacobian(theta: Array, inputs: Inputs) -> Array:
    free = _free_jacobian(_untie(theta), inputs)
    both = free[..., 2] + free[..., 4]
    return np.stack([free[..., 0], free[..., 1], both, free[..., 3]], axis=-1)


def _rescale_free(theta: Array, scales: Mapping[str, float]) -> Array:
    out = theta.copy()
    out[..., 1] *= scales["n_params"] ** -theta[..., 2]
    out[..., 3] *= scales["n_tokens"] ** -theta[..., 4]
    return out


def _rescale_tied(theta: Array, scales: Mapping[str, float]) -> Array:
    return _rescale_free(_untie(theta), scales)[..., :4]


CHINCHILLA = Law(
    name="chinchilla",
    params=(_E, _A, _ALPHA, _B, _BETA),
    inputs=("n_params", "n_tokens"),
    predict=_free,
    jacobian=_free_jacobian,
    rescale=_rescale_free,
    formula="L = E + A/N^alpha + B/D^beta",
    source="Hoffmann et al. 2022, arXiv:2203.15556, eq. 2",
    range_note="Breaks under extreme over-training (D/N > 100) and at D/N < 0.4.",
    terms=(
        Term(amplitude=1, exponent=2, input="n_params"),
        Term(amplitude=3, exponent=4, input="n_tokens"),
    ),
)

CHINCHILLA_TIED = Law(
    name="chinchilla_tied",
    params=(_E, _A, _ALPHA, replace(_B, unit="nats/token * tokens^alpha")),
    inputs=("n_params", "n_tokens"),
    predict=_tied,
    jacobian=_tied_jacobian,
    rescale=_rescale_tied,
    formula="L = E + A/N^alpha + B/D^alpha",
    source="Gadre et al. 2024, arXiv:2403.08540, eq. 4 (alpha = 2 eta)",
    range_note="Assumes that size and data are worth the same: N_opt ~ C^0.5 by construction.",
    terms=(
        Term(amplitude=1, exponent=2, input="n_params"),
        Term(amplitude=3, exponent=2, input="n_tokens"),
    ),
)
