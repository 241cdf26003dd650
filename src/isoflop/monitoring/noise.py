"""How a healthy curve lies about a forecast of it: `CurveNoise`, calibrated on the pilots' curves.

The deviation of log loss along one run is a sum of four normal parts, all with mean zero:

    offset                       the same all along the run: the law's error at this size, the seed
    smooth * g(ln t)             a slow bend in log tokens: the law's shape is not quite the curve's
    drift * h(t)                 the training's own noise, remembered over `memory` tokens
    white / sqrt(evaluations)    each evaluation's own

g has a Matern-3/2 correlation of length `length`, h an exponential one. All of it is known up to
one factor, whose inverse square is gamma distributed: the deviations are Student-t with `freedom`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from isoflop._errors import InputError
from isoflop._types import Array

# Medians and widths (sd of the log) of the prior: what pretraining curves show, known to a factor
# of e or so. A handful of pilots cannot tell a bend from an offset without it.
_PRIOR = {
    "offset": (0.005, 1.0),
    "smooth": (0.003, 1.0),
    "length": (1.0, 0.5),
    "drift": (0.002, 1.0),
    "memory": (1.0, 1.0),  # in the median spacing of the pilots' points
    "white": (0.001, 1.0),
}
_LEAST = 1e-6
"""Variance share added to the diagonal, so that exact curves have a covariance too."""
LEAST_FREEDOM = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveNoise:
    """Standard deviations of log loss of the four parts, and what they are correlated over."""

    offset: float
    smooth: float
    length: float
    """Of the slow bend, in ln tokens."""
    drift: float
    memory: float
    """Of the training's own noise [tokens]."""
    white: float
    freedom: float
    """Degrees of freedom of the scale: from how many independent pieces it is known."""

    def __post_init__(self) -> None:
        for name in ("offset", "smooth", "drift", "white"):
            _require(getattr(self, name) >= 0, f"`{name} >= 0`", getattr(self, name))
        for name in ("length", "memory", "freedom"):
            _require(getattr(self, name) > 0, f"`{name} > 0`", getattr(self, name))
        _require(max(self.drift, self.white) > 0, "`drift > 0` or `white > 0`", 0.0)

    @property
    def local(self) -> float:
        """Sd of what moves from one evaluation to a far one: drift and white."""
        return float(np.hypot(self.drift, self.white))

    def covariance(self, n_tokens: Array, counts: Array | None = None) -> Array:
        """Covariance (R, R) of the log loss at token counts (R,), each the mean of `counts`."""
        log_t = np.log(n_tokens)
        far = np.sqrt(3) * np.abs(log_t[:, None] - log_t[None]) / self.length
        near = np.abs(n_tokens[:, None] - n_tokens[None]) / self.memory
        out = self.offset**2 + self.smooth**2 * (1 + far) * np.exp(-far)
        out = out + self.drift**2 * np.exp(-near)
        single = self.white**2 / (np.ones(n_tokens.size) if counts is None else counts)
        out[np.diag_indices(n_tokens.size)] += single + _LEAST * self.local**2
        return np.asarray(out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviations:
    """One pilot's log loss less its forecast, at token counts (R,) in ascending order."""

    n_tokens: Array
    value: Array

    def __post_init__(self) -> None:
        assert self.n_tokens.shape == self.value.shape
        assert self.n_tokens.ndim == 1


def calibrate_noise(pilots: Sequence[Deviations], *, freedom: float) -> CurveNoise:
    """The noise that makes the pilots' deviations most likely, with a weak prior.

    Args:
        pilots: deviations of independent trainings, best from forecasts that did not see them.
        freedom: how many independent pieces they amount to; at least 4 are taken.

    Raises:
        InputError: fewer than two pilots, or none with three points.
    """
    curves = [one for one in pilots if one.n_tokens.size]
    spacing = [np.diff(one.n_tokens) for one in curves if one.n_tokens.size > 2]
    if len(curves) < 2 or not spacing:
        raise InputError(
            f"two pilots at least, one with three evaluations, must be there to calibrate the "
            f"noise, but got {len(curves)}. Evaluate the pilots more often along their way."
        )
    unit = float(np.median(np.concatenate(spacing)))
    center = np.log([median for median, _ in _PRIOR.values()])
    center[list(_PRIOR).index("memory")] += np.log(max(unit, 1.0))
    width = np.array([sd for _, sd in _PRIOR.values()])

    def cost(z: Array) -> float:
        noise = _noise_at(z, freedom)
        prior = float((((z - center) / width) ** 2).sum() / 2)
        return prior - sum(_log_likelihood(noise, one) for one in curves)

    found = minimize(cost, center, method="L-BFGS-B", bounds=[(c - 7, c + 5) for c in center])
    return _noise_at(found.x, freedom)


def _noise_at(z: Array, freedom: float) -> CurveNoise:
    values = dict(zip(_PRIOR, np.exp(z).tolist(), strict=True))
    return CurveNoise(**values, freedom=max(LEAST_FREEDOM, freedom))


def _log_likelihood(noise: CurveNoise, one: Deviations) -> float:
    """Of one curve, normal, up to a constant."""
    factor = cho_factor(noise.covariance(one.n_tokens), lower=True)
    log_det = 2 * float(np.log(np.diag(factor[0])).sum())
    return -(log_det + float(one.value @ cho_solve(factor, one.value))) / 2


def _require(condition: bool, what: str, value: float) -> None:
    if not condition:
        raise InputError(f"{what} must hold, but got {value}. Give the noise of log loss.")
