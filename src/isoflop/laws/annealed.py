"""Laws along a run in which a smoothed learning rate H holds the loss up: `C*H^p` above the rest.

The rate's noise is an excess that goes as the rate goes; the power p says how: measured near 0.4
to 0.5, so most is gained at the very end of a cooldown. `annealed` is for one size;
`annealed_sizes` adds size by the coupled law (`skaling`) and can forecast a size never trained.
S1 is `lr_sum` and H `lr_smooth` of `LrPath`. With p = 1 and one size this is `tissue`.
"""

from collections.abc import Mapping

import numpy as np

from isoflop._types import Array
from isoflop.laws._law import Inputs, Law, Param
from isoflop.laws._linear import GRID, linear_starts
from isoflop.laws.skaling import SKALING

_E = Param(name="E", low=1e-3, high=1e3, unit="nats/token")
_B = Param(name="B", low=1e-200, high=1e200, unit="nats/token * (lr * tokens)^beta")
_BETA = Param(name="beta", low=0.02, high=2.5)
_C = Param(name="C", low=1e-200, high=1e200, unit="nats/token / lr^p")
_P = Param(name="p", low=0.1, high=2.0)

POWERS = (0.4, 0.9)
"""Powers of the rate that starts are made at."""

COUPLINGS = (0.5, 1.0)

SOURCE = (
    "isoflop, measured in LOG.md; S1 of Tissue et al. 2024, arXiv:2408.11029, a rate-bound excess "
    "as in Luo et al. 2025, arXiv:2503.12811"
)


def _excess(c: Array, p: Array, inputs: Inputs) -> Array:
    return np.asarray(np.exp(np.log(c) + p * np.log(inputs["lr_smooth"])))


def _one(theta: Array, inputs: Inputs) -> Array:
    e, b, beta, c, p = (theta[..., i, None] for i in range(5))
    by_data = np.exp(np.log(b) - beta * np.log(inputs["lr_sum"]))
    return np.asarray(e + by_data + _excess(c, p, inputs))


def _one_jacobian(theta: Array, inputs: Inputs) -> Array:
    _, b, beta, c, p = (theta[..., i, None] for i in range(5))
    by_data, excess = np.exp(np.log(b) - beta * np.log(inputs["lr_sum"])), _excess(c, p, inputs)
    columns = [
        np.ones_like(by_data),
        by_data / b,
        -by_data * np.log(inputs["lr_sum"]),
        excess / c,
        excess * np.log(inputs["lr_smooth"]),
    ]
    return np.stack(columns, axis=-1)


def _one_rescale(theta: Array, scales: Mapping[str, float]) -> Array:
    out = theta.copy()
    out[..., 1] *= scales["lr_sum"] ** -theta[..., 2]
    out[..., 3] *= scales["lr_smooth"] ** theta[..., 4]
    return out


def _one_starts(inputs: Inputs, loss: Array) -> Array:
    rows = []
    for beta in GRID:
        for p in POWERS:
            e, b, c = linear_starts([inputs["lr_sum"] ** -beta, inputs["lr_smooth"] ** p], loss)
            rows.append([e, b, beta, c, p])
    return np.array(rows)


ANNEALED = Law(
    name="annealed",
    params=(_E, _B, _BETA, _C, _P),
    inputs=("lr_sum", "lr_smooth"),
    predict=_one,
    jacobian=_one_jacobian,
    rescale=_one_rescale,
    formula="L = E + B/S1^beta + C*H^p",
    source=SOURCE,
    range_note="One size. Curves at one constant rate leave C and p open.",
    starts=_one_starts,
)


def _coupled(theta: Array, inputs: Inputs) -> tuple[Array, Inputs]:
    """Parameters and inputs of the coupled law inside, in which S1 stands for tokens."""
    return theta[..., :6], {"n_params": inputs["n_params"], "n_tokens": inputs["lr_sum"]}


def _sizes_excess(theta: Array, inputs: Inputs) -> Array:
    c, p, gamma = (theta[..., i, None] for i in range(6, 9))
    return _excess(c, p, inputs) * np.exp(gamma * np.log(inputs["n_params"]))


def _sizes(theta: Array, inputs: Inputs) -> Array:
    return np.asarray(SKALING.predict(*_coupled(theta, inputs)) + _sizes_excess(theta, inputs))


def _sizes_jacobian(theta: Array, inputs: Inputs) -> Array:
    excess = _sizes_excess(theta, inputs)
    columns = [
        excess / theta[..., 6, None],
        excess * np.log(inputs["lr_smooth"]),
        excess * np.log(inputs["n_params"]),
    ]
    inside = SKALING.jacobian(*_coupled(theta, inputs))
    return np.concatenate([inside, np.stack(columns, axis=-1)], axis=-1)


def _sizes_rescale(theta: Array, scales: Mapping[str, float]) -> Array:
    out = theta.copy()
    out[..., 1] *= scales["n_params"] ** -theta[..., 2]
    out[..., 3] *= scales["lr_sum"] ** -theta[..., 4]
    out[..., 6] *= scales["lr_smooth"] ** theta[..., 7] * scales["n_params"] ** theta[..., 8]
    return out


def _sizes_starts(inputs: Inputs, loss: Array) -> Array:
    rows = []
    for alpha in GRID:
        for beta in GRID:
            for p in POWERS:
                powers = [inputs["n_params"] ** -alpha, inputs["lr_sum"] ** -beta]
                e, a, b, c = linear_starts([*powers, inputs["lr_smooth"] ** p], loss)
                rows += [[e, a, alpha, b, beta, k, c, p, 0.0] for k in COUPLINGS]
    return np.array(rows)


ANNEALED_SIZES = Law(
    name="annealed_sizes",
    params=(
        _E,
        Param(name="A", low=1e-200, high=1e200, unit="nats/token * parameters^alpha"),
        Param(name="alpha", low=0.02, high=2.5),
        _B,
        _BETA,
        Param(name="k", low=0.2, high=2.0),
        _C,
        _P,
        Param(name="gamma", low=-1.0, high=1.0, real=True),
    ),
    inputs=("n_params", "lr_sum", "lr_smooth"),
    predict=_sizes,
    jacobian=_sizes_jacobian,
    rescale=_sizes_rescale,
    formula="L = E + ((A/N^alpha)^(1/k) + (B/S1^beta)^(1/k))^k + C*H^p*N^gamma",
    source=SOURCE,
    range_note="Three sizes at least, and curves that cool down beside curves that do not.",
    starts=_sizes_starts,
)
