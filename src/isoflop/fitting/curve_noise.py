"""Noise along curves: points of one run err together, and neighbours more than others.

Beside what a trunk shares (see `noise`), the deviations of neighbouring points are correlated: a
law that bends a little another way errs in waves, and drawn as independent points these waves
would make the parameters look surer than they are.
"""

import numpy as np

from isoflop._types import Array
from isoflop.fitting.noise import Noise, draw_shared

LARGEST = 0.95
"""Largest correlation of neighbours that is used: above, a curve is one point."""


def serial_correlation(residual: Array, run: np.ndarray) -> float:
    """Correlation of neighbouring points of one run, pooled over runs, 0 to 0.95.

    Residuals less their run's mean; 1/n is given back, which centring n points takes away
    (Kendall 1954, of an uncorrelated series).
    """
    product, square, pairs, points = 0.0, 0.0, 0, 0
    for number in np.unique(run):
        mine = residual[run == number]
        if mine.size < 4:
            continue
        mine = mine - mine.mean()
        product += float(mine[1:] @ mine[:-1])
        square += float(mine @ mine)
        pairs += mine.size - 1
        points += mine.size
    if square <= 0 or pairs < 8:
        return 0.0
    curves = points - pairs
    rho = product / pairs / (square / points) + curves / points
    return float(np.clip(rho, 0.0, LARGEST))


def hidden_share(correlation: float, run: np.ndarray) -> float:
    """Share of the own variance that looks as if it were the trunk's, from the correlation.

    Of n points with correlation rho^|i-j| the mean over pairs moves with all of them, and
    centring takes it away: 2/(n(n-1)) sum over j of (n-j) rho^j, for the mean n of the curves.
    """
    counts = np.unique(run, return_counts=True)[1]
    counts = counts[counts > 3]
    if not counts.size or correlation <= 0:
        return 0.0
    n = float(counts.mean())
    lag = np.arange(1, int(n))
    return float(2 / (n * (n - 1)) * ((n - lag) * correlation**lag).sum())


def draw_curve_noise(
    noise: Noise,
    correlation: float,
    members: tuple[np.ndarray, np.ndarray],
    n_draws: int,
    rng: np.random.Generator,
) -> Array:
    """Noise (B, R): one shock a trunk, and along every run an own part with memory.

    Args:
        noise: the two standard deviations and their degrees of freedom.
        correlation: of the own parts of neighbouring points of a run.
        members: trunk and run of each point (R,); points of a run in order of tokens.
        n_draws: how many draws.
        rng: their source.
    """
    trunk, run = members
    own_sd, shared = draw_shared(noise, trunk, n_draws, rng)
    own = rng.standard_normal((n_draws, run.size))
    # The residuals show the own part less what hides in the trunk's; the draws need all of it.
    own /= np.sqrt(1 - hidden_share(correlation, run))
    fresh = float(np.sqrt(1 - correlation**2))
    for i in range(1, run.size):
        if run[i] == run[i - 1]:
            own[:, i] = correlation * own[:, i - 1] + fresh * own[:, i]
    return own_sd[:, None] * own + shared
