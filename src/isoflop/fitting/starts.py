"""Starting points by variable projection: a grid of exponents, amplitudes by non-negative
least squares.

For fixed exponents every built-in law is linear in its amplitudes (Kaplan's after the outer
power is undone), so the best amplitudes need no guess. Source: Czech et al. 2026,
arXiv:2603.22339 (VPNLS).
"""

from itertools import combinations, product

import numpy as np

from isoflop._types import Array
from isoflop.fitting.projection import projected_starts
from isoflop.laws import CHINCHILLA, Inputs, Law

EXPONENTS = np.array([0.12, 0.18, 0.25, 0.35, 0.5, 0.7, 0.95, 1.3])
COUPLINGS = (0.5, 0.75, 1.0)
JOINED = 24

FARSEER_STARTS = 8
"""Chinchilla's starts that Farseer's are made of."""

FARSEER_MOVES = 0.1
"""How much the starts' data term falls with ln N, off zero where its power has no gradient."""

POWERS = (-0.2, 0.1, 0.4)
"""Powers of N inside Farseer's exponents that starts are made at."""

FLOORS = np.array([0.0, 0.3, 0.6, 0.85])
"""Floors tried, as shares of the lowest loss, where the floor is inside a power."""


def make_starts(law: Law, inputs: Inputs, loss: Array) -> Array:
    """Starts (S, P) of theta for inputs in units near 1 and losses (R,)."""
    if law.starts is not None:
        return law.starts(inputs, loss)
    if law.terms:
        return _additive(law, inputs, loss)
    if law.name in ("kaplan_joint", "kaplan_floor"):
        return _kaplan(law, inputs, loss)
    if law.name == "skaling":
        # Chinchilla's best starts, joined at several strengths.
        additive = _additive(CHINCHILLA, inputs, loss)[:JOINED]
        return np.concatenate([np.insert(additive, 5, k, axis=1) for k in COUPLINGS])
    if law.name == "farseer":
        return _farseer(inputs, loss)
    if law.name in ("power", "power_floor"):
        return _power(law, inputs, loss)
    return projected_starts(law, inputs, loss)


def _additive(law: Law, inputs: Inputs, loss: Array) -> Array:
    """Every pair of exponents; floor and amplitudes by non-negative least squares, all at once.

    The best of them come first.
    """
    exponents = tuple(dict.fromkeys(term.exponent for term in law.terms))
    size = len(EXPONENTS)
    choice = np.array(list(product(range(size), repeat=len(exponents))))
    # All columns that any grid point may use: ones, then every power of every input.
    powers = [np.exp(-EXPONENTS[:, None] * np.log(inputs[term.input])) for term in law.terms]
    columns = np.concatenate([np.ones((1, loss.size)), *powers]) / loss
    used = np.zeros((len(choice), 1 + len(law.terms)), dtype=int)
    for k, term in enumerate(law.terms):
        used[:, k + 1] = 1 + k * size + choice[:, exponents.index(term.exponent)]
    gram = (columns @ columns.T)[used[:, :, None], used[:, None, :]]
    amplitudes, error = _nonnegative_each(gram, columns.sum(axis=-1)[used])
    starts = np.ones((len(choice), len(law.params)))
    starts[:, exponents] = EXPONENTS[choice]
    starts[:, [0, *(term.amplitude for term in law.terms)]] = _floored(amplitudes, loss)
    return starts[np.argsort(error, kind="stable")]


def _nonnegative_each(gram: Array, moment: Array) -> tuple[Array, Array]:
    """Non-negative least squares of S problems of K columns, by every set of active ones.

    Args:
        gram: inner products of the columns (S, K, K).
        moment: those of the columns with the goal (S, K).

    Returns:
        The amplitudes (S, K) and the error (S,) less that of the empty model.
    """
    count = moment.shape[-1]
    best, answer = np.full(len(moment), np.inf), np.zeros(moment.shape)
    for size in range(1, count + 1):
        for active in combinations(range(count), size):
            pick = list(active)
            part = gram[:, pick][:, :, pick] + 1e-12 * np.eye(size)
            values = np.linalg.solve(part, moment[:, pick, None])[..., 0]
            # |1 - X v|^2 = R - v'm at the least-squares point: the larger v'm, the better.
            error = -(values * moment[:, pick]).sum(axis=-1)
            good = (values >= 0).all(axis=-1) & (error < best)
            best = np.where(good, error, best)
            filled = np.zeros_like(answer)
            filled[:, pick] = values
            answer = np.where(good[:, None], filled, answer)
    return answer, best


def _kaplan(law: Law, inputs: Inputs, loss: Array) -> Array:
    """Every floor and pair of exponents; both amplitudes by non-negative least squares."""
    with_floor = law.name == "kaplan_floor"
    grid = product(FLOORS if with_floor else FLOORS[:1], EXPONENTS, EXPONENTS)
    share, alpha_n, alpha_d = np.array(list(grid)).T
    power = alpha_n / alpha_d
    rest = loss - share[:, None] * loss.min()
    # dL = alpha_d (L-E)^(1 - 1/alpha_d) d[(L-E)^(1/alpha_d)]: relative errors of L.
    weight = alpha_d[:, None] * rest ** (1 - 1 / alpha_d[:, None]) / loss
    by_data = np.broadcast_to(1 / inputs["n_tokens"], rest.shape)
    columns = np.stack([inputs["n_params"] ** -power[:, None], by_data], axis=1) * weight[:, None]
    norm = np.linalg.norm(columns, axis=-1)
    columns = columns / norm[..., None]
    goal = rest ** (1 / alpha_d[:, None]) * weight
    moment = (columns @ goal[..., None])[..., 0]
    both = _nonnegative_each(columns @ np.swapaxes(columns, 1, 2), moment)[0] / norm
    a, b = np.maximum(both, 1e-3 * np.maximum(both.max(axis=1, keepdims=True), 1e-12)).T
    theta = [a ** (1 / power), b, alpha_n, alpha_d]
    floor = [np.maximum(share, 0.05) * loss.min()] if with_floor else []
    return np.stack([*floor, *theta], axis=1)


def _farseer(inputs: Inputs, loss: Array) -> Array:
    """Chinchilla's best starts, rewritten: its floor at every size is `exp(a3 N^g3 + b3)`."""
    log_n, unit = np.log(inputs["n_params"]), float(np.log(inputs["n_tokens"]).mean())
    near_one = {**inputs, "n_tokens": inputs["n_tokens"] / np.exp(unit)}
    rows = []
    for e, a, alpha, b, beta in _additive(CHINCHILLA, near_one, loss)[:FARSEER_STARTS]:
        floor = np.log(e + a * np.exp(-alpha * log_n))
        for power, other in product(POWERS, POWERS):
            a3, b3 = np.polyfit(np.exp(power * log_n), floor, 1)
            moving = [np.log(b) + beta * unit, -FARSEER_MOVES / other, other]
            height = [moving[1], other, moving[0] - moving[1]]
            rows.append([a3, power, b3, *height, 0.0, other, np.log(beta)])
    return np.array(rows)


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
