"""Whether the shortest horizons lie on the law: leave them out, refit, compare the forecasts.

A training too short has not reached its power law yet. In-sample residuals hide it: the law bends
to follow, or another law wins the back-test, and the forecast moves.
"""

from dataclasses import replace

import numpy as np

from isoflop._types import Array, Problem
from isoflop.fitting.noise import draw_noise
from isoflop.fitting.one_law import DRAW_TOLERANCE, LawFit, fit_law
from isoflop.fitting.solver import log_predict, solve
from isoflop.fitting.table import Runs
from isoflop.fitting.weights import law_weights
from isoflop.laws import Estimate

OUTWARD = 4.0
"""Compute of the forecast that is compared, over that of the dearest run."""

LEAST = 0.05
"""Weight of the laws that are refitted, at least."""

MOST = 2
"""Shortest horizons left out together, at most."""

DRAWS = 60

SAME = 1.05
"""Horizons within this factor are one: tokens are rounded to whole batches."""


def horizon_problems(runs: Runs, estimate: Estimate) -> tuple[Problem, ...]:
    """`short_horizons` where the forecast hangs on the shortest horizon, or the two shortest.

    Two things must hold. The law that the other runs follow misses those left out by more than
    noise explains (95 %; see `_missed`). And the forecast at 4 times the largest compute moves by
    more than half of its interval's half-width. Without them the laws are weighed anew, by their
    in-sample error: another back-test would cost as much as the whole fit.

    Args:
        runs: all rows; horizons are compared where size and tokens are all that varies (where
            mixtures vary too, leaving out a horizon also leaves out mixtures).
        estimate: what was fitted to all rows.
    """
    if set(runs.columns) != {"n_params", "n_tokens"}:
        return ()
    used = [one for one in estimate.components if one.weight >= LEAST]
    laws = [one.law for one in sorted(used, key=lambda one: -one.weight)]
    corner = _corner(runs)
    told = estimate.predict(corner)
    half = float(np.log(told.high[0] / told.low[0])) / 2
    for longest in _shortest(runs):
        keep = runs.columns["n_tokens"] > SAME * longest
        kept = runs.where(keep)
        if not _enough(kept, max(len(law.params) for law in laws)):
            return ()
        lead = fit_law(kept, laws[0], few=8)
        if not _missed(lead, runs, keep):
            continue
        fits = [lead, *(fit_law(kept, law, few=8) for law in laws[1:])]
        means = np.array([one.log_mean(one.z[None], corner)[0, 0] for one in fits])
        error = np.array([one.standard_error for one in fits])
        size = np.array([one.z.size for one in fits])
        other = float(np.exp(law_weights((), error, size, kept.n_trunks) @ means))
        if abs(np.log(other / told.mean[0])) > half / 2:
            return (_problem(longest, float(told.mean[0]), other),)
    return ()


def _problem(longest: float, told: float, other: float) -> Problem:
    return Problem(
        code="short_horizons",
        severity="warning",
        text=(
            f"Runs of D <= {longest:,.0f} tokens are off the law of the longer ones: at "
            f"{OUTWARD:.0f} times the largest compute the forecast is {told:.4g} with them and "
            f"{other:.4g} without."
        ),
        remedy="Drop those horizons, or train longer ones.",
        affects=("forecast",),
    )


def _corner(runs: Runs) -> dict[str, Array]:
    """The dearest run, grown to `OUTWARD` times its compute along its own D/N."""
    dearest = int(np.argmax(runs.compute))
    names = ("n_params", "n_tokens")
    return {name: runs.columns[name][[dearest]] * OUTWARD**0.5 for name in names}


def _shortest(runs: Runs) -> list[float]:
    """The `MOST` shortest horizons, shortest first."""
    found: list[float] = []
    for tokens in np.unique(runs.columns["n_tokens"]):
        if not found or tokens > SAME * found[-1]:
            found.append(float(tokens))
    return found[:MOST]


def _enough(kept: Runs, n_params: int) -> bool:
    """Whether the runs kept identify the laws, as the back-test asks too."""
    if len(kept) < n_params + 2:
        return False
    return all(np.unique(kept.columns[name]).size >= 3 for name in ("n_params", "n_tokens"))


def _missed(part: LawFit, runs: Runs, keep: np.ndarray) -> bool:
    """Whether the law of the kept runs misses the others by more than in 95 % of draws.

    Compared are the mean of their log errors and its trend in ln N. A draw puts all runs on the
    law of the kept, adds their noise, and refits it.
    """
    left = runs.where(~keep)
    scaled = {name: runs.columns[name] / scale for name, scale in part.scales.items()}
    rng = np.random.default_rng(3)
    noise = draw_noise(part.noise, runs.trunk, DRAWS, rng)
    losses = log_predict(part.law, part.z[None], scaled) + noise
    target = replace(part.target, losses=losses[:, keep])
    starts = np.tile(part.z, (DRAWS, 1))
    z = solve(target, starts, max_iterations=60, tolerance=DRAW_TOLERANCE).z
    along = np.log(left.columns["n_params"])
    basis = np.stack([np.ones_like(along), along - along.mean()])[: np.unique(along).size]
    error = _fitted(np.log(left.loss) - part.log_mean(part.z[None], left.columns), basis)
    drawn = _fitted(losses[:, ~keep] - part.log_mean(z, left.columns), basis)
    # As in the fit: log losses are not known to better than 1e-6.
    spread = np.cov(drawn, rowvar=False) + 1e-12 * np.eye(len(basis))
    root = np.linalg.cholesky(spread)
    size, usual = (
        (np.linalg.solve(root, one.T) ** 2).sum(axis=0) for one in (error, drawn - drawn.mean(0))
    )
    return bool((usual >= size[0]).mean() < 0.05)


def _fitted(values: Array, basis: Array) -> Array:
    """Least-squares coefficients (B, K) of rows of values (B, R) on the basis (K, R)."""
    return np.asarray(np.linalg.lstsq(basis.T, values.T, rcond=None)[0].T)
