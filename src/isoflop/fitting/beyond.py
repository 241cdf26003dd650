"""How far log losses step along a direction that the law itself cannot follow."""

from dataclasses import dataclass

import numpy as np

from isoflop._types import Array
from isoflop.fitting.noise import Noise, column_basis, estimate_noise
from isoflop.fitting.one_law import LawFit
from isoflop.fitting.solver import log_jacobian


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One coefficient of log loss on a direction, its standard error and its freedom."""

    size: float
    error: float
    freedom: float
    left: Array
    """Residuals (R,) of log loss without the step."""

    @property
    def t(self) -> float:
        """The step over its standard error."""
        return self.size / max(self.error, 1e-9)


def step_beyond(fitted: LawFit, direction: Array, trunk: np.ndarray) -> Step | None:
    """Least-squares coefficient of log residuals on a direction (R,), the law's own removed.

    The law, linearised at its optimum, may follow any change first: only what it cannot follow
    counts, `size = h'r / h'h` with h the direction less its projection on the law's Jacobian.
    Its error takes the noise that trunks share into account. None where the law can follow the
    direction almost entirely (95 % of it), so that the runs do not say.
    """
    slope = log_jacobian(fitted.law, fitted.z[None], fitted.inputs)[0]
    rest = outside(slope)
    own = direction - direction.mean()
    h = rest @ direction
    square = float(h @ h)
    if square < 0.05 * float(own @ own) or square <= 0:
        return None
    size = float(h @ fitted.residual) / square
    left = rest @ (fitted.residual - size * direction)
    both = np.concatenate([slope, direction[:, None]], axis=1)
    noise = estimate_noise(left, both, trunk)
    variance = float(h @ covariance(noise, trunk) @ h) / square**2
    freedom = min(noise.freedom_shared, noise.freedom_own)
    return Step(size=size, error=float(np.sqrt(variance)), freedom=freedom, left=left)


def outside(slope: Array) -> Array:
    """Projector (R, R) on what a Jacobian (R, P) cannot follow."""
    basis = column_basis(slope)
    return np.asarray(np.eye(len(slope)) - basis @ basis.T)


def covariance(noise: Noise, trunk: np.ndarray) -> Array:
    """Covariance (R, R) of log losses: own noise, and the noise that a trunk's runs share."""
    same = (trunk[:, None] == trunk[None, :]).astype(np.float64)
    return np.asarray(noise.own**2 * np.eye(trunk.size) + noise.shared**2 * same)
