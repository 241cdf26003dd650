"""Batched Newton / Levenberg-Marquardt in the search coordinates of a law.

B problems of one law are solved at once: all starts of one fit, or all starts of all draws.
Every problem may have its own losses and row weights; all share the inputs.
"""

from dataclasses import dataclass, replace

import numpy as np

from isoflop._types import Array
from isoflop.fitting.additive import additive_curvature
from isoflop.fitting.objective import Curvature, Target, generic_curvature
from isoflop.laws import Inputs, Law

MAX_STEP = 2.0
"""Largest change of a log parameter in one step; a real one moves a quarter of its range."""

DAMPING = (1e-3, 1e-10, 1e10)
"""First, smallest and largest Marquardt damping."""

TRUSTED = 1e-2
"""Damping below which a step is nearly Newton's, so that what it promises can be believed."""

SHRINK = (0.1, 0.03, 0.01, 3e-3)
"""Deltas tried on the way to a small one: from least squares to nearly least absolute."""


FIRST = 3
"""Steps that every start of a resample takes before those that have met go on as one."""

MET = 0.1
"""The same within one resample: its starts lie in the valley of the fit already, and distances
below this are shorter than what Newton's next step covers."""

SAME = 1e-2
"""Points whose coordinates differ by less are on their way to one minimum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """End points: `z` (B, P), `objective` (B,), relative `gradient` (B,)."""

    z: Array
    objective: Array
    gradient: Array
    iterations: int


def solve(
    target: Target, starts: Array, *, max_iterations: int = 200, tolerance: float = 1e-13
) -> Solution:
    """Minimise the objective from every start (B, P) of z.

    Newton steps (Gauss-Newton where the law's curvature is not known) with Marquardt damping;
    parameters at a bound with an outward gradient are held there. A problem is dropped from the
    batch after a step that promised to lower the objective by less than `tolerance` of itself,
    or once three steps running gained less than that.
    """
    z = np.clip(starts, target.low, target.high)
    losses = _each(target.losses, len(z))
    weight = _each(target.weight, len(z))
    at = _curvature(target, z, losses, weight)
    objective, gradient, hessian = at.objective, at.gradient, at.hessian
    damping = np.full(len(z), DAMPING[0])
    still = np.zeros(len(z), dtype=int)
    live = np.flatnonzero(np.isfinite(objective))
    iterations = 0
    while live.size and iterations < max_iterations:
        iterations += 1
        step = _step(target, z[live], hessian[live], gradient[live], damping[live])
        trial = np.clip(z[live] + step, target.low, target.high)
        # Half the slope along a nearly undamped step is what is left to gain (Newton decrement).
        promise = -0.5 * (gradient[live] * (trial - z[live])).sum(axis=-1)
        done = (np.abs(promise) <= tolerance * objective[live]) & (damping[live] <= TRUSTED)
        new = _curvature(target, trial, _pick(losses, live), _pick(weight, live))
        old = objective[live]
        better = new.objective < old
        with np.errstate(invalid="ignore"):
            # A step to where the law has no value is not better, whatever this quotient is.
            gain = np.where(better, (old - new.objective) / np.maximum(new.objective, 1e-300), 0.0)
        moved = live[better]
        z[moved] = trial[better]
        objective[moved] = new.objective[better]
        gradient[moved] = new.gradient[better]
        hessian[moved] = new.hessian[better]
        factor = np.where(better, 0.2, 6.0)
        damping[live] = np.clip(damping[live] * factor, DAMPING[1], DAMPING[2])
        small = np.where(better, gain < tolerance, damping[live] >= DAMPING[2])
        still[live] = np.where(done, 3, np.where(small, still[live] + 1, 0))
        live = live[still[live] < 3]
    free = np.where(_held(target, z, gradient), 0.0, gradient)
    with np.errstate(all="ignore"):
        relative = np.abs(free).max(axis=-1) / np.maximum(objective, 1e-300)
    return Solution(z=z, objective=objective, gradient=relative, iterations=iterations)


def polish(target: Target, solution: Solution) -> Solution:
    """The best end point after up to three plain Newton steps, kept while its gradient shrinks.

    A descent ends where the objective moves no more, at a gradient of about the square root of
    rounding; these steps go on to rounding itself.
    """
    best = int(np.argmin(solution.objective))
    z, objective = solution.z[[best]], solution.objective[[best]]
    losses, weight = target.losses[:1], target.weight[:1]
    at = _curvature(target, z, losses, weight)
    for _ in range(3):
        step = _step(target, z, at.hessian, at.gradient, np.zeros(1))
        trial = np.clip(z + step, target.low, target.high)
        new = _curvature(target, trial, losses, weight)
        shrunk = _size(target, trial, new) < _size(target, z, at)
        if not (shrunk and new.objective[0] <= objective[0] * (1 + 1e-12)):
            break
        z, at = trial, new
    ends, values = solution.z.copy(), solution.objective.copy()
    gradient = solution.gradient.copy()
    ends[best], values[best] = z[0], at.objective[0]
    gradient[best] = _size(target, z, at) / max(float(at.objective[0]), 1e-300)
    return replace(solution, z=ends, objective=values, gradient=gradient)


def _size(target: Target, z: Array, at: Curvature) -> float:
    """Largest component of the gradient that is free to move, of one problem."""
    return float(np.abs(np.where(_held(target, z, at.gradient), 0.0, at.gradient)).max())


def solve_small_delta(
    target: Target, starts: Array, *, max_iterations: int = 200, tolerance: float = 1e-13
) -> Solution:
    """`solve` for a delta far below the noise: least squares first, then delta shrinks to it.

    From far away every residual lies outside +-delta, where Huber's loss has no curvature to
    follow; each easier problem leads into the basin of the next. Problems that share losses and
    weights and have met on the way go on as one.
    """
    alike = len(target.losses) == len(target.weight) == 1
    z, spent = starts, 0
    group = np.arange(len(starts))
    for delta in (one for one in SHRINK if one > target.delta):
        easier = solve(replace(target, delta=delta), z, max_iterations=20, tolerance=1e-4)
        z, spent = easier.z, spent + easier.iterations
        if alike:
            kept, met = _meet(easier)
            z, group = z[kept], met[group]
    last = solve(target, z, max_iterations=max_iterations, tolerance=tolerance)
    return Solution(
        z=last.z[group],
        objective=last.objective[group],
        gradient=last.gradient[group],
        iterations=spent + last.iterations,
    )


def solve_resampled(
    target: Target, starts: Array, n_problems: int, *, tolerance: float = 1e-8
) -> Solution:
    """The best end point of each of B resampled problems, from every start (S, P) of z.

    All starts take a few steps; of each problem only the best goes on, and the others where
    they have not met it.
    """
    size = len(starts)
    many = replace(
        target,
        losses=np.repeat(target.losses, size, axis=0) if len(target.losses) > 1 else target.losses,
        weight=np.repeat(target.weight, size, axis=0) if len(target.weight) > 1 else target.weight,
    )
    first = solve(many, np.tile(starts, (n_problems, 1)), max_iterations=FIRST, tolerance=tolerance)
    z = first.z.reshape(n_problems, size, -1)
    lead = first.objective.reshape(n_problems, size).argmin(axis=-1)
    apart = np.abs(z - z[np.arange(n_problems), lead][:, None]).max(axis=-1) > MET
    apart[np.arange(n_problems), lead] = True
    go_on = np.flatnonzero(apart.ravel())
    part = replace(many, losses=_pick(many.losses, go_on), weight=_pick(many.weight, go_on))
    last = solve(part, first.z[go_on], max_iterations=60, tolerance=tolerance)
    # Sorted by problem, then by objective: the first of each problem is its best.
    order = np.lexsort((last.objective, go_on // size))
    best = order[np.unique((go_on // size)[order], return_index=True)[1]]
    return Solution(
        z=last.z[best],
        objective=last.objective[best],
        gradient=last.gradient[best],
        iterations=first.iterations + last.iterations,
    )


def _meet(solution: Solution) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (K,) of the distinct points, best first, and which of them each point is (B,)."""
    kept: list[int] = []
    member = np.empty(len(solution.z), dtype=int)
    for i in np.argsort(solution.objective, kind="stable"):
        near = np.abs(solution.z[kept] - solution.z[i]).max(axis=-1) < SAME if kept else []
        if np.any(near):
            member[i] = int(np.argmax(near))
        else:
            member[i] = len(kept)
            kept.append(int(i))
    return np.array(kept), member


def log_predict(law: Law, z: Array, inputs: Inputs) -> Array:
    """log prediction (B, R) at search coordinates (B, P); not finite where it overflows."""
    with np.errstate(all="ignore"):
        return np.asarray(np.log(law.predict(law.to_theta(z), inputs)))


def log_jacobian(law: Law, z: Array, inputs: Inputs) -> Array:
    """d log prediction / d z, (B, R, P)."""
    with np.errstate(all="ignore"):
        theta = law.to_theta(z)
        slope = law.jacobian(theta, inputs) * law.d_theta(theta)[..., None, :]
        slope = slope / law.predict(theta, inputs)[..., None]
    return np.where(np.isfinite(slope), slope, 0.0)


def _each(values: Array, count: int) -> Array:
    """One row for each problem; a single shared row stays one."""
    return values if len(values) in (1, count) else np.broadcast_to(values, (count, values.size))


def _pick(values: Array, live: np.ndarray) -> Array:
    return values if len(values) == 1 else values[live]


def _curvature(target: Target, z: Array, losses: Array, weight: Array) -> Curvature:
    exact = additive_curvature if target.law.terms else generic_curvature
    at = exact(target, z, losses, weight)
    if target.prior_precision.any():
        off = z - target.prior_center
        pull = off * target.prior_precision
        hessian = at.hessian + np.diag(target.prior_precision)
        objective = at.objective + 0.5 * (off * pull).sum(axis=-1)
        at = Curvature(objective=objective, gradient=at.gradient + pull, hessian=hessian)
    finite = np.isfinite(at.objective)
    return at if finite.all() else replace(at, objective=np.where(finite, at.objective, np.inf))


def _step(target: Target, z: Array, hessian: Array, gradient: Array, damping: Array) -> Array:
    held = _held(target, z, gradient)
    matrix = hessian
    if held.any():
        free = np.logical_not(held)
        gradient = np.where(held, 0.0, gradient)
        matrix = hessian * free[:, :, None] * free[:, None, :]
    diagonal = np.arange(z.shape[-1])
    # Newton's matrix may be indefinite far from the minimum; its size still gives the scale.
    scale = np.abs(matrix[:, diagonal, diagonal])
    # A parameter that nothing depends on (a floor at zero) has no scale of its own.
    scale = np.maximum(scale, 1e-12 * np.maximum(scale.max(axis=-1, keepdims=True), 1e-300))
    # Jacobi scaling keeps the solve well posed whatever the units of the parameters.
    root = np.sqrt(scale)
    matrix = matrix / (root[:, :, None] * root[:, None, :])
    matrix[:, diagonal, diagonal] += damping[:, None] + held + 1e-15
    with np.errstate(over="ignore", invalid="ignore"):
        # Where nothing bends, a step beyond all numbers is as good as the longest allowed.
        step = -np.linalg.solve(matrix, (gradient / root)[..., None])[..., 0] / root
    reach = np.where(target.law.real, 0.25 * (target.high - target.low), MAX_STEP)
    return np.asarray(np.clip(step, -reach, reach))


def _held(target: Target, z: Array, gradient: Array) -> Array:
    at_low = (z <= target.low) & (gradient > 0)
    at_high = (z >= target.high) & (gradient < 0)
    held = at_low | at_high
    return np.asarray(held if target.fixed is None else held | target.fixed)
