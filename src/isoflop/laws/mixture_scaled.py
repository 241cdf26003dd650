"""Optimal-mixture laws of shares, size and tokens: additive and joint; see `mixture`."""

from collections.abc import Mapping
from functools import partial
from itertools import product

import numpy as np

from isoflop._types import Array
from isoflop.laws._law import Inputs, Law, Param
from isoflop.laws.mixture import share_names

_E = Param(name="E", low=1e-3, high=1e3, unit="nats/token")
_LOWEST, _HIGHEST = 0.02, 2.5
"""Range of the exponents of size and tokens."""

_GRID = (0.1, 0.25, 0.45, 0.8)
"""Exponents of size and tokens that starts are made at."""
_BLOCKS = ((1, 2, "n_params"), (3, 4, "n_tokens"))
"""Joint law: where theta has the exponent and the power of each scale term, and its column."""
_CURVES = (0.3, 1.0)
"""Exponents of the shares that starts are made at."""


def additive_mixture(domains: tuple[str, ...]) -> Law:
    """`L = E + 1/(sum_i C_i w_i^gamma_i) + A/N^alpha + B/D^beta`: shares and scale add up.

    Raises:
        InputError: fewer than two domains, or one named twice.

    Source: Shukor et al. 2025, arXiv:2507.09404, additive law.
    """
    names = share_names(domains)
    first = 5

    def predict(theta: Array, inputs: Inputs) -> Array:
        e, a, alpha, b, beta = (theta[..., i, None] for i in range(5))
        scale = a * inputs["n_params"] ** -alpha + b * inputs["n_tokens"] ** -beta
        return np.asarray(e + scale + 1 / _value(theta, inputs, names, first)[0])

    def jacobian(theta: Array, inputs: Inputs) -> Array:
        _, a, alpha, b, beta = (theta[..., i, None] for i in range(5))
        by_size, by_data = inputs["n_params"] ** -alpha, inputs["n_tokens"] ** -beta
        columns = [
            np.ones_like(by_size),
            by_size,
            -a * by_size * np.log(inputs["n_params"]),
            by_data,
            -b * by_data * np.log(inputs["n_tokens"]),
            *_bias_slopes(theta, inputs, names, first),
        ]
        return np.stack(columns, axis=-1)

    return Law(
        name=f"additive_mixture[{len(domains)}]",
        params=(
            _E,
            Param(name="A", low=1e-200, high=1e200, unit="nats/token * parameters^alpha"),
            Param(name="alpha", low=_LOWEST, high=_HIGHEST),
            Param(name="B", low=1e-200, high=1e200, unit="nats/token * tokens^beta"),
            Param(name="beta", low=_LOWEST, high=_HIGHEST),
            *_bias_params(domains),
        ),
        inputs=("n_params", "n_tokens", *names),
        predict=predict,
        jacobian=jacobian,
        rescale=_rescale_additive,
        formula="L = E + 1/(sum_i C_i w_i^gamma_i) + A/N^alpha + B/D^beta",
        source="Shukor et al. 2025, arXiv:2507.09404, additive law",
        range_note="The best shares are the same at every scale by construction.",
        starts=partial(_additive_starts, names),
    )


def joint_mixture(domains: tuple[str, ...]) -> Law:
    """`L = E + 1/(sum_i C_i w_i^gamma_i) + A(w)/N^alpha + B(w)/D^beta`: best shares move.

    `A(w) = (sum_i CA_i w_i)^gamma_A`, `B(w) = (sum_i CB_i w_i)^gamma_B`.

    Raises:
        InputError: fewer than two domains, or one named twice.

    Source: Shukor et al. 2025, arXiv:2507.09404, joint law.
    """
    names = share_names(domains)
    count = len(names)
    bias = 5 + 2 * count

    def predict(theta: Array, inputs: Inputs) -> Array:
        (_, by_size), (_, by_data) = _scale_terms(theta, inputs, names)
        total = theta[..., 0, None] + by_size + by_data
        return np.asarray(total + 1 / _value(theta, inputs, names, bias)[0])

    def jacobian(theta: Array, inputs: Inputs) -> Array:
        (inner_n, by_size), (inner_d, by_data) = _scale_terms(theta, inputs, names)
        gamma_a, gamma_b = theta[..., 2, None], theta[..., 4, None]
        columns = [
            np.ones_like(by_size),
            -by_size * np.log(inputs["n_params"]),
            by_size * np.log(inner_n),
            -by_data * np.log(inputs["n_tokens"]),
            by_data * np.log(inner_d),
            *(by_size * gamma_a / inner_n * inputs[name] for name in names),
            *(by_data * gamma_b / inner_d * inputs[name] for name in names),
            *_bias_slopes(theta, inputs, names, bias),
        ]
        return np.stack(columns, axis=-1)

    return Law(
        name=f"joint_mixture[{count}]",
        params=_joint_params(domains),
        inputs=("n_params", "n_tokens", *names),
        predict=predict,
        jacobian=jacobian,
        rescale=partial(_rescale_joint, count),
        formula="L = E + 1/(sum_i C_i w_i^gamma_i) + A(w)/N^alpha + B(w)/D^beta",
        source="Shukor et al. 2025, arXiv:2507.09404, joint law",
        range_note="5 + 4 M parameters for M domains: needs mixtures at several sizes.",
        starts=partial(_joint_starts, names),
    )


def _scale_terms(theta: Array, inputs: Inputs, names: tuple[str, ...]) -> list[tuple[Array, Array]]:
    """Of the joint law: the linear mixture and the whole term, for size and for tokens."""
    found = []
    for block, (exponent, power, column) in enumerate(_BLOCKS):
        start = 5 + block * len(names)
        parts = (theta[..., start + i, None] * inputs[name] for i, name in enumerate(names))
        inner = np.asarray(sum(parts))
        by_scale = inputs[column] ** -theta[..., exponent, None]
        found.append((inner, by_scale * inner ** theta[..., power, None]))
    return found


def _rescale_additive(theta: Array, scales: Mapping[str, float]) -> Array:
    out = theta.copy()
    out[..., 1] *= scales["n_params"] ** -theta[..., 2]
    out[..., 3] *= scales["n_tokens"] ** -theta[..., 4]
    return out


def _rescale_joint(count: int, theta: Array, scales: Mapping[str, float]) -> Array:
    out = theta.copy()
    for block, (exponent, power, column) in enumerate(_BLOCKS):
        start = 5 + block * count
        factor = scales[column] ** (-theta[..., exponent] / theta[..., power])
        out[..., start : start + count] *= factor[..., None]
    return out


def _joint_starts(names: tuple[str, ...], inputs: Inputs, loss: Array) -> Array:
    count = len(names)
    rows = []
    for e, a, alpha, b, beta, *rest in _additive_starts(names, inputs, loss):
        # The additive law is the joint one with equal CA_i and equal CB_i.
        rows.append([e, alpha, 0.5, beta, 0.5, *[a**2] * count, *[b**2] * count, *rest])
    return np.array(rows)


def _joint_params(domains: tuple[str, ...]) -> tuple[Param, ...]:
    return (
        _E,
        Param(name="alpha", low=_LOWEST, high=_HIGHEST),
        Param(name="gamma_A", low=0.02, high=10.0),
        Param(name="beta", low=_LOWEST, high=_HIGHEST),
        Param(name="gamma_B", low=0.02, high=10.0),
        *(Param(name=f"CA_{d}", low=1e-250, high=1e250) for d in domains),
        *(Param(name=f"CB_{d}", low=1e-250, high=1e250) for d in domains),
        *_bias_params(domains),
    )


def _bias_params(domains: tuple[str, ...]) -> tuple[Param, ...]:
    amplitudes = (Param(name=f"C_{d}", low=1e-6, high=1e6, unit="token/nat") for d in domains)
    return (*amplitudes, *(Param(name=f"gamma_{d}", low=0.01, high=5.0) for d in domains))


def _value(
    theta: Array, inputs: Inputs, names: tuple[str, ...], first: int
) -> tuple[Array, list[Array]]:
    """`sum_i C_i w_i^gamma_i` (..., R) and its powers; 0^gamma is 0."""
    count = len(names)
    powers = []
    for i, name in enumerate(names):
        share = inputs[name]
        log_share = np.log(np.where(share > 0, share, 1.0))
        power = np.exp(theta[..., first + count + i, None] * log_share)
        powers.append(np.where(share > 0, power, 0.0))
    total = sum(theta[..., first + i, None] * power for i, power in enumerate(powers))
    return np.asarray(total), powers


def _bias_slopes(theta: Array, inputs: Inputs, names: tuple[str, ...], first: int) -> list[Array]:
    """Derivatives of `1/sum_i C_i w_i^gamma_i` by every C_i, then by every gamma_i."""
    total, powers = _value(theta, inputs, names, first)
    by_gamma = []
    for i, (name, power) in enumerate(zip(names, powers, strict=True)):
        log_share = np.log(np.where(inputs[name] > 0, inputs[name], 1.0))
        by_gamma.append(-theta[..., first + i, None] * power * log_share / total**2)
    return [*(-power / total**2 for power in powers), *by_gamma]


def _additive_starts(names: tuple[str, ...], inputs: Inputs, loss: Array) -> Array:
    """Exponents from a grid, domains alike or one ten times the others; amplitudes linear."""
    count = len(names)
    shares = np.stack([inputs[name] for name in names], axis=1)
    ones = np.ones(count)
    patterns = [ones, *(ones + 9 * np.eye(count)[i] for i in range(count))]
    floor = 0.05 * float(loss.min())
    rows = []
    for alpha, beta, gamma, pattern in product(_GRID, _GRID, _CURVES, patterns):
        bias = 1 / (shares**gamma @ pattern)
        by_size, by_data = inputs["n_params"] ** -alpha, inputs["n_tokens"] ** -beta
        basis = np.stack([np.ones_like(loss), bias, by_size, by_data], axis=1) / loss[:, None]
        best = np.linalg.lstsq(basis, np.ones_like(loss), rcond=None)[0]
        e, height, a, b = np.maximum(best, floor * np.array([1.0, 1 / bias.mean(), 1.0, 1.0]))
        rows.append([e, a, alpha, b, beta, *(pattern / height), *(gamma * ones)])
    return np.array(rows)
