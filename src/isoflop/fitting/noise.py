"""Run noise in two parts, shared by a trunk and a run's own, and draws that respect both.

Why not a pairs bootstrap: a ladder has one trunk a size, so resampling trunks loses sizes and
with them the exponents. Why not wild weights on the residuals (`wild_noise`, there to compare):
with five trunks and three parameters that only sizes inform, most of a trunk's noise is absorbed
by the fit, and what the residuals still show is a small part of it. So the two variances are
estimated with the absorbed part given back (as REML does), and new losses are drawn around the
fit from them, one shared shock a trunk; each draw first draws the noise level itself, which few
trunks leave open.
"""

from dataclasses import dataclass

import numpy as np

from isoflop._types import Array

PRIOR_FREEDOM = 1.0
"""Weight of the prior on a trunk's shared noise, in trunks. Five trunks leave about two degrees of
freedom: alone they would say zero or several times the truth."""

PRIOR_RATIO = 1.2
"""ASSUMPTION: before any evidence, shared noise over own noise. Branches of one trunk share almost
all of their training, so shared is the larger part. With 1.5 forecasts of 200 ladders of ratio 1
covered 97.5 % at a nominal 90 %."""

CUT = 1.5
"""Standard deviations beyond which residuals are cut before they set the noise, as usual in
Huber's second proposal: bad runs must not."""

KEPT = 0.7785
"""Share of the variance of normal noise that is left after the cut, which is given back:
`P(|z| < c) - 2 c p(c) + 2 c^2 P(z > c)`."""


SETTLED = 30
"""Rounds after which the cut stands still: each takes off what is left by a third or more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Standard deviations of log loss: `shared` by a trunk's runs, and each run's `own`."""

    shared: float
    own: float
    freedom_shared: float
    freedom_own: float

    @property
    def total(self) -> float:
        """Standard deviation of a new run on a new trunk."""
        return float(np.hypot(self.shared, self.own))


def estimate_noise(
    residual: Array, jacobian: Array, trunk: np.ndarray, *, is_normal: bool = False
) -> Noise:
    """Split residuals (R,) of a fit with log Jacobian (R, P) into trunk and run noise.

    Solves the two moment equations E[r'r] = tr(M V), E[|Z'r|^2] = tr(Z'M V M Z) for
    V = own^2 I + shared^2 Z Z', where M removes what the parameters absorb. Residuals are
    cut at 1.5 of the sd they then have, so that bad runs do not set the noise; not where
    `is_normal`.
    """
    if not is_normal:
        residual = _without_tails(residual)
    size = residual.size
    basis = column_basis(jacobian)
    member = (trunk[:, None] == np.unique(trunk)[None, :]).astype(np.float64)
    freedom = max(float(size - basis.shape[1]), 1.0)
    alone = Noise(
        shared=0.0,
        # One more is given back for the choice of the law: with 9 runs 15 % of the noise.
        own=float(np.sqrt(residual @ residual / max(freedom - 1, 1.0))),
        freedom_shared=freedom,
        freedom_own=freedom,
    )
    if member.shape[1] == size:
        return alone
    within = _within_maker(jacobian, member)
    freedom_own = float(np.trace(within))
    if freedom_own < 1:
        return alone
    between = np.eye(size) - basis @ basis.T - within
    # Residuals of exact data are rounding, which can make the form negative.
    own = max(float(residual @ within @ residual) / freedom_own, 0.0)
    freedom_shared = float(np.trace(between))
    excess = max(float(residual @ between @ residual) - own * freedom_shared, 0.0)
    # How often one trunk's shock counts in what is left of it after the parameters' share.
    seen = float(np.trace(member.T @ between @ member)) / max(freedom_shared, 1e-9)
    evidence = excess / seen if seen > 0.1 else 0.0
    shared = (evidence + PRIOR_FREEDOM * PRIOR_RATIO**2 * own) / (freedom_shared + PRIOR_FREEDOM)
    return Noise(
        shared=float(np.sqrt(shared)),
        own=float(np.sqrt(own)),
        freedom_shared=freedom_shared + PRIOR_FREEDOM,
        freedom_own=freedom_own,
    )


def _without_tails(residual: Array) -> Array:
    """Residuals cut at `CUT` times the sd s that they then have: `mean(cut^2) = KEPT s^2`.

    Scaled so that their rms is s, which of normal noise is its sd. Source: Huber 1964,
    doi:10.1214/aoms/1177703732, section 9 (proposal 2).
    """
    sd = float(np.sqrt((residual**2).mean()))
    for _ in range(SETTLED):
        cut = np.clip(residual, -CUT * sd, CUT * sd)
        sd = float(np.sqrt((cut**2).mean() / KEPT))
    return np.asarray(cut / np.sqrt(KEPT))


def left_out_scale(residual: Array, jacobian: Array) -> float:
    """Rms error of log loss on runs left out one at a time, `r/(1 - leverage)` (linearised).

    For laws that no back-test can judge: mixtures are not dearer or cheaper than each other. Where
    such a law misses a corner, its robust noise says nothing of it; these errors do.
    """
    basis = column_basis(jacobian)
    leverage = (basis**2).sum(axis=1)
    # A run that alone fixes a parameter has leverage one: nothing would predict it.
    errors = residual / np.maximum(1 - leverage, 0.05)
    return float(np.sqrt((errors**2).mean()))


def draw_noise(noise: Noise, trunk: np.ndarray, n_draws: int, rng: np.random.Generator) -> Array:
    """Noise (B, R) with one shared shock a trunk; its level is drawn too (inverse chi-square)."""
    own_sd, shared = draw_shared(noise, trunk, n_draws, rng)
    return own_sd[:, None] * rng.standard_normal((n_draws, trunk.size)) + shared


def draw_shared(
    noise: Noise, trunk: np.ndarray, n_draws: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Drawn sd of the runs' own noise (B,), and the noise that trunks share (B, R)."""
    level_own = np.sqrt(noise.freedom_own / rng.chisquare(noise.freedom_own, n_draws))
    # At most the tails of a t with 3 degrees: below that single draws swamp all others.
    few = max(noise.freedom_shared, 3.0)
    level_shared = np.sqrt(few / rng.chisquare(few, n_draws))
    shocks = rng.standard_normal((n_draws, int(trunk.max()) + 1))
    return noise.own * level_own, noise.shared * level_shared[:, None] * shocks[:, trunk]


WEBB = np.sqrt(np.array([1.5, 1.0, 0.5, 0.5, 1.0, 1.5])) * np.array([-1, -1, -1, 1, 1, 1])
"""Six-point weights of mean 0 and variance 1, which few trunks need: with two points five trunks
give 32 samples. Source: Webb 2023, doi:10.1111/caje.12661."""


def wild_noise(
    residual: Array, jacobian: Array, trunk: np.ndarray, n_draws: int, rng: np.random.Generator
) -> Array:
    """Noise (B, R): every trunk's residuals, leverage given back, times one drawn weight a trunk.

    Leverage is given back by trunk as in the CR3 jackknife, `(I - H_gg)^-1 r_g`, H the
    projector on the log Jacobian (R, P): what the parameters absorbed of few trunks' noise.
    Source: Cameron, Gelbach & Miller 2008, doi:10.1162/rest.90.3.414; MacKinnon, Nielsen & Webb
    2023, doi:10.1002/jae.2969 (CR3).
    """
    basis = column_basis(jacobian)
    which = np.unique(trunk, return_inverse=True)[1]
    whole = np.empty_like(residual)
    for one in range(int(which.max()) + 1):
        rows = which == one
        left = np.eye(int(rows.sum())) - basis[rows] @ basis[rows].T
        # A trunk that alone fixes a parameter has directions in which nothing is left of it.
        whole[rows] = np.linalg.pinv(left, rcond=0.05, hermitian=True) @ residual[rows]
    weight = rng.choice(WEBB, (n_draws, int(which.max()) + 1))
    return np.asarray(weight[:, which] * whole)


def column_basis(matrix: Array) -> Array:
    """Orthonormal basis (R, K) of what the columns of a matrix (R, P) span."""
    basis, values, _ = np.linalg.svd(matrix, full_matrices=False)
    return np.asarray(basis[:, values > 1e-9 * values.max(initial=1e-300)])


def median_sd(residual: Array) -> float:
    """Robust sd: 1.4826 times the median of |residual|, the sd itself of normal noise."""
    return 1.4826 * float(np.median(np.abs(residual)))


def _within_maker(jacobian: Array, member: Array) -> Array:
    """Projector on what neither trunk means nor parameters explain: the runs' own noise."""
    # The same span of the parameters as the caller takes off: one that has no effect, at a fit that
    # has run to its bounds, must not count here and not there.
    both = np.concatenate([member / np.sqrt(member.sum(axis=0)), column_basis(jacobian)], axis=1)
    basis, values, _ = np.linalg.svd(both, full_matrices=False)
    basis = basis[:, values > 1e-8 * values.max()]
    return np.asarray(np.eye(len(member)) - basis @ basis.T)
