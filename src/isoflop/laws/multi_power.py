"""The multi-power law: every fall of the learning rate has a gain of its own that saturates.

`L = E + A/S1^alpha - B * sum_k d_k (1 - (1 + C*eta_k^-gamma*S_k)^-beta)`, where d_k is a fall of
the rate, eta_k the rate after it and S_k the lr sum from it on: `LrPath.drops` makes them. The
inputs `drop`, `drop_lr` and `drop_sum` are matrices (R, K).
"""

from collections.abc import Mapping

import numpy as np

from isoflop._types import Array
from isoflop.laws._law import Inputs, Law, Param
from isoflop.laws._linear import GRID, linear_starts

SATURATIONS = ((1.0, 0.5, 0.5), (10.0, 0.5, 0.5), (1.0, 0.8, 0.1))
"""C in multiples of one over the typical argument, beta and gamma that starts are made at."""


def _gains(theta: Array, inputs: Inputs) -> tuple[Array, Array, Array]:
    """Argument x = C*eta^-gamma*S and 1 + x, (..., R, K), and what is left, (1 + x)^-beta."""
    c, beta, gamma = (theta[..., i, None, None] for i in (4, 5, 6))
    x = c * np.exp(-gamma * np.log(inputs["drop_lr"])) * inputs["drop_sum"]
    return x, 1 + x, np.exp(-beta * np.log(1 + x))


def _predict(theta: Array, inputs: Inputs) -> Array:
    e, a, alpha, b = (theta[..., i, None] for i in range(4))
    _, _, left = _gains(theta, inputs)
    by_data = np.exp(np.log(a) - alpha * np.log(inputs["lr_sum"]))
    return np.asarray(e + by_data - b * (inputs["drop"] * (1 - left)).sum(axis=-1))


def _jacobian(theta: Array, inputs: Inputs) -> Array:
    a, alpha, b, c = (theta[..., i, None] for i in (1, 2, 3, 4))
    beta = theta[..., 5, None]
    x, more, left = _gains(theta, inputs)
    by_data = np.exp(np.log(a) - alpha * np.log(inputs["lr_sum"]))
    drop = inputs["drop"]
    # d/dx of 1 - (1 + x)^-beta is beta (1 + x)^(-beta - 1).
    steep = drop * left * x / more
    columns = [
        np.ones_like(by_data),
        by_data / a,
        -by_data * np.log(inputs["lr_sum"]),
        -(drop * (1 - left)).sum(axis=-1),
        -b * beta * steep.sum(axis=-1) / c,
        -b * (drop * left * np.log(more)).sum(axis=-1),
        b * beta * (steep * np.log(inputs["drop_lr"])).sum(axis=-1),
    ]
    return np.stack(columns, axis=-1)


def _rescale(theta: Array, scales: Mapping[str, float]) -> Array:
    out = theta.copy()
    out[..., 1] *= scales["lr_sum"] ** -theta[..., 2]
    out[..., 3] *= scales["drop"]
    out[..., 4] *= scales["drop_sum"] * scales["drop_lr"] ** -theta[..., 6]
    return out


def _starts(inputs: Inputs, loss: Array) -> Array:
    reached = inputs["drop"] != 0
    typical = float(np.median(inputs["drop_sum"][reached])) if reached.any() else 1.0
    rows = []
    for alpha in GRID:
        for share, beta, gamma in SATURATIONS:
            c = share / max(typical, 1e-300)
            theta = np.array([0.0, 1.0, alpha, 0.0, c, beta, gamma])
            _, _, left = _gains(theta, inputs)
            gain = (inputs["drop"] * (1 - left)).sum(axis=-1)
            e, a, b = linear_starts([inputs["lr_sum"] ** -alpha, -gain], loss)
            rows.append([e, a, alpha, b, c, beta, gamma])
    return np.array(rows)


MULTI_POWER = Law(
    name="multi_power",
    params=(
        Param(name="E", low=1e-3, high=1e3, unit="nats/token"),
        Param(name="A", low=1e-200, high=1e200, unit="nats/token * (lr * tokens)^alpha"),
        Param(name="alpha", low=0.02, high=2.5),
        Param(name="B", low=1e-200, high=1e200, unit="nats/token / lr"),
        Param(name="C", low=1e-200, high=1e200, unit="lr^gamma / (lr * tokens)"),
        Param(name="beta", low=0.02, high=5.0),
        Param(name="gamma", low=0.01, high=3.0),
    ),
    inputs=("lr_sum", "drop", "drop_lr", "drop_sum"),
    predict=_predict,
    jacobian=_jacobian,
    rescale=_rescale,
    formula="L = E + A/S1^alpha - B*sum_k d_k*(1 - (1 + C*eta_k^-gamma*S_k)^-beta)",
    source="Luo et al. 2025, arXiv:2503.12811",
    range_note="One size. S1 and S_k in the unit of the rate times steps or tokens.",
    starts=_starts,
    unscaled=("drop", "drop_lr", "drop_sum"),
)
