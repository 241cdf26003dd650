"""Trying a function on a few rows and parameters: does it compute, and how is it derived?"""

import warnings
from collections.abc import Mapping

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array
from isoflop.laws._law import Inputs, Param, Predict, complex_step

STEP = 6e-6
"""Relative step of a central difference: the cube root of the rounding error."""

AGREE = 1e-4
"""Largest relative difference of the two derivatives where a function takes complex numbers."""

ROUNDING = 1e-9
"""Error of a central difference by the logarithm of a parameter, relative to the value."""

PROBES = 48
"""Parameter vectors that a function is tried on before it is fitted."""

PROBED = (0.05, 3.0)
"""Range of the parameters there: exponents and floors, not amplitudes, decide what is finite."""


def jacobian_of(predict: Predict, theta: Array, probe: Inputs) -> Predict:
    """By complex step where it agrees with central differences on the probe; else the latter."""
    exact, differences = complex_step(predict), _central(predict)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            # A function that drops the imaginary part warns of it.
            warnings.simplefilter("error")
            found = exact(theta, probe)
    except (TypeError, ValueError, Warning):
        return differences
    truth = quiet(differences, theta, probe)
    known = np.isfinite(truth)
    scale = np.abs(np.where(known, truth, 0.0)).max(axis=-2, keepdims=True)
    # What a difference of values near each other cannot tell from zero.
    rounding = ROUNDING * np.abs(quiet(predict, theta, probe))[..., None] / np.abs(theta)[:, None]
    agree = np.abs(found - truth) <= AGREE * scale + rounding
    return exact if bool((agree | ~known).all()) else differences


def _central(predict: Predict) -> Predict:
    """The Jacobian (..., R, P) by central differences, to about 1e-10 of the value."""

    def jacobian(theta: Array, inputs: Inputs) -> Array:
        columns = []
        for i in range(theta.shape[-1]):
            step = STEP * np.maximum(np.abs(theta[..., i]), 1e-100)
            up, down = theta.copy(), theta.copy()
            up[..., i] += step
            down[..., i] -= step
            width = (up[..., i] - down[..., i])[..., None]
            columns.append((predict(up, inputs) - predict(down, inputs)) / width)
        return np.stack(columns, axis=-1)

    return jacobian


def rows_to_try(columns: Mapping[str, Array], inputs: tuple[str, ...]) -> dict[str, Array]:
    size = len(columns[inputs[0]])
    rows = np.unique(np.linspace(0, size - 1, 7).astype(int))
    return {name: columns[name][rows] for name in inputs}


def parameters_to_try(params: tuple[Param, ...]) -> Array:
    """Parameters (PROBES, P) inside their ranges, the same every time."""
    rng = np.random.default_rng(0)
    low = np.array([max(p.low, PROBED[0] if not p.real else -PROBED[1]) for p in params])
    high = np.array([min(p.high, PROBED[1]) for p in params])
    # A range that lies elsewhere is tried where it lies.
    away = low >= high
    low = np.where(away, [p.low for p in params], low)
    high = np.where(away, [p.high for p in params], high)
    return np.asarray(rng.uniform(low, high, size=(PROBES, len(params))))


def check_shape(name: str, predict: Predict, theta: Array, probe: dict[str, Array]) -> None:
    """All at once must give what each alone gives: the function computes element by element."""
    try:
        together = np.asarray(quiet(predict, theta, probe), dtype=np.float64)
        alone = np.array([quiet(predict, one, probe) for one in theta], dtype=np.float64)
        row = {key: column[:1] for key, column in probe.items()}
        first = np.asarray(quiet(predict, theta, row), dtype=np.float64)
    except (TypeError, ValueError, IndexError, ArithmeticError) as error:
        raise InputError(
            f"{name} must compute on arrays and return one number a run, but it failed: "
            f"{error}. Use NumPy functions (np.log, np.where) and no if on the arguments."
        ) from error
    same = np.allclose(together, alone, equal_nan=True)
    if not same or not np.allclose(first, together[:, :1], equal_nan=True):
        raise InputError(
            f"{name} must give each run its own number, but its result changes with the "
            f"other runs. Compute element by element."
        )


def check_effect(name: str, params: tuple[Param, ...], slope: Array) -> None:
    idle = [p.name for i, p in enumerate(params) if not np.nan_to_num(slope[..., i]).any()]
    if idle and np.isfinite(slope).any():
        raise InputError(
            f"Every parameter of {name} must change its result, but {idle[0]!r} does "
            f"not. Use it, remove it, or give it a default."
        )
    at = [p.name for p in params].index("E") if "E" in [p.name for p in params] else None
    if at is not None and not np.allclose(_finite(slope[..., at]), 1.0, atol=1e-6):
        raise InputError(
            f"`E` names the irreducible loss, which is added, but {name} uses it "
            f"otherwise. Give that parameter another name."
        )


def _finite(values: Array) -> Array:
    return np.asarray(values[np.isfinite(values)])


def quiet(call: Predict, theta: Array, inputs: Inputs) -> Array:
    with np.errstate(all="ignore"):
        return call(theta, inputs)
