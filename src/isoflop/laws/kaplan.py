"""Kaplan's laws of size and tokens, with and without a floor, and of size and steps.

Use without floor where the loss is far above the entropy of the text; `kaplan_floor` otherwise.
`kaplan_steps` is for runs that never see a token twice, at batches far above the critical one.
"""

from collections.abc import Mapping
from itertools import product

import numpy as np

from isoflop._types import Array
from isoflop.laws._law import Inputs, Law, Param

_GRID = (0.05, 0.1, 0.2, 0.4, 0.8, 1.3)
"""Exponents that starts of the law of size and steps are made at."""

_JOINT = (
    Param(name="N_c", low=1e-300, high=1e300, unit="parameters"),
    Param(name="D_c", low=1e-300, high=1e300, unit="tokens"),
    Param(name="alpha_N", low=0.005, high=2.5),
    Param(name="alpha_D", low=0.005, high=2.5),
)


def _parts(theta: Array, inputs: Inputs) -> tuple[Array, Array, Array]:
    """log of (N_c/N)^(alpha_N/alpha_D), log of D_c/D, and the log of their sum, each (..., R)."""
    n_c, d_c, alpha_n, alpha_d = (theta[..., i, None] for i in range(4))
    by_size = alpha_n / alpha_d * (np.log(n_c) - np.log(inputs["n_params"]))
    by_data = np.log(d_c) - np.log(inputs["n_tokens"])
    # log(e^x + e^y) by hand: np.logaddexp takes no complex numbers, which the complex-step
    # check of the Jacobian needs.
    top = np.maximum(by_size.real, by_data.real)
    total = top + np.log(np.exp(by_size - top) + np.exp(by_data - top))
    return by_size, by_data, total


def _joint(theta: Array, inputs: Inputs) -> Array:
    return np.asarray(np.exp(theta[..., 3, None] * _parts(theta, inputs)[2]))


def _joint_jacobian(theta: Array, inputs: Inputs) -> Array:
    n_c, d_c, alpha_n, alpha_d = (theta[..., i, None] for i in range(4))
    by_size, by_data, total = _parts(theta, inputs)
    value = np.exp(alpha_d * total)
    share_n, share_d = np.exp(by_size - total), np.exp(by_data - total)
    columns = [
        share_n * alpha_n / n_c,
        share_d * alpha_d / d_c,
        share_n * by_size * alpha_d / alpha_n,
        total - share_n * by_size,
    ]
    return value[..., None] * np.stack(columns, axis=-1)


def _floor(theta: Array, inputs: Inputs) -> Array:
    return theta[..., 0, None] + _joint(theta[..., 1:], inputs)


def _floor_jacobian(theta: Array, inputs: Inputs) -> Array:
    slope = _joint_jacobian(theta[..., 1:], inputs)
    return np.concatenate([np.ones_like(slope[..., :1]), slope], axis=-1)


def _rescale_joint(theta: Array, scales: Mapping[str, float]) -> Array:
    return np.asarray(theta * np.array([1 / scales["n_params"], 1 / scales["n_tokens"], 1.0, 1.0]))


def _rescale_floor(theta: Array, scales: Mapping[str, float]) -> Array:
    return np.concatenate([theta[..., :1], _rescale_joint(theta[..., 1:], scales)], axis=-1)


def _steps(theta: Array, inputs: Inputs) -> Array:
    return np.asarray(sum(np.exp(part) for part in _steps_parts(theta, inputs)))


def _steps_parts(theta: Array, inputs: Inputs) -> tuple[Array, Array]:
    """log of (N_c/N)^alpha_N and of (S_c/S)^alpha_S, each (..., R)."""
    n_c, s_c, alpha_n, alpha_s = (theta[..., i, None] for i in range(4))
    by_size = alpha_n * (np.log(n_c) - np.log(inputs["n_params"]))
    return by_size, alpha_s * (np.log(s_c) - np.log(inputs["steps"]))


def _steps_jacobian(theta: Array, inputs: Inputs) -> Array:
    n_c, s_c, alpha_n, alpha_s = (theta[..., i, None] for i in range(4))
    log_n, log_s = _steps_parts(theta, inputs)
    by_size, by_steps = np.exp(log_n), np.exp(log_s)
    columns = [
        by_size * alpha_n / n_c,
        by_steps * alpha_s / s_c,
        by_size * log_n / alpha_n,
        by_steps * log_s / alpha_s,
    ]
    return np.stack(columns, axis=-1)


def _rescale_steps(theta: Array, scales: Mapping[str, float]) -> Array:
    return np.asarray(theta * np.array([1 / scales["n_params"], 1 / scales["steps"], 1.0, 1.0]))


def _steps_starts(inputs: Inputs, loss: Array) -> Array:
    """Both amplitudes by least squares for every pair of exponents, kept off zero."""
    rows = []
    for alpha_n, alpha_s in product(_GRID, _GRID):
        basis = np.stack([inputs["n_params"] ** -alpha_n, inputs["steps"] ** -alpha_s], axis=1)
        best = np.linalg.lstsq(basis / loss[:, None], np.ones_like(loss), rcond=None)[0]
        a, b = np.maximum(best, 0.05 * loss.min())
        rows.append([a ** (1 / alpha_n), b ** (1 / alpha_s), alpha_n, alpha_s])
    return np.array(rows)


KAPLAN_JOINT = Law(
    name="kaplan_joint",
    params=_JOINT,
    inputs=("n_params", "n_tokens"),
    predict=_joint,
    jacobian=_joint_jacobian,
    rescale=_rescale_joint,
    formula="L = ((N_c/N)^(alpha_N/alpha_D) + D_c/D)^alpha_D",
    source="Kaplan et al. 2020, arXiv:2001.08361, eq. 1.5",
    range_note="No floor; N is non-embedding in the paper.",
)

KAPLAN_FLOOR = Law(
    name="kaplan_floor",
    params=(Param(name="E", low=1e-3, high=1e3, unit="nats/token"), *_JOINT),
    inputs=("n_params", "n_tokens"),
    predict=_floor,
    jacobian=_floor_jacobian,
    rescale=_rescale_floor,
    formula="L = E + ((N_c/N)^(alpha_N/alpha_D) + D_c/D)^alpha_D",
    source="Kaplan et al. 2020, arXiv:2001.08361, eq. 1.5, plus a floor",
    range_note="Terms interact: more data helps a larger model more than the additive law says.",
)

KAPLAN_STEPS = Law(
    name="kaplan_steps",
    params=(
        Param(name="N_c", low=1e-300, high=1e300, unit="parameters"),
        Param(name="S_c", low=1e-300, high=1e300, unit="steps"),
        Param(name="alpha_N", low=0.005, high=2.5),
        Param(name="alpha_S", low=0.005, high=2.5),
    ),
    inputs=("n_params", "steps"),
    predict=_steps,
    jacobian=_steps_jacobian,
    rescale=_rescale_steps,
    formula="L = (N_c/N)^alpha_N + (S_c/S)^alpha_S",
    source="Kaplan et al. 2020, arXiv:2001.08361, eq. 1.6",
    range_note="S is S_min = S/(1 + B_crit(L)/B): steps at a batch far above the critical one.",
    starts=_steps_starts,
)
