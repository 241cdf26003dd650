"""Starting points by variable projection: a grid of exponents, amplitudes by non-negative
least squares.

For fixed exponents every built-in law is linear in its amplitudes (Kaplan's after the outer
power is undone), so the best amplitudes need no guess. Source: Czech et al. 2026,
arXiv:2603.22339 (VPNLS).
"""

from itertools import combinations

import numpy as np

from isoflop._types import Array
from isoflop.laws import Inputs, Law

EXPONENTS = np.array([0.05, 0.1, 0.2, 0.35, 0.55, 0.8, 1.2])
FLOORS = np.array([0.0, 0.3, 0.6, 0.85])
"""Floors tried, as shares of the lowest loss, where the floor is inside a power."""


def make_starts(law: Law, inputs: Inputs, loss: Array) -> Array:
    """Starts (S, P) of theta for inputs in units near 1 and losses (R,)."""
    if law.name in ("chinchilla", "chinchilla_tied"):
        return _additive(law, inputs, loss)
    if law.name in ("kaplan_joint", "kaplan_floor"):
        return _kaplan(law, inputs, loss)
    if law.name in ("power", "power_floor"):
        return _power(law, inputs, loss)
    # A law that a user brought: a wide fixed scatter inside its bounds.
    rng = np.random.default_rng(0)
    low = np.log([max(param.low, 1e-3) for param in law.params])
    high = np.log([min(param.high, 1e3) for param in law.params])
    return np.asarray(np.exp(rng.uniform(low, high, size=(128, len(law.params)))))


def _additive(law: Law, inputs: Inputs, loss: Array) -> Array:
    n, d = inputs["n_params"], inputs["n_tokens"]
    tied = law.name == "chinchilla_tied"
    grid = [(p, q) for p in EXPONENTS for q in EXPONENTS if not tied or p == q]
    starts = []
    for alpha, beta in grid:
        columns = np.stack([np.ones_like(n), n**-alpha, d**-beta], axis=1)
        e, a, b = _nonnegative(columns / loss[:, None], np.ones_like(loss))
        e, a, b = _floored(np.array([e, a, b]), loss)
        starts.append([e, a, alpha, b] if tied else [e, a, alpha, b, beta])
    return np.array(starts)


def _kaplan(law: Law, inputs: Inputs, loss: Array) -> Array:
    n, d = inputs["n_params"], inputs["n_tokens"]
    floors = FLOORS if law.name == "kaplan_floor" else FLOORS[:1]
    starts = []
    for share in floors:
        rest = loss - share * loss.min()
        for alpha_n in EXPONENTS:
            for alpha_d in EXPONENTS:
                power = alpha_n / alpha_d
                columns = np.stack([n**-power, 1 / d], axis=1)
                # dL = alpha_d (L-E)^(1 - 1/alpha_d) d[(L-E)^(1/alpha_d)]: relative errors of L.
                weight = alpha_d * rest ** (1 - 1 / alpha_d) / loss
                goal = rest ** (1 / alpha_d)
                a, b = _nonnegative(columns * weight[:, None], goal * weight)
                a, b = np.maximum([a, b], 1e-3 * max(a, b, 1e-12))
                theta = [a ** (1 / power), b, alpha_n, alpha_d]
                floor = [max(share, 0.05) * loss.min()]
                starts.append(floor + theta if law.name == "kaplan_floor" else theta)
    return np.array(starts)


def _power(law: Law, inputs: Inputs, loss: Array) -> Array:
    x = inputs["x"]
    if law.name == "power":
        slope, intercept = np.polyfit(np.log(x), np.log(loss), 1)
        alpha = max(-slope, 0.01)
        guess = [[np.exp(intercept / alpha), alpha]]
        return np.array([*guess, *([1.0, p] for p in EXPONENTS)])
    starts = []
    for alpha in EXPONENTS:
        columns = np.stack([np.ones_like(x), x**-alpha], axis=1)
        e, k = _nonnegative(columns / loss[:, None], np.ones_like(loss))
        e, k = _floored(np.array([e, k]), loss)
        starts.append([e, k ** (1 / alpha), alpha])
    return np.array(starts)


def _floored(amplitudes: Array, loss: Array) -> Array:
    """Amplitudes kept off zero, where the log of a parameter has no gradient."""
    return np.asarray(np.maximum(amplitudes, 0.05 * loss.min()))


def _nonnegative(columns: Array, goal: Array) -> Array:
    """Non-negative least squares by trying every set of active columns (at most 2^3)."""
    best, answer = np.inf, np.zeros(columns.shape[1])
    count = columns.shape[1]
    for size in range(1, count + 1):
        for active in combinations(range(count), size):
            part = columns[:, list(active)]
            values, *_ = np.linalg.lstsq(part, goal, rcond=None)
            if (values < 0).any():
                continue
            error = float(((part @ values - goal) ** 2).sum())
            if error < best:
                best, answer = error, np.zeros(count)
                answer[list(active)] = values
    return answer
