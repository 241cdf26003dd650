"""What a fit minimises: sum over runs of a robust loss of log (or level) residuals.

What to use when:
- `robust` (default): Huber at 1.345 robust sd of the residuals; near least squares on clean
  runs, deaf to bad ones.
- `hoffmann`: Huber at 1e-3 on log residuals, as the Chinchilla paper; in effect least absolute
  deviations. To reproduce published fits.
- `log_ls`, `level_ls`: least squares on logs, or on the target itself. Where noise is known to
  be normal.
- `one_sided`: for rungs that may be under-tuned. A run can be worse than it should be, hardly
  better: runs above the law are let go once they leave the noise, those below are not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from isoflop._types import Array
from isoflop.laws import Inputs, Law

Objective = Literal["robust", "hoffmann", "log_ls", "level_ls", "one_sided"]

OBJECTIVES: tuple[Objective, ...] = ("robust", "hoffmann", "log_ls", "level_ls", "one_sided")

WIDE = 1e6
"""Huber's delta of least squares: no residual ever reaches it."""

ABOVE = 1.5
"""Scale of Welsch's loss over Huber's delta: two sd of the noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is fitted: `losses` (B, R) or (1, R), Huber's `delta`, bounds of z (P,)."""

    law: Law
    inputs: Inputs
    losses: Array
    """Logs of the losses, or the losses themselves where `level`."""
    delta: float
    low: Array
    high: Array
    prior_center: Array
    """Centre (P,) of the prior on z; unused where its precision is zero."""
    prior_precision: Array
    """(P,) in units of squared residuals; zero for a plain fit."""
    weight: Array
    """Row weights (B, R) or (1, R): ones, or how often a resample drew each row."""
    level: bool = False
    one_sided: bool = False
    fixed: np.ndarray | None = None
    """Parameters (P,) that stay where they start; None where all are free."""
    logs: Mapping[str, Array] = field(init=False)
    basis: Mapping[str, Array] = field(init=False)
    """1, -x, x^2 of every log input, (R, 3)."""

    def __post_init__(self) -> None:
        logs = {term.input: np.log(self.inputs[term.input]) for term in self.law.terms}
        basis = {n: np.stack([np.ones_like(x), -x, x * x], axis=1) for n, x in logs.items()}
        object.__setattr__(self, "logs", logs)
        object.__setattr__(self, "basis", basis)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curvature:
    """`objective` (B,), `gradient` (B, P) and Newton or Gauss-Newton `hessian` (B, P, P)."""

    objective: Array
    gradient: Array
    hessian: Array


def huber(residual: Array, delta: Array | float) -> Array:
    """Huber's loss: r^2/2 inside +-delta, delta (|r| - delta/2) outside."""
    size = np.abs(residual)
    inside = np.minimum(size, delta)
    return np.asarray(inside * (size - inside / 2))


def row_loss(target: Target, residual: Array) -> tuple[Array, Array, Array]:
    """Huber's loss of residuals prediction - truth, with its first and second derivative."""
    size = np.abs(residual)
    if target.delta >= WIDE:
        return 0.5 * residual * residual, residual, np.ones_like(residual)
    inside = np.minimum(size, target.delta)
    value = inside * (size - 0.5 * inside)
    first = np.copysign(inside, residual)
    second = (size < target.delta).astype(np.float64)
    if target.one_sided:
        # A run above the law has a negative residual. Welsch's loss lets go of it smoothly.
        above, reach = residual < 0, ABOVE * target.delta
        share = np.exp(-0.5 * (residual / reach) ** 2)
        value = np.where(above, reach**2 * (1 - share), value)
        first = np.where(above, residual * share, first)
        second = np.where(above, (1 - (residual / reach) ** 2) * share, second)
    return value, first, second


def generic_curvature(target: Target, z: Array, losses: Array, weight: Array) -> Curvature:
    """Objective, gradient and reweighted Gauss-Newton matrix of any law, from its Jacobian."""
    law = target.law
    with np.errstate(all="ignore"):
        theta = law.to_theta(z)
        value = law.predict(theta, target.inputs)
        slope = law.jacobian(theta, target.inputs) * law.d_theta(theta)[..., None, :]
        if not target.level:
            slope /= value[..., None]
            value = np.log(value)
        residual = value - losses
        loss, first, _ = row_loss(target, residual)
        pull = np.where(residual == 0, 1.0, first / np.where(residual == 0, 1.0, residual))
    slope, pull, first = _finite(slope), _finite(pull), _finite(first)
    weighted = slope * (weight * pull)[..., None]
    return Curvature(
        objective=(loss * weight).sum(axis=-1),
        gradient=((first * weight)[..., None, :] @ slope)[..., 0, :],
        hessian=np.swapaxes(weighted, -1, -2) @ slope,
    )


def _finite(values: Array) -> Array:
    """The values, zero where they are no numbers; the very same array where all are."""
    finite = np.isfinite(values)
    return values if finite.all() else np.where(finite, values, 0.0)
