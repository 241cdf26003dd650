"""Rolling back-test: fit on the cheaper runs, predict the dearer ones, compare with the truth.

It measures what draws and noise cannot: the error of the form itself when it leaves its range.
"""

from dataclasses import dataclass

import numpy as np

from isoflop._types import Array
from isoflop.fitting.one_law import LawFit, draw_parameters, fit_law
from isoflop.fitting.table import Runs
from isoflop.laws import Law

CUTS = (2.0, 4.0, 8.0)
"""Runs above the largest compute over each of these are left out in turn."""

DRAWS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Left-out runs of one cut: log error of each law (K, H), its explained variance (K, H)."""

    error: Array
    variance: Array
    distance: Array
    """Log compute (H,) beyond the largest run that was fitted."""
    trunk: np.ndarray


def backtest(runs: Runs, laws: tuple[Law, ...], seed: int) -> tuple[Held, ...]:
    """Errors of all laws on the runs left out at every cut that leaves enough to fit.

    A cut counts if what is left has at least two runs more than the largest law has parameters
    and, for laws of size and tokens, three sizes and three horizons.
    """
    held = []
    top = float(runs.compute.max())
    for number, cut in enumerate(CUTS):
        keep = runs.compute <= top / cut * (1 + 1e-9)
        kept, left = runs.where(keep), runs.where(~keep)
        if len(left) == 0 or not _enough(kept, laws):
            continue
        errors, variances = [], []
        for which, law in enumerate(laws):
            fitted = fit_law(kept, law, few=8)
            rng = np.random.default_rng([seed, 1, number, which])
            error, variance = _predict_left(fitted, kept, left, rng)
            errors.append(error)
            variances.append(variance)
        held.append(
            Held(
                error=np.array(errors),
                variance=np.array(variances),
                distance=np.log(left.compute / kept.compute.max()),
                trunk=np.unique(runs.trunk[~keep]),
            )
        )
    return tuple(held)


def _enough(kept: Runs, laws: tuple[Law, ...]) -> bool:
    if len(kept) < max(len(law.params) for law in laws) + 2:
        return False
    if "n_params" not in kept.columns:
        return True
    return all(np.unique(kept.columns[name]).size >= 3 for name in ("n_params", "n_tokens"))


def _predict_left(
    fitted: LawFit, kept: Runs, left: Runs, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Log error (H,) of the left-out runs and the variance (H,) that draws and noise explain."""
    center = fitted.log_mean(fitted.z[None], left.columns)[0]
    draws = draw_parameters(fitted, kept.trunk, DRAWS, rng)
    logs = fitted.log_mean(draws, left.columns)
    # Middle 68 % and not the variance: a few far draws would hide every miss.
    low, high = np.quantile(logs, [0.16, 0.84], axis=0)
    variance = ((high - low) / 2) ** 2 + fitted.noise.total**2
    return np.log(left.loss) - center, variance
