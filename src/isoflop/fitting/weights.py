"""Shares of the candidates, from how far they missed runs that they had not seen."""

from dataclasses import dataclass

import numpy as np

from isoflop._types import Array

ALLOWED = float(np.log(4.0))
"""Log distance beyond the fitted runs at which an error may be sqrt(2) times as large."""


EXACT = 1e-6
"""Log error below which laws are all the same: no evaluation measures it."""

FAR = 4.0
"""Robust sd of the least errors beyond which a left-out run is taken to be a bad one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """Left-out runs of one cut: `error` (K, H) in log loss, `distance` (H,), `trunk` (H,)."""

    error: Array
    distance: Array
    """Log compute beyond the largest run that was fitted."""
    trunk: np.ndarray

    @property
    def square(self) -> Array:
        """Squared errors (K, H), those far out discounted: error may grow with log distance.

        A run that no law explains, far more than the others, is a bad run and tells nothing
        about the laws: it counts as little as would bring it back among the others.
        """
        nearest = np.abs(self.error).min(axis=0)
        usual = FAR * 1.4826 * float(np.median(nearest))
        trust = np.minimum(1.0, usual / np.maximum(nearest, 1e-300)) ** 2
        return np.asarray(trust * self.error**2 / (1 + (self.distance / ALLOWED) ** 2))


def law_weights(
    missed: tuple[Missed, ...], in_sample: Array, n_params: np.ndarray, n_trunks: int
) -> Array:
    """Share of each candidate (K,): exp(-n/2 (ms/ms_best - 1)), ms = mean squared error.

    Errors of one trunk, and of overlapping cuts, are one piece of evidence: n counts the trunks
    seen in the largest cut. The noise of the fit is added to ms, below which no law can be told
    from another. Laws within one standard error of the best are ties: they are averaged, every
    parameter more costs half a unit of log share. Without a back-test the in-sample error
    stands in.
    """
    if missed:
        mean_square = mean_squares(missed)
        evidence = max(np.unique(one.trunk).size for one in missed)
    else:
        mean_square, evidence = in_sample**2, n_trunks
    floor = mean_square + float((in_sample**2).min())
    log_weight = -0.5 * evidence * (floor / max(float(floor.min()), 1e-300) - 1)
    tied = _tied(missed, mean_square)
    log_weight = np.where(tied, 0.0, log_weight) - 0.5 * (n_params - n_params[tied].min())
    if missed:
        # What extrapolates alike may still fit the runs themselves better or worse.
        error = np.maximum(in_sample, EXACT)
        log_weight = log_weight - n_trunks * np.log(error / error.min())
    weight = np.exp(log_weight - log_weight.max())
    weight[weight < 1e-3] = 0.0
    return np.asarray(weight / weight.sum())


def mean_squares(missed: tuple[Missed, ...]) -> Array:
    """Mean squared log error (K,), every cut counting the same."""
    per_cut = np.array([one.square.mean(axis=1) for one in missed])
    return np.asarray(per_cut.mean(axis=0), dtype=np.float64)


def _tied(missed: tuple[Missed, ...], mean_square: Array) -> np.ndarray:
    """Candidates (K,) whose squared error is within one standard error of the best one's.

    The standard error is that of the paired difference over trunks; of one trunk over cuts.
    """
    best = int(np.argmin(mean_square))
    alone: np.ndarray = np.arange(mean_square.size) == best
    if not missed:
        return alone
    pieces = [
        (one.square[:, one.trunk == trunk] - one.square[best, one.trunk == trunk]).mean(axis=1)
        for one in missed
        for trunk in np.unique(one.trunk)
    ]
    if len(pieces) < 3:
        return alone
    difference = np.array(pieces)
    # Overlapping cuts see the same trunks again: only one cut's worth counts as independent.
    count = max(np.unique(one.trunk).size for one in missed)
    error = difference.std(axis=0, ddof=1) / np.sqrt(max(count, 2))
    within: np.ndarray = difference.mean(axis=0) <= error
    return within
