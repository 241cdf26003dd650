"""Broken power laws of one variable: the slope in log-log changes at one or two places.

Use when a curve has regimes (a plateau before learning starts, a bend, a second descent) and runs
on both sides of every break. Beyond the last break it is a power above a floor again: a break
that lies past the runs cannot be foreseen.
"""

from collections.abc import Mapping
from functools import partial
from itertools import combinations, product

import numpy as np

from isoflop._types import Array
from isoflop.laws._law import Inputs, Law, Param, softplus

_FLOORS = (0.0, 0.5, 0.9)
"""Shares of the lowest loss that starts take as the floor."""

_WIDTHS = (0.1, 0.4, 1.0)
"""Widths of a break, in e-folds of x, that starts are made at."""

_PLACES = 8
"""Places in the range of ln x at which starts put a break."""

_FIRST = 3
"""Where the breaks begin in theta: each has d, f and the change of slope c."""


def _breaks(theta: Array, inputs: Inputs) -> list[tuple[Array, Array, Array]]:
    """Of every break: c, `z = (ln x - ln d)/f` and `f ln(1 + e^z)`."""
    found = []
    for first in range(_FIRST, theta.shape[-1], 3):
        d, f, c = (theta[..., first + i, None] for i in range(3))
        beyond = np.log(inputs["x"]) - np.log(d)
        z = beyond / f
        past = z.real > 0
        # Far beyond a sharp break this is the distance itself, whatever f: nothing cancels.
        rest = np.log1p(np.exp(np.where(past, -z, z)))
        found.append((c, z, np.where(past, beyond, 0.0) + f * rest))
    return found


def _reducible(theta: Array, inputs: Inputs) -> Array:
    logs = np.log(theta[..., 1, None]) - theta[..., 2, None] * np.log(inputs["x"])
    for c, _, bend in _breaks(theta, inputs):
        logs = logs - c * bend
    return np.asarray(np.exp(logs))


def _predict(theta: Array, inputs: Inputs) -> Array:
    return np.asarray(theta[..., 0, None] + _reducible(theta, inputs))


def _jacobian(theta: Array, inputs: Inputs) -> Array:
    value = _reducible(theta, inputs)
    columns = [value / theta[..., 1, None], -np.log(inputs["x"]) * value]
    for number, (c, z, bend) in enumerate(_breaks(theta, inputs)):
        d, near = theta[..., _FIRST + 3 * number, None], -np.abs(z)
        passed, width = np.exp(-softplus(-z)), softplus(near) - near * np.exp(-softplus(-near))
        columns += [value * c * passed / d, -value * c * width, -value * bend]
    return np.stack([np.ones_like(value), *columns], axis=-1)


def _rescale(theta: Array, scales: Mapping[str, float]) -> Array:
    out = theta.copy()
    out[..., 1] *= scales["x"] ** -theta[..., 2]
    out[..., _FIRST::3] /= scales["x"]
    return out


def _starts(count: int, inputs: Inputs, loss: Array) -> Array:
    """For given breaks and floor the rest is linear in logs."""
    log_x = np.log(inputs["x"])
    places = np.linspace(log_x.min(), log_x.max(), _PLACES + 2)[1:-1]
    rows = []
    for floor, width in product(_FLOORS, _WIDTHS):
        goal = np.log(loss - floor * loss.min())
        for where in combinations(places, count):
            bends = [-width * softplus((log_x - place) / width) for place in where]
            basis = np.stack([np.ones_like(log_x), -log_x, *bends], axis=1)
            b, c0, *changes = np.linalg.lstsq(basis, goal, rcond=None)[0]
            each = [[np.exp(p), width, c] for p, c in zip(where, changes, strict=True)]
            lowest = max(floor, 1e-3) * loss.min()
            rows.append([lowest, np.exp(b), c0, *np.clip(np.ravel(each), -5.0, None)])
    return np.array(rows)


def _bnsl(count: int, note: str) -> Law:
    breaks = [
        Param(name="d", low=1e-9, high=1e9, unit="unit of x"),
        Param(name="f", low=0.01, high=10.0, unit="e-folds of x"),
        Param(name="c", low=-5.0, high=5.0, real=True),
    ]
    each = (
        Param(name=f"{one.name}{i}", low=one.low, high=one.high, unit=one.unit, real=one.real)
        for i in range(1, count + 1)
        for one in breaks
    )
    return Law(
        name=f"bnsl_{count}",
        params=(
            Param(name="E", low=1e-3, high=1e3, unit="nats/token"),
            Param(name="b", low=1e-200, high=1e200, unit="nats/token * (unit of x)^c0"),
            Param(name="c0", low=-5.0, high=5.0, real=True),
            *each,
        ),
        inputs=("x",),
        predict=_predict,
        jacobian=_jacobian,
        rescale=_rescale,
        formula="L = E + b x^-c0 prod_i (1 + (x/d_i)^(1/f_i))^(-c_i f_i)",
        source="Caballero et al. 2022, arXiv:2210.14891, eq. 1",
        range_note=note,
        starts=partial(_starts, count),
    )


BNSL_1 = _bnsl(1, "One break: six parameters, of runs on both sides of it.")
BNSL_2 = _bnsl(2, "Two breaks: nine parameters, of runs before, between and after them.")
