"""Draws of a fit's parameters: the same fit to runs that could as well have been."""

from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from isoflop._types import Array
from isoflop.fitting.lr_regret import draw_regret
from isoflop.fitting.noise import draw_noise, wild_noise
from isoflop.fitting.objective import Target
from isoflop.fitting.one_law import DRAW_TOLERANCE, LawFit
from isoflop.fitting.solver import log_jacobian, log_predict, solve_resampled

Resampling = Literal["auto", "noise", "wild", "trunks"]
RESAMPLINGS: tuple[Resampling, ...] = get_args(Resampling)

MANY = 10
"""Trunks for each parameter from which on draws resample trunks, with all their runs."""

RESAMPLE_STARTS, SCATTER = 4, 0.1
"""Starts of every draw: the fit's end, and around it by this sd of log parameters."""


def draw_parameters(
    fitted: LawFit,
    trunk: np.ndarray,
    n_draws: int,
    rng: np.random.Generator,
    resampling: Resampling = "auto",
) -> Array:
    """Log parameters (B, P) of `n_draws` resamples of the runs, which trunks share noise in.

    `noise` refits losses drawn around the fit from the two estimated noise levels. `trunks`
    takes trunks with all their runs, with replacement: neither equal noise at all of them nor
    the law is taken for granted, but trunks must be many. `wild` turns whole trunks' residuals
    over (`wild_noise`). `auto`: `trunks` where there are `MANY` a parameter, else `noise`.
    """
    if resampling == "auto":
        many = np.unique(trunk).size >= MANY * fitted.z.size
        resampling = "trunks" if many else "noise"
    if resampling == "trunks":
        which, size = np.unique(trunk, return_inverse=True)[1], np.unique(trunk).size
        times = rng.multinomial(size, np.full(size, 1 / size), n_draws).astype(np.float64)
        target = replace(fitted.target, weight=times[:, which] * fitted.target.weight)
        if (lost := _lost(fitted, n_draws, rng)) is not None:
            level = target.level
            losses = target.losses * np.exp(lost) if level else target.losses + lost
            target = replace(target, losses=losses)
        return _best_of_starts(fitted, target, n_draws, rng)
    if resampling == "wild":
        slope = log_jacobian(fitted.law, fitted.z[None], fitted.inputs)[0]
        return refit(fitted, wild_noise(fitted.residual, slope, trunk, n_draws, rng), rng)
    return refit(fitted, draw_noise(fitted.noise, trunk, n_draws, rng), rng)


def refit(fitted: LawFit, noise: Array, rng: np.random.Generator) -> Array:
    """Log parameters (B, P) refitted to the fit's own losses with noise (B, R) of log loss."""
    if (lost := _lost(fitted, len(noise), rng)) is not None:
        noise = noise + lost
    losses = log_predict(fitted.law, fitted.z[None], fitted.inputs) + noise
    losses = np.exp(losses) if fitted.target.level else losses
    return _best_of_starts(fitted, replace(fitted.target, losses=losses), len(noise), rng)


def _lost(fitted: LawFit, n_draws: int, rng: np.random.Generator) -> Array | None:
    """What log losses (B, R) would be lower or higher by, for rows with an `lr_regret`; or None.

    The mean is off the rows already, so a draw gives it back and takes its own: one-sided, as no
    run is better than a tuned one.
    """
    if not fitted.regret.any():
        return None
    return np.asarray(fitted.regret - draw_regret(fitted.regret, n_draws, rng))


def _best_of_starts(
    fitted: LawFit, target: Target, n_draws: int, rng: np.random.Generator
) -> Array:
    return solve_resampled(target, near(fitted, rng), n_draws, tolerance=DRAW_TOLERANCE).z


def near(fitted: LawFit, rng: np.random.Generator) -> Array:
    """Starts (S, P) of a draw: the fit's end, and scattered around it."""
    starts = fitted.z + SCATTER * rng.standard_normal((RESAMPLE_STARTS, fitted.z.size))
    starts[0] = fitted.z
    return np.asarray(starts)
