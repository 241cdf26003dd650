"""Batched Levenberg-Marquardt on the logs of positive parameters, Huber loss on log residuals.

B problems of one law are solved at once: all starts of one fit, or one start of all draws.
Every problem may have its own losses; all share the inputs.
"""

from dataclasses import dataclass

import numpy as np

from isoflop._types import Array
from isoflop.laws import Inputs, Law

MAX_STEP = 2.0
"""Largest change of a log parameter in one step."""

DAMPING = (1e-3, 1e-10, 1e10)
"""First, smallest and largest Marquardt damping."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is fitted: `log_loss` (B, R) or (1, R), Huber's `delta`, bounds of log theta (P,)."""

    law: Law
    inputs: Inputs
    log_loss: Array
    delta: float
    low: Array
    high: Array
    prior_center: Array
    """Centre (P,) of the weak prior on log theta; unused where its precision is zero."""
    prior_precision: Array
    """(P,) in units of squared log residuals; zero for a plain fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """End points: `z` = log theta (B, P), `objective` (B,), relative `gradient` (B,)."""

    z: Array
    objective: Array
    gradient: Array
    iterations: int


def huber(residual: Array, delta: float) -> Array:
    """Huber's loss: r^2/2 inside +-delta, delta (|r| - delta/2) outside."""
    size = np.abs(residual)
    inside = np.minimum(size, delta)
    return inside * (size - inside / 2)


def solve(
    target: Target, starts: Array, *, max_iterations: int = 200, tolerance: float = 1e-13
) -> Solution:
    """Minimise sum Huber(log prediction - log loss) from every start (B, P) of log theta.

    Iteratively reweighted Gauss-Newton steps with Marquardt damping; parameters at a bound with
    an outward gradient are held there. A problem is dropped from the batch once its objective
    stops falling (relative change below `tolerance` at three accepted steps running).
    """
    z = np.clip(starts, target.low, target.high)
    losses = np.broadcast_to(target.log_loss, (len(z), target.log_loss.shape[-1]))
    objective = _objective(target, z, losses)
    damping = np.full(len(z), DAMPING[0])
    still = np.zeros(len(z), dtype=int)
    live = np.flatnonzero(np.isfinite(objective))
    iterations = 0
    while live.size and iterations < max_iterations:
        iterations += 1
        hessian, gradient = _normal(target, z[live], losses[live])
        trial = z[live] + _step(target, z[live], hessian, gradient, damping[live])
        trial = np.clip(trial, target.low, target.high)
        value = _objective(target, trial, losses[live])
        better = value < objective[live]
        gain = np.where(better, (objective[live] - value) / np.maximum(value, 1e-300), 0.0)
        z[live[better]] = trial[better]
        objective[live[better]] = value[better]
        factor = np.where(better, 0.2, 6.0)
        damping[live] = np.clip(damping[live] * factor, DAMPING[1], DAMPING[2])
        small = np.where(better, gain < tolerance, damping[live] >= DAMPING[2])
        still[live] = np.where(small, still[live] + 1, 0)
        live = live[still[live] < 3]
    return Solution(
        z=z,
        objective=objective,
        gradient=_gradient(target, z, losses, objective),
        iterations=iterations,
    )


def log_predict(law: Law, z: Array, inputs: Inputs) -> Array:
    """log prediction (B, R) at log parameters (B, P); not finite where it overflows."""
    with np.errstate(all="ignore"):
        return np.asarray(np.log(law.predict(np.exp(z), inputs)))


def log_jacobian(law: Law, z: Array, inputs: Inputs) -> Array:
    """d log prediction / d log theta, (B, R, P)."""
    with np.errstate(all="ignore"):
        theta = np.exp(z)
        slope = law.jacobian(theta, inputs) * theta[..., None, :]
        slope = slope / law.predict(theta, inputs)[..., None]
    return np.where(np.isfinite(slope), slope, 0.0)


def _objective(target: Target, z: Array, losses: Array) -> Array:
    residual = log_predict(target.law, z, target.inputs) - losses
    with np.errstate(all="ignore"):
        value = huber(residual, target.delta).sum(axis=-1)
    value = value + 0.5 * ((z - target.prior_center) ** 2 * target.prior_precision).sum(axis=-1)
    return np.where(np.isfinite(value), value, np.inf)


def _normal(target: Target, z: Array, losses: Array) -> tuple[Array, Array]:
    """Gauss-Newton matrix (B, P, P) and gradient (B, P)."""
    residual = log_predict(target.law, z, target.inputs) - losses
    slope = log_jacobian(target.law, z, target.inputs)
    weight = target.delta / np.maximum(np.abs(residual), target.delta)
    weighted = slope * weight[..., None]
    hessian = np.swapaxes(weighted, -1, -2) @ slope
    gradient = (weighted * residual[..., None]).sum(axis=-2)
    diagonal = np.arange(z.shape[-1])
    hessian[:, diagonal, diagonal] += target.prior_precision
    return hessian, gradient + target.prior_precision * (z - target.prior_center)


def _step(target: Target, z: Array, hessian: Array, gradient: Array, damping: Array) -> Array:
    held = _held(target, z, gradient)
    gradient = np.where(held, 0.0, gradient)
    size = z.shape[-1]
    eye = np.eye(size)
    free = np.logical_not(held)
    matrix = hessian * free[:, :, None] * free[:, None, :]
    scale = np.einsum("bii->bi", matrix)
    # A parameter that nothing depends on (a floor at zero) has no scale of its own.
    scale = np.maximum(scale, 1e-12 * np.maximum(scale.max(axis=-1, keepdims=True), 1e-300))
    matrix = matrix + eye * (damping[:, None] * scale + np.where(held, scale, 0.0))[:, :, None]
    # Jacobi scaling keeps the solve well posed whatever the units of the parameters.
    root = np.sqrt(scale)
    step = -np.linalg.solve(
        matrix / (root[:, :, None] * root[:, None, :]) + 1e-15 * eye,
        (gradient / root)[..., None],
    )[..., 0]
    return np.asarray(np.clip(step / root, -MAX_STEP, MAX_STEP))


def _held(target: Target, z: Array, gradient: Array) -> Array:
    at_low = (z <= target.low) & (gradient > 0)
    at_high = (z >= target.high) & (gradient < 0)
    return np.asarray(at_low | at_high)


def _gradient(target: Target, z: Array, losses: Array, objective: Array) -> Array:
    """Largest free gradient component relative to the objective."""
    _, gradient = _normal(target, z, losses)
    free = np.where(_held(target, z, gradient), 0.0, gradient)
    with np.errstate(all="ignore"):
        return np.asarray(np.abs(free).max(axis=-1) / np.maximum(objective, 1e-300))
