"""Starts of a law that says nothing about its own: scattered, then projected where it is linear.

Parameters that a law is affine in (floors, amplitudes) need no guess: for every scatter of the
others they follow by non-negative least squares. Which those are is measured, not supposed.
Source: variable projection, Golub and Pereyra 1973, doi:10.1137/0710036.
"""

import numpy as np
from scipy.optimize import nnls

from isoflop._types import Array
from isoflop.laws import Inputs, Law

SCATTER = 1024
ROWS = 64
"""Rows that starts are judged on, evenly taken: enough to tell a good one from a bad one."""

BEST, OTHERS = 40, 24
"""Starts that go on: the best, and others just as they come, so that a basin is not missed."""

LOG_EXPONENT = (-3.5, 1.1)
"""Exponents lie between 0.03 and 3."""

LOG_ANY = (-6.9, 6.9)
NEAR_INPUT = 5.0
"""A parameter may lie on the scale of an input, within a factor e^5 of its middle."""

NARROW = 1e8
"""A range of a positive parameter below this ratio was meant: starts fill it."""

NEAR_START = 0.3
"""Spread of starts about a value that the parameter is to start from, in logs or of its range."""

CURVED = 1e-7
"""Second difference, relative to the value, above which a law is not affine in a parameter."""

LEAST = 0.02
"""Share of the target that an amplitude found to be zero starts at: its log has no gradient."""


def projected_starts(law: Law, inputs: Inputs, loss: Array) -> Array:
    """Starts (S, P) for inputs as they are and losses (R,), the best of a scatter first."""
    rng = np.random.default_rng(0)
    theta = _scatter(law, inputs, rng)
    if loss.size > ROWS:
        rows = np.linspace(0, loss.size - 1, ROWS).astype(int)
        inputs, loss = {name: column[rows] for name, column in inputs.items()}, loss[rows]
    linear = linear_parameters(law, inputs, theta[:8])
    with np.errstate(all="ignore"):
        if linear:
            theta = _projected(law, inputs, loss, theta, linear)
        error = np.log(law.predict(theta, inputs)) - np.log(loss)
        size = np.square(error).sum(axis=-1)
    size = np.where(np.isfinite(size), size, np.inf)
    order = np.argsort(size, kind="stable")
    usable = np.sort(order[BEST:][np.isfinite(size[order[BEST:]])])
    return np.asarray(theta[np.concatenate([order[:BEST], usable[:OTHERS]])])


def linear_parameters(law: Law, inputs: Inputs, theta: Array) -> list[int]:
    """Parameters that the law is jointly affine in, at the tried theta (S, P)."""
    chosen: list[int] = []
    base = np.where(law.real, theta, np.maximum(theta, 1e-3))

    def at(*moved: int) -> Array:
        shifted = base.copy()
        for i in moved:
            shifted[:, i] += np.maximum(np.abs(base[:, i]), 1e-3)
        with np.errstate(all="ignore"):
            return law.predict(shifted, inputs)

    here = at()
    for i in range(base.shape[1]):
        with np.errstate(all="ignore"):
            bends = [at(i, i) - 2 * at(i) + here]
            bends += [at(i, j) - at(i) - at(j) + here for j in chosen]
            scale = np.abs(at(i, i)) + np.abs(here) * 1e-3
        known = np.isfinite(bends[0])
        if known.any() and all(bool((np.abs(b) <= CURVED * scale)[known].all()) for b in bends):
            chosen.append(i)
    return chosen


def _scatter(law: Law, inputs: Inputs, rng: np.random.Generator) -> Array:
    """Theta (SCATTER, P): exponents, numbers of any size, and numbers on the scale of an input."""
    middles = [np.log(np.maximum(column, 1e-30)).mean() for column in inputs.values()]
    columns = []
    for param in law.params:
        if param.real:
            value = _signed(param.low, param.high, rng)
            spread = NEAR_START * min(param.high - param.low, 2e3) / 4
            near = (param.start or 0.0) + spread * rng.standard_normal(SCATTER)
        else:
            value = _positive(param.low, param.high, middles, rng)
            near = (param.start or 1.0) * np.exp(NEAR_START * rng.standard_normal(SCATTER))
        if param.start is not None:
            value = np.where(np.arange(SCATTER) % 4 == 0, value, near)
            value[0] = param.start
        columns.append(np.clip(value, param.low, param.high))
    return np.stack(columns, axis=-1)


def _signed(low: float, high: float, rng: np.random.Generator) -> Array:
    """Half over the range, half of any size in it: a wide range is seldom meant evenly."""
    even = rng.uniform(max(low, -1e3), min(high, 1e3), SCATTER)
    sign = rng.choice([-1.0, 1.0], SCATTER) if low < 0 < high else np.sign(low + high)
    sized = sign * np.exp(rng.uniform(*LOG_ANY, SCATTER))
    return np.asarray(np.where(rng.random(SCATTER) < 0.5, even, np.clip(sized, low, high)))


def _positive(low: float, high: float, middles: list[float], rng: np.random.Generator) -> Array:
    if high / low < NARROW:
        return np.asarray(np.exp(rng.uniform(np.log(low), np.log(high), SCATTER)))
    kinds = rng.random(SCATTER)
    exponent = rng.uniform(*LOG_EXPONENT, SCATTER)
    anything = rng.uniform(*LOG_ANY, SCATTER)
    scale = rng.choice(middles, SCATTER) + rng.uniform(-NEAR_INPUT, NEAR_INPUT, SCATTER)
    return np.asarray(np.exp(np.select([kinds < 0.6, kinds < 0.8], [exponent, anything], scale)))


def _projected(law: Law, inputs: Inputs, loss: Array, theta: Array, linear: list[int]) -> Array:
    """The linear parameters of every start by non-negative least squares of relative errors."""
    theta = theta.copy()
    theta[:, linear] = np.clip(1.0, *np.array([(law.params[i].low, law.params[i].high)
                                               for i in linear]).T)  # fmt: skip
    slope = law.jacobian(theta, inputs)[..., linear] / loss[:, None]
    rest = law.predict(theta, inputs) / loss - slope @ theta[0, linear]
    signs = np.where(law.real[linear], -1.0, 0.0)
    negative = np.flatnonzero(signs)
    for s in np.flatnonzero(np.isfinite(slope).all(axis=(1, 2)) & np.isfinite(rest).all(axis=1)):
        columns = np.concatenate([slope[s], -slope[s][:, negative]], axis=1)
        # Columns of any unit: scaled to length one, or their squares would underflow.
        length = np.linalg.norm(columns, axis=0)
        length = np.where(length > 0, length, 1.0)
        found, _ = nnls(columns / length, 1.0 - rest[s])
        found = found / length
        value = found[: len(linear)]
        value[negative] -= found[len(linear) :]
        least = LEAST / np.maximum(np.abs(slope[s]).mean(axis=0), 1e-300)
        theta[s, linear] = np.where(law.real[linear] | (value > 0), value, least)
    return theta
