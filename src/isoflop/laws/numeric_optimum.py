"""Compute-optimal size and tokens of any law of both, by search along C = k N D.

The loss is looked at on a grid of sizes from one parameter to one token; in the lowest cell the
root of its slope along the budget is found, by complex step where the law takes complex inputs
(to rounding) and by central differences elsewhere (to about 1e-9). Every draw may have its own
budgets.
"""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from isoflop._errors import InputError
from isoflop._types import Array
from isoflop.laws._law import Law

GRID = 121
"""Sizes that the search looks at first, evenly spaced in ln N."""

STEP = 6e-6
"""Step in ln N of a central difference."""

AGREE = 1e-4
"""Largest relative difference of the two slopes where a law takes complex inputs."""

ROOT = 1e-13
"""Width in logs at which a root has been found."""


def best_log_size(law: Law, theta: Array, log_budget: Array) -> Array:
    """ln N (B, G) of the lowest loss under N D = exp(log_budget) (B, G), for theta (B, P).

    A minimum between the ends is taken before a lower loss at an end, where fitted forms say
    nothing (Farseer's falls without bound there); where there is none, the end.

    Raises:
        InputError: the law is not one of n_params and n_tokens alone, or has no value.
    """
    if set(law.needed) != {"n_params", "n_tokens"}:
        raise InputError(
            f"`law` must be one of n_params and n_tokens, but {law.name!r} needs "
            f"{', '.join(law.inputs)}. Choose a law of both."
        )
    log_budget = np.broadcast_to(log_budget, (len(theta), log_budget.shape[-1]))
    share = np.linspace(0.0, 1.0, GRID)
    grid = log_budget[..., None] * share
    loss = _loss(law, theta, grid, np.broadcast_to(log_budget[..., None], grid.shape))
    loss = np.where(np.isfinite(loss), loss, np.inf)
    if np.isinf(loss).all():
        raise InputError(
            f"The law {law.name!r} must have a value at some split of the budget, but it has none. "
            f"Check its formula far from the runs."
        )
    lowest = _lowest(loss)
    at = [np.clip(lowest + side, 0, GRID - 1) for side in (-1, 1)]
    low, high = (np.take_along_axis(grid, one[..., None], axis=-1)[..., 0] for one in at)
    slope = _slope_of(law, theta, log_budget, np.take_along_axis(
        grid, np.clip(lowest, 1, GRID - 2)[..., None], axis=-1)[..., 0])  # fmt: skip
    found = find_root(slope, low, high)
    edge = np.take_along_axis(grid, lowest[..., None], axis=-1)[..., 0]
    return np.asarray(np.where((lowest == 0) | (lowest == GRID - 1), edge, found))


def _lowest(loss: Array) -> NDArray[np.intp]:
    """Place (B, G) of the lowest loss (B, G, sizes) between the ends, else at an end."""
    inside = (loss[..., 1:-1] < loss[..., :-2]) & (loss[..., 1:-1] <= loss[..., 2:])
    best = 1 + np.where(inside, loss[..., 1:-1], np.inf).argmin(axis=-1)
    return np.asarray(np.where(inside.any(axis=-1), best, loss.argmin(axis=-1)), dtype=np.intp)


def find_root(
    function: Callable[[Array], Array], low: Array, high: Array, tolerance: float = ROOT
) -> Array:
    """Roots of rising functions between `low` and `high`, all at once (Illinois, then halving).

    Where the function has one sign throughout, the end that is nearer to a root.
    """
    low, high = low.astype(np.float64), high.astype(np.float64)
    at_low, at_high = function(low), function(high)
    side = np.zeros(low.shape)
    for round_ in range(200):
        if not (high - low > tolerance * np.maximum(np.abs(high), 1.0)).any():
            break
        with np.errstate(all="ignore"):
            middle = (low * at_high - high * at_low) / (at_high - at_low)
        # Every third step halves, so that a function of any shape is done after 200.
        lost = ~((middle > low) & (middle < high)) | (round_ % 3 == 2)
        middle = np.where(lost, 0.5 * (low + high), middle)
        value = function(middle)
        left = value <= 0
        # Illinois: an end that stays twice counts half, or it would never move.
        at_high = np.where(left & (side > 0), 0.5 * at_high, at_high)
        at_low = np.where(~left & (side < 0), 0.5 * at_low, at_low)
        side = np.where(left, 1.0, -1.0)
        zero = value == 0
        low, at_low = np.where(left, middle, low), np.where(left, value, at_low)
        high = np.where(left & ~zero, high, middle)
        at_high = np.where(left & ~zero, at_high, value)
    return np.asarray(0.5 * (low + high))


def _loss(law: Law, theta: Array, log_n: Array, log_nd: Array) -> Array:
    """Loss at sizes of any trailing shape (B, ...), complex where they are."""
    shape = log_n.shape
    flat_n, flat_c = (one.reshape(len(theta), -1) for one in (log_n, log_nd))
    with np.errstate(all="ignore"):
        inputs = {"n_params": np.exp(flat_n), "n_tokens": np.exp(flat_c - flat_n)}
        return np.asarray(law.predict(theta, inputs)).reshape(shape)


def _slope_of(law: Law, theta: Array, log_nd: Array, probe: Array) -> Callable[[Array], Array]:
    """dL/d ln N along the budget: by complex step where that agrees at the probe (B, G)."""

    def exact(log_n: Array) -> Array:
        # Typed as real: a law is written for real inputs, and mostly takes complex ones.
        shifted = np.asarray(log_n + 1e-30j)
        return np.asarray(_loss(law, theta, shifted, log_nd).imag / 1e-30)

    def differences(log_n: Array) -> Array:
        up = _loss(law, theta, log_n + STEP, log_nd)
        return (up - _loss(law, theta, log_n - STEP, log_nd)) / (2 * STEP)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = exact(probe)
    except (TypeError, ValueError, Warning):
        return differences
    truth = differences(probe)
    known = np.isfinite(truth)
    scale = np.abs(np.where(known, _loss(law, theta, probe, log_nd), 0.0))
    agree = np.abs(found - truth) <= AGREE * np.abs(truth) + 1e-9 * scale
    return exact if bool((agree | ~known).all()) else differences
