"""Profile likelihood: how far one parameter may move while the others make up for it.

The parameter is held at a value, the others are fitted again; the deviance 2 (Q - Q_min) of the
fit's own objective grows on either side, and the interval ends where it passes a threshold. Under
independent normal noise that is t^2 sigma^2. Runs of one trunk share noise, which the objective
does not know: the threshold is therefore t^2 V / H^-1, with the parameter's variance V under the
fit's noise (trunk and own) over the curvature's H^-1, a factor that stands for sigma^2 over the
effective share of independent runs. The degrees of freedom of t are Satterthwaite's of the two
variances. Source: Chandler and Bate 2007, doi:10.1093/biomet/asm015 (adjusting a profile of a
working-independence likelihood); Satterthwaite 1946, doi:10.2307/3002019.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtrit

from isoflop._errors import InputError
from isoflop._types import LEVEL, Array
from isoflop.fitting.objective import WIDE, Target, row_loss
from isoflop.fitting.one_law import LawFit
from isoflop.fitting.solver import log_jacobian, solve
from isoflop.laws import Law, find_in, find_root

STEPS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.6, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0)
"""Points on either side, in expected half-widths; the parameter's bound ends the row."""

PRECISION = 1e-6
"""Relative width in log parameters at which an end is found."""

TOLERANCE = 1e-12

MOST = 6
"""Parameters profiled unasked: each costs as much as a few dozen draws."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The profile likelihood interval of one parameter, and the deviance that it is read from."""

    law: str
    name: str
    value: float
    low: float
    """0 (minus infinity where the parameter may be negative) where the data set no lower end."""
    high: float
    """Infinite where the data set no upper end."""
    level: float
    freedom: float
    """Degrees of freedom of the noise behind it."""
    clustering: float
    """Variance of the parameter over what runs with independent noise of the same size would
    give: above 1 where runs of one trunk share what this parameter depends on."""
    grid: Array
    deviance: Array
    """Deviance at the grid, in units of the threshold: inside the interval below 1."""

    @property
    def open_low(self) -> bool:
        """Whether the data set no lower end."""
        return self.low in (0.0, -np.inf)

    @property
    def open_high(self) -> bool:
        """Whether the data set no upper end."""
        return bool(np.isinf(self.high))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """Threshold of 2 (Q - Q_min), expected half-width in z, and what the others do meanwhile."""

    threshold: float
    half_width: float
    direction: Array
    """d z / d z_k (P,) along the bottom of the valley."""
    freedom: float
    clustering: float


def profile(fitted: LawFit, name: str, level: float = LEVEL) -> Profile:
    """The interval of one parameter by profile likelihood.

    Args:
        fitted: one law's fit.
        name: the parameter.
        level: level of the interval.

    Raises:
        InputError: no such parameter, or a level outside (0, 1).
    """
    find_in(name, dict.fromkeys(fitted.law.names), "parameter")
    if not 0 < level < 1:
        raise InputError(f"`0 < level < 1` must hold, but got level={level}. Use e.g. 0.9.")
    k = fitted.law.names.index(name)
    if _unit_moves(fitted, k):
        fitted = _in_own_units(fitted)
    scale = _scale(fitted, k, level)
    low, high = _ends(fitted.target, k)
    steps = scale.half_width * np.array(STEPS)
    left = np.append(_inside(fitted.z[k] - steps, low, high), low)
    right = np.append(_inside(fitted.z[k] + steps, low, high), high)
    values = np.unique(np.concatenate([left, right, [fitted.z[k]]]))
    lowest = float(fitted.certificate.objective)
    solved = _solved(fitted, k, values, scale)
    deviance = _deviance(solved[1], lowest, scale)
    ends = _crossings(fitted, k, scale, values, (solved[0], deviance))
    theta = np.tile(fitted.theta, (len(values), 1))
    theta[:, k] = _to_theta(fitted, k, values)
    real = bool(fitted.law.real[k])
    nothing = -np.inf if real else 0.0
    return Profile(
        law=fitted.law.name,
        name=name,
        value=float(fitted.theta[k]),
        low=nothing if ends[0] is None else float(_to_theta(fitted, k, np.array([ends[0]]))[0]),
        high=np.inf if ends[1] is None else float(_to_theta(fitted, k, np.array([ends[1]]))[0]),
        level=level,
        freedom=scale.freedom,
        clustering=scale.clustering,
        grid=theta[:, k],
        deviance=deviance,
    )


def profiled_names(law: Law) -> tuple[str, ...]:
    """What is worth a profile: floor and exponents; of a law of one's own, whose units are not
    known, every parameter; at most six."""
    with_unit = {param.name for param in law.params if param.unit}
    return tuple(name for name in law.names if name == "E" or name not in with_unit)[:MOST]


def _unit_moves(fitted: LawFit, k: int) -> bool:
    """Whether the unit of a parameter hangs on others: an amplitude's on its exponent."""
    moved = fitted.z + np.where(np.arange(len(fitted.z)) == k, 0.0, 1e-3)
    return not np.isclose(fitted.to_theta(moved)[k], fitted.theta[k], rtol=1e-9, atol=0)


def _in_own_units(fitted: LawFit) -> LawFit:
    """The same fit with its inputs in the units of the table: holding A then holds A."""
    inputs = {name: column * fitted.scales[name] for name, column in fitted.inputs.items()}
    return replace(
        fitted,
        z=fitted.law.to_z(fitted.theta),
        scales=dict.fromkeys(fitted.scales, 1.0),
        inputs=inputs,
        target=replace(fitted.target, inputs=inputs),
    )


def _scale(fitted: LawFit, k: int, level: float) -> _Scale:
    """The threshold from the fit's noise, by the sandwich of curvature and clustered variance."""
    slope, residual = _slopes(fitted)
    _, first, second = row_loss(fitted.target, residual)
    weight = fitted.target.weight[0]
    bend = float(np.clip(second, 0.0, None).mean())
    free = ~_at_bound(fitted)
    free[k] = True
    part = slope[:, free]
    inverse = np.zeros((slope.shape[1],) * 2)
    matrix = (part * weight[:, None]).T @ part
    matrix += np.diag(fitted.target.prior_precision[free]) / max(bend, 1e-3)
    inverse[np.ix_(free, free)] = np.linalg.pinv(matrix, rcond=1e-14, hermitian=True)
    own, shared = _variances(fitted, slope * weight[:, None] @ inverse[:, k])
    # A robust loss sees less of the noise, and bends less: both cancel for least squares.
    robust = 1.0
    if fitted.target.delta < WIDE:
        seen = np.clip(residual, -3 * fitted.target.delta, 3 * fitted.target.delta)
        robust = float((first**2).mean() / max((seen**2).mean(), 1e-300)) / max(bend, 1e-3)
    variance = own + shared
    noise = fitted.noise
    shares = own**2 / noise.freedom_own + shared**2 / noise.freedom_shared
    freedom = float(variance**2 / shares) if shares > 0 else noise.freedom_own
    t = float(stdtrit(freedom, (1 + level) / 2))
    ratio = variance / max(float(inverse[k, k]), 1e-300)
    alone = max(noise.total, 1e-300) ** 2 * float(inverse[k, k])
    return _Scale(
        threshold=t**2 * ratio * robust,
        half_width=max(t * float(np.sqrt(variance * robust / max(bend, 1e-3))), 1e-9),
        direction=inverse[:, k] / max(float(inverse[k, k]), 1e-300),
        freedom=freedom,
        clustering=variance / alone if alone > 0 else 1.0,
    )


def _slopes(fitted: LawFit) -> tuple[Array, Array]:
    """d prediction / d z (R, P) and the residuals (R,), in the unit of the objective."""
    slope = log_jacobian(fitted.law, fitted.z[None], fitted.inputs)[0]
    losses = fitted.target.losses[0]
    if not fitted.target.level:
        return slope, -fitted.residual
    value = losses / np.exp(fitted.residual)
    return slope * value[:, None], value - losses


def _variances(fitted: LawFit, pull: Array) -> tuple[float, float]:
    """Variance of sum(pull * noise) from the runs' own noise and from their trunks'."""
    if fitted.target.level:
        # Noise is of log loss: of the loss itself it is as much larger as the loss is.
        pull = pull * fitted.target.losses[0] / np.exp(fitted.residual)
    by_trunk = np.bincount(fitted.trunk, weights=pull)
    noise = fitted.noise
    return float(noise.own**2 * (pull @ pull)), float(noise.shared**2 * (by_trunk @ by_trunk))


def _ends(target: Target, k: int) -> tuple[float, float]:
    return float(target.low[k]), float(target.high[k])


def _at_bound(fitted: LawFit) -> np.ndarray:
    return np.isin(np.array(fitted.law.names), fitted.certificate.at_bound)


def _inside(values: Array, low: float, high: float) -> Array:
    return np.asarray(values[(values > low) & (values < high)])


def _to_theta(fitted: LawFit, k: int, values: Array) -> Array:
    """The parameter in the units of the table; its unit may hang on the others (exponents)."""
    z = np.tile(fitted.z, (len(values), 1))
    z[:, k] = values
    return fitted.to_theta(z)[:, k]


def _deviance(objective: Array, lowest: float, scale: _Scale) -> Array:
    return np.asarray(2 * np.maximum(objective - lowest, 0.0) / max(scale.threshold, 1e-300))


def _solved(fitted: LawFit, k: int, values: Array, scale: _Scale) -> tuple[Array, Array]:
    """The others fitted at each held value (G,): z (G, P) and objectives (G,), of two starts."""
    moved = values - fitted.z[k]
    flat = np.tile(fitted.z, (len(values), 1))
    flat[:, k] = values
    # Along the valley as far as it is straight: ten half-widths, and never out of the bounds.
    reach = np.clip(moved, -10 * scale.half_width, 10 * scale.half_width)
    valley = fitted.z + reach[:, None] * scale.direction
    valley = np.clip(valley, fitted.target.low, fitted.target.high)
    valley[:, k] = values
    return _best_of(fitted, k, np.stack([flat, valley]))


def _best_of(fitted: LawFit, k: int, starts: Array) -> tuple[Array, Array]:
    """The better end of every start (T, G, P) with parameter k held."""
    held = np.arange(len(fitted.z)) == k
    target = replace(fitted.target, fixed=held)
    tries, count, size = starts.shape
    done = solve(target, starts.reshape(-1, size), max_iterations=200, tolerance=TOLERANCE)
    objective = done.objective.reshape(tries, count)
    best = objective.argmin(axis=0)
    z = done.z.reshape(tries, count, size)[best, np.arange(count)]
    return z, objective[best, np.arange(count)]


def _crossings(
    fitted: LawFit, k: int, scale: _Scale, values: Array, solved: tuple[Array, Array]
) -> list[float | None]:
    """Where the deviance passes 1 below and above the value; None where it does not."""
    z, deviance = solved
    middle = int(np.argmin(np.abs(values - fitted.z[k])))
    sides = (np.arange(middle, -1, -1), np.arange(middle, len(values)))
    found: list[float | None] = []
    for side in sides:
        outside = np.flatnonzero(deviance[side] > 1)
        if not outside.size:
            found.append(None)
            continue
        if outside[0] == 0:
            found.append(float(values[side[0]]))
            continue
        near, far = side[outside[0] - 1], side[outside[0]]
        found.append(_crossing(fitted, k, scale, (values[near], values[far]), (z[near], z[far])))
    return found


def _crossing(
    fitted: LawFit,
    k: int,
    scale: _Scale,
    bracket: tuple[float, float],
    ends: tuple[Array, Array],
) -> float:
    near, far = bracket
    lowest = float(fitted.certificate.objective)

    def root_deviance(share: Array) -> Array:
        # Square root: near its minimum a deviance is a parabola, its root a straight line.
        start = ends[0] + share[:, None] * (ends[1] - ends[0])
        start[:, k] = near + share * (far - near)
        _, objective = _best_of(fitted, k, start[None])
        return np.asarray(np.sqrt(_deviance(objective, lowest, scale)) - 1)

    share = find_root(root_deviance, np.zeros(1), np.ones(1), tolerance=PRECISION)
    return float(near + share[0] * (far - near))
