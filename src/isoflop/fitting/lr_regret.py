"""What a learning rate and batch that are not the best ones cost, and how a fit takes that.

The excess of ln loss at z = (ln lr/lr*, ln B/B*) is z'Hz/2, never below zero: a run can be worse
than a tuned one, not better. lr* and B* come from a law that is itself uncertain, so the excess is
known as a distribution: its mean is what a table's column `lr_regret` holds.
"""

import numpy as np
from numpy.typing import ArrayLike

from isoflop._types import Array, as_column
from isoflop.fitting.lr_batch import LrBatchFit
from isoflop.laws import Component

FAR = 3.0
"""Robust sd at which errors of ln lr* and ln B* are cut."""


def expected_regret(
    tuned: LrBatchFit,
    *,
    n_params: ArrayLike,
    n_tokens: ArrayLike,
    lr: ArrayLike,
    batch_tokens: ArrayLike,
) -> Array:
    """Mean excess of ln loss (R,) of runs at (lr, B), over the draws of lr*(N, D) and B*(N, D).

    Args:
        tuned: the sweep's fit, whose draws of lr* and B* belong together.
        n_params: parameters, one a run.
        n_tokens: tokens.
        lr: the learning rate that was used.
        batch_tokens: the batch that was used.
    """
    columns = {"n_params": as_column(n_params), "n_tokens": as_column(n_tokens)}
    used = np.log(np.stack([as_column(lr), as_column(batch_tokens)], axis=-1))
    parts = [one.components[0] for one in (tuned.lr, tuned.batch_tokens)]
    best = np.stack([_log_best(one, one.theta[None], columns)[0] for one in parts], axis=-1)
    error = np.stack([_log_best(one, one.draws, columns) for one in parts], axis=-1) - best
    # Few cells: a resample that misses a size knows nothing of its exponent, and its lr* is
    # anywhere. Errors are cut at three robust sd.
    reach = FAR * 1.4826 * np.median(np.abs(error), axis=0)
    off = used - best - np.clip(error, -reach, reach)
    excess = 0.5 * np.einsum("bri,ij,brj->br", off, tuned.curvature, off)
    return np.asarray(excess.mean(axis=0))


def draw_regret(regret: Array, n_draws: int, rng: np.random.Generator) -> Array:
    """Excess (B, R) drawn around its mean (R,): regret · chi-square with one degree of freedom.

    The square of a normal error of ln lr*. One draw serves all runs: their rates come from one law
    and err together.
    """
    return np.asarray(rng.chisquare(1.0, n_draws)[:, None] * regret)


def _log_best(component: Component, theta: Array, columns: dict[str, Array]) -> Array:
    """ln of the law's value (B, R) at parameters (B, P)."""
    # In logs: a resample that misses a size has an exponent so wild that its power overflows.
    powers = zip(component.law.inputs, np.moveaxis(theta[:, 1:], -1, 0), strict=True)
    terms = [power[:, None] * np.log(columns[name]) for name, power in powers]
    with np.errstate(divide="ignore"):  # its constant may underflow: -inf is cut as far errors are
        constant = np.log(theta[:, :1])
    return np.asarray(constant + sum(terms))
