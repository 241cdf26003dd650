"""Downstream laws: accuracy or error on a task as a function of a loss.

What to use when:
- `SIGMOID_TO_ONE`: accuracy on the loss of the right answers; the default. A model that knows
  every answer gets every answer right, so only the chance level, the slope and the place are free.
- `SIGMOID`: the same with its upper end free too; where labels are wrong or answers ambiguous,
  and only with runs on the upper half of the curve: they alone show where it ends.
- `ERROR_ON_LOSS`: average error over many tasks on a validation loss.

For the pass rate of code, fit `power` to the mean of -log pass rate over FLOPs (GPT-4's law;
`isoflop.fitting.pass_rate_target` makes it).
"""

from collections.abc import Mapping
from itertools import product

import numpy as np

from isoflop._types import Array
from isoflop.laws._law import Inputs, Law, Param

_SLOPES = (1.5, 4.0, 8.0, 20.0)
_PLACES = (0.5, 0.8, 1.0, 1.3)
"""Where starts put the middle of the sigmoid, in units of the mean loss."""

_FLOOR = Param(name="floor", low=1e-3, high=0.999, unit="accuracy of a guess")
_RISE = Param(name="rise", low=1e-3, high=1.0, unit="accuracy")
_K = Param(name="k", low=0.05, high=200.0, unit="1/loss")
_L0 = Param(name="L0", low=1e-3, high=1e3, unit="loss")


def _step(theta: Array, inputs: Inputs, first: int) -> tuple[Array, Array, Array]:
    """`s = 1/(1 + exp(k (L - L0)))` and its derivatives by k and L0, each (..., R)."""
    k, place = theta[..., first, None], theta[..., first + 1, None]
    off = inputs["loss"] - place
    with np.errstate(over="ignore"):
        step = 1 / (1 + np.exp(k * off))
    slope = step * (1 - step)
    return step, -slope * off, slope * k


def _sigmoid(theta: Array, inputs: Inputs) -> Array:
    return np.asarray(theta[..., 0, None] + theta[..., 1, None] * _step(theta, inputs, 2)[0])


def _sigmoid_jacobian(theta: Array, inputs: Inputs) -> Array:
    step, by_k, by_place = _step(theta, inputs, 2)
    rise = theta[..., 1, None]
    return np.stack([np.ones_like(step), step, rise * by_k, rise * by_place], axis=-1)


def _to_one(theta: Array, inputs: Inputs) -> Array:
    floor = theta[..., 0, None]
    return np.asarray(floor + (1 - floor) * _step(theta, inputs, 1)[0])


def _to_one_jacobian(theta: Array, inputs: Inputs) -> Array:
    step, by_k, by_place = _step(theta, inputs, 1)
    rise = 1 - theta[..., 0, None]
    return np.stack([1 - step, rise * by_k, rise * by_place], axis=-1)


def _sigmoid_starts(inputs: Inputs, accuracy: Array) -> Array:
    rows = []
    for k, place in product(_SLOPES, _PLACES):
        step = 1 / (1 + np.exp(k * (inputs["loss"] - place)))
        basis = np.stack([np.ones_like(step), step], axis=1)
        floor, rise = np.linalg.lstsq(basis, accuracy, rcond=None)[0]
        rows.append([np.clip(floor, 0.02, 0.9), np.clip(rise, 0.05, 0.95), k, place])
    return np.array(rows)


def _to_one_starts(inputs: Inputs, accuracy: Array) -> Array:
    del inputs
    floors = [share * float(accuracy.min()) for share in (0.5, 0.95)]
    return np.array(list(product(floors, _SLOPES, _PLACES)))


def _rescale_sigmoid(theta: Array, scales: Mapping[str, float]) -> Array:
    out = theta.copy()
    out[..., -2] *= scales["loss"]
    out[..., -1] /= scales["loss"]
    return out


def _error(theta: Array, inputs: Inputs) -> Array:
    eps, k, gamma = (theta[..., i, None] for i in range(3))
    return np.asarray(eps - k * np.exp(-gamma * inputs["loss"]))


def _error_jacobian(theta: Array, inputs: Inputs) -> Array:
    _, k, gamma = (theta[..., i, None] for i in range(3))
    fall = np.exp(-gamma * inputs["loss"])
    return np.stack([np.ones_like(fall), -fall, k * fall * inputs["loss"]], axis=-1)


def _error_starts(inputs: Inputs, error: Array) -> Array:
    rows = []
    for gamma in (0.3, 1.0, 2.0, 4.0, 8.0):
        fall = np.exp(-gamma * inputs["loss"])
        basis = np.stack([np.ones_like(fall), -fall], axis=1)
        eps, k = np.linalg.lstsq(basis, error, rcond=None)[0]
        eps = max(eps, float(error.max()))
        # An error below zero has no logarithm: such a start would be lost.
        rows.append([eps, np.clip(k, 0.01, 0.9 * eps / float(fall.max())), gamma])
    return np.array(rows)


def _rescale_error(theta: Array, scales: Mapping[str, float]) -> Array:
    return np.asarray(theta * np.array([1.0, 1.0, scales["loss"]]))


SIGMOID = Law(
    name="sigmoid",
    params=(_FLOOR, _RISE, _K, _L0),
    inputs=("loss",),
    predict=_sigmoid,
    jacobian=_sigmoid_jacobian,
    rescale=_rescale_sigmoid,
    formula="acc = floor + rise/(1 + exp(k (L - L0)))",
    source="Bhagia et al. 2024, arXiv:2412.04403; Llama 3, arXiv:2407.21783, sec. 3.2.1",
    range_note="Both ends must be seen: runs near chance and runs on the upper half.",
    starts=_sigmoid_starts,
    target="acc_",
)

SIGMOID_TO_ONE = Law(
    name="sigmoid_to_one",
    params=(_FLOOR, _K, _L0),
    inputs=("loss",),
    predict=_to_one,
    jacobian=_to_one_jacobian,
    rescale=_rescale_sigmoid,
    formula="acc = floor + (1 - floor)/(1 + exp(k (L - L0)))",
    source="Bhagia et al. 2024, arXiv:2412.04403, with the upper end at 1",
    range_note="Near-chance runs alone fix neither slope nor place.",
    starts=_to_one_starts,
    target="acc_",
)

ERROR_ON_LOSS = Law(
    name="error_on_loss",
    params=(
        Param(name="eps", low=1e-3, high=10.0, unit="error of a guess"),
        Param(name="k", low=1e-6, high=1e6, unit="error"),
        Param(name="gamma", low=1e-3, high=50.0, unit="1/loss"),
    ),
    inputs=("loss",),
    predict=_error,
    jacobian=_error_jacobian,
    rescale=_rescale_error,
    formula="Err = eps - k exp(-gamma L)",
    source="Gadre et al. 2024, arXiv:2403.08540",
    range_note="Averages over many tasks; single tasks jump.",
    starts=_error_starts,
    target="error",
)
