"""The law of repeated data: tokens seen again, and parameters beyond the optimum, are worth less.

Use it where some runs see their data more than once and others do not: without both kinds, `R_D`
is not identified. Not for allocation by formula: the optimum has no closed form.
"""

from collections.abc import Mapping
from itertools import product

import numpy as np

from isoflop._types import Array
from isoflop.laws._law import Inputs, Law, Param

EXPONENTS = (0.12, 0.2, 0.3, 0.4, 0.55, 0.8)
HALF_LIVES = tuple(product((3.0, 15.0, 60.0), (1.5, 5.0, 20.0)))
"""Starts of (R_D, R_N)."""


def _worth(count: Array, unique: Array, scale: Array) -> tuple[Array, Array, Array]:
    """What `count` is worth (..., R): u + u R (1 - exp(-r/R)), r = count/u - 1; the exp; r."""
    extra = (count - unique) / unique
    decay = np.exp(-extra / scale)
    return unique * (1 + scale * (1 - decay)), decay, extra


def _useful_size(theta: Array, inputs: Inputs) -> Array:
    """U_N (..., R): the size up to which a parameter is worth a parameter.

    The smaller of N and the optimum for the unique tokens, G^2 U_D with G^2 = (A/B)^(1/alpha).
    """
    _, a, alpha, b = (theta[..., i, None] for i in range(4))
    optimal = np.exp((np.log(a) - np.log(b)) / alpha) * _unique(inputs)
    n_params = inputs["n_params"]
    # Not np.minimum: of complex numbers (the check of the Jacobian) only the real part counts.
    return np.asarray(np.where(optimal.real < n_params, optimal, n_params))


def _unique(inputs: Inputs) -> Array:
    """U_D (R,): no more tokens are unique than are seen; left out, all are."""
    n_tokens = inputs["n_tokens"]
    return np.asarray(np.minimum(n_tokens, inputs.get("n_unique_tokens", n_tokens)))


def _predict(theta: Array, inputs: Inputs) -> Array:
    e, a, alpha, b, r_d, r_n = (theta[..., i, None] for i in range(6))
    tokens, _, _ = _worth(inputs["n_tokens"], _unique(inputs), r_d)
    size, _, _ = _worth(inputs["n_params"], _useful_size(theta, inputs), r_n)
    by_size = np.exp(np.log(a) - alpha * np.log(size))
    return np.asarray(e + by_size + np.exp(np.log(b) - alpha * np.log(tokens)))


def _jacobian(theta: Array, inputs: Inputs) -> Array:
    _, a, alpha, b, r_d, r_n = (theta[..., i, None] for i in range(6))
    unique, useful = _unique(inputs), _useful_size(theta, inputs)
    tokens, decay_d, extra_d = _worth(inputs["n_tokens"], unique, r_d)
    size, decay_n, extra_n = _worth(inputs["n_params"], useful, r_n)
    by_size = np.exp(np.log(a) - alpha * np.log(size))
    by_data = np.exp(np.log(b) - alpha * np.log(tokens))
    # d by_size / d log U_N; zero of itself where U_N = N.
    pull = -alpha * by_size / size * useful * (1 + r_n * (1 - decay_n) - decay_n * (1 + extra_n))
    slope_d = unique * (1 - decay_d * (1 + extra_d / r_d))
    slope_n = useful * (1 - decay_n * (1 + extra_n / r_n))
    columns = [
        np.ones_like(by_size),
        (by_size + pull / alpha) / a,
        -by_size * np.log(size)
        - by_data * np.log(tokens)
        - pull * (np.log(a) - np.log(b)) / alpha**2,
        (by_data - pull / alpha) / b,
        -alpha * by_data / tokens * slope_d,
        -alpha * by_size / size * slope_n,
    ]
    return np.stack(columns, axis=-1)


def _rescale(theta: Array, scales: Mapping[str, float]) -> Array:
    assert scales["n_tokens"] == scales["n_unique_tokens"], scales
    out = theta.copy()
    out[..., 1] *= scales["n_params"] ** -theta[..., 2]
    out[..., 3] *= scales["n_tokens"] ** -theta[..., 2]
    return out


def _starts(inputs: Inputs, loss: Array) -> Array:
    """Floor and amplitudes by least squares for every exponent and pair of half-lives.

    Only for the starts every parameter counts in full, which makes the law linear.
    """
    unique = _unique(inputs)
    starts = []
    for alpha, (r_d, r_n) in product(EXPONENTS, HALF_LIVES):
        tokens = _worth(inputs["n_tokens"], unique, np.asarray(r_d))[0]
        columns = np.stack([np.ones_like(loss), inputs["n_params"] ** -alpha, tokens**-alpha])
        found, *_ = np.linalg.lstsq((columns / loss).T, np.ones_like(loss), rcond=None)
        e, a, b = np.maximum(found, 0.05 * loss.min())
        starts.append([min(e, 0.95 * loss.min()), a, alpha, b, r_d, r_n])
    return np.array(starts)


REPEATED = Law(
    name="repeated",
    params=(
        Param(name="E", low=1e-3, high=1e3, unit="nats/token"),
        Param(name="A", low=1e-200, high=1e200, unit="nats/token * parameters^alpha"),
        Param(name="alpha", low=0.02, high=2.5),
        Param(name="B", low=1e-200, high=1e200, unit="nats/token * tokens^alpha"),
        Param(name="R_D", low=1e-2, high=1e4, unit="repeats"),
        Param(name="R_N", low=1e-2, high=1e4, unit="multiples of the useful size"),
    ),
    inputs=("n_params", "n_tokens", "n_unique_tokens"),
    predict=_predict,
    jacobian=_jacobian,
    rescale=_rescale,
    formula="L = E + A/N'^alpha + B/D'^alpha, D' = U_D + U_D R_D (1 - exp(-(D/U_D - 1)/R_D)), "
    "N' the same with R_N above U_N = min(N, (A/B)^(1/alpha) U_D); U_D = D where left out",
    source="Muennighoff et al. 2023, arXiv:2305.16264, eq. 5 and released code",
    range_note="Without repeats it is the tied law: R_D needs runs of several epochs, R_N runs "
    "larger than their unique data can use.",
    starts=_starts,
    same_unit=("n_tokens", "n_unique_tokens"),
    optional=("n_unique_tokens",),
)
