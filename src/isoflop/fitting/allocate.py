"""Chinchilla's three approaches to N_opt ~ C^a, D_opt ~ C^b, each with intervals by trunk.

- envelope (1): at each compute, the size whose curve is lowest; a power law through the winners.
- isoflop (2): `isoflop_profiles`.
- parametric (3): the closed form of the fitted additive law.

Intervals of 1 and 2 repeat the whole procedure on losses with the fit's noise added.
"""

import numpy as np

from isoflop._types import Array, Problem
from isoflop.fitting.analysis import Allocation
from isoflop.fitting.exponents import Lines, empty_allocation, lines_through, sum_problems
from isoflop.fitting.fit_result import Fit
from isoflop.fitting.noise import Noise, draw_noise
from isoflop.fitting.size_curves import curves_at
from isoflop.fitting.table import Runs
from isoflop.laws import CHINCHILLA, optimum

N_ENVELOPE = 200
"""Points along the envelope; Hoffmann et al. used 1500, which changes nothing."""

_EDGES = Problem(
    code="edge_minimum",
    severity="warning",
    text="The best size is the smallest or largest run at nearly every compute: the envelope "
    "has no exponents but those of the ladder's own edges.",
    remedy="Add smaller and larger sizes at each compute.",
    affects=("allocation",),
)


def noisy_losses(runs: Runs, noise: Noise, n_draws: int, seed: int) -> Array:
    """Log losses (B + 1, R): the measured ones first, then draws with the fit's noise added."""
    rng = np.random.default_rng([seed, 2])
    drawn = np.log(runs.loss) + draw_noise(noise, runs.trunk, n_draws, rng)
    return np.concatenate([np.log(runs.loss)[None], drawn])


def by_envelope(
    runs: Runs, flops: Array, losses: Array, level: float
) -> tuple[Allocation, Lines | None] | None:
    """Approach 1 and its lines; None where no compute is covered by two sizes."""
    grid = np.geomspace(flops.min(), flops.max(), N_ENVELOPE)
    curves = curves_at(runs, flops, losses, grid)
    present = np.isfinite(curves.loss[:, :, 0])
    covered = present.sum(axis=0) >= 2
    if not covered.any():
        return None
    filled = np.where(np.isfinite(curves.loss), curves.loss, np.inf)
    winner = filled.argmin(axis=0)
    first = present.argmax(axis=0)
    last = present.shape[0] - 1 - present[::-1].argmax(axis=0)
    # A winner with no smaller or no larger rival at that compute says only "at least" or
    # "at most": leaving it in would tie the exponent to the ladder's own shape.
    inner = (winner > first[:, None]) & (winner < last[:, None]) & covered[:, None]
    if np.unique(winner[inner[:, 0], 0]).size < 2:
        return empty_allocation("envelope", (), (_EDGES,), level), None
    log_n = np.where(inner, np.log(curves.sizes)[winner], np.nan)
    log_d = np.log(curves.tokens[winner, np.arange(grid.size)[:, None]])
    log_d = np.where(inner, log_d, np.nan)
    keep = np.isfinite(log_n[:, 0])
    lines = lines_through(np.log(grid), log_n, log_d)
    a, b = lines.exponents(level)
    allocation = Allocation(
        approach="envelope",
        a=a,
        b=b,
        sum_ab=a.value + b.value,
        flops=grid[keep],
        n_opt=np.exp(log_n[keep, 0]),
        d_opt=np.exp(log_d[keep, 0]),
        problems=sum_problems(a, b),
    )
    return allocation, lines


def by_law(fit: Fit, flops: Array, level: float, k: float) -> tuple[Allocation, Lines]:
    """Approach 3 and its lines: the closed form of the additive law, over the runs' compute."""
    component = next(c for c in fit.estimate.components if c.law.name == CHINCHILLA.name)
    best = optimum(component.theta, flops, k=k)
    every = optimum(np.concatenate([component.theta[None], component.draws]), [1.0], k=k)
    log_n, log_d = np.log(every.n_params[:, 0]), np.log(every.n_tokens[:, 0])
    lines = Lines(log_n=log_n, a=every.a, log_d=log_d, b=every.b)
    a, b = lines.exponents(level)
    allocation = Allocation(
        approach="parametric",
        a=a,
        b=b,
        sum_ab=float(best.a + best.b),
        flops=flops,
        n_opt=best.n_params,
        d_opt=best.n_tokens,
        problems=tuple(p for p in fit.problems if "allocation" in p.affects),
    )
    return allocation, lines
