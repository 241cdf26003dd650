"""Rolling back-test: fit on the cheaper runs, predict the dearer ones, compare with the truth.

It measures what draws and noise cannot: the error of the form itself when it leaves its range.
It is nested: the shares that a cut's mixture is judged with were chosen by an inner back-test of
the runs below that cut, so that no run both chooses the law and vouches for it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from isoflop._types import Array
from isoflop.fitting.candidates import Candidate
from isoflop.fitting.draws import draw_parameters
from isoflop.fitting.one_law import LawFit, fit_law
from isoflop.fitting.prior import Prior
from isoflop.fitting.table import Runs
from isoflop.fitting.weights import Missed, law_weights

CUTS = (2.0, 4.0, 8.0)
"""Runs above the largest compute over each of these are left out in turn."""

DRAWS = 60

FEW = 8
"""Starts of a fit on a part of the runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Left-out runs of one cut: log error of each candidate (K, H), explained variance (K, H)."""

    missed: Missed
    variance: Array
    """Zero for candidates without a share, whose draws nobody asks for."""
    weight: Array
    """Share of each candidate (K,), chosen below the cut."""


def backtest(
    runs: Runs,
    candidates: tuple[Candidate, ...],
    seed: int,
    prior: Mapping[str, Prior] | None = None,
) -> tuple[Held, ...]:
    """Errors of all candidates on the runs left out at every cut that leaves enough to fit.

    A cut counts if what is left has at least two runs more than the largest law has parameters
    and, for laws of size and tokens, three sizes and three horizons.
    """
    held = []
    cuts = list(_cuts(runs, candidates))
    known: dict[int, list[LawFit]] = {}
    for _, kept, _ in cuts:
        if len(kept) not in known:
            known[len(kept)] = [
                fit_law(one.rows(kept), one.law, few=FEW, prior=prior) for one in candidates
            ]
    for number, kept, left in cuts:
        fits = known[len(kept)]
        inner = []
        for _, low, high in _cuts(kept, candidates):
            # A cut keeps the cheapest runs: how many says which, and cuts of cuts often agree.
            if len(low) not in known:
                known[len(low)] = _refits(low, candidates, fits, prior)
            inner.append(_missed(low, high, known[len(low)]))
        in_sample = np.array([one.standard_error for one in fits])
        size = np.array([len(one.law.params) for one in candidates])
        weight = law_weights(tuple(inner), in_sample, size, kept.n_trunks)
        variance = np.zeros((len(fits), len(left)))
        for which in np.flatnonzero(weight).tolist():
            rng = np.random.default_rng([seed, 1, number, which])
            rows = candidates[which].rows(kept)
            variance[which] = _explained(fits[which], rows, left, rng)
        held.append(Held(missed=_missed(kept, left, fits), variance=variance, weight=weight))
    return tuple(held)


def _refits(
    runs: Runs,
    candidates: tuple[Candidate, ...],
    fits: list[LawFit],
    prior: Mapping[str, Prior] | None,
) -> list[LawFit]:
    """Every candidate fitted to a part of its runs, from where it ended on all of them."""
    return [
        fit_law(one.rows(runs), one.law, near=fitted.theta, prior=prior)
        for one, fitted in zip(candidates, fits, strict=True)
    ]


def _cuts(runs: Runs, candidates: tuple[Candidate, ...]) -> Iterator[tuple[int, Runs, Runs]]:
    """Number, kept and left-out runs of each cut that leaves enough of both."""
    top = float(runs.compute.max())
    for number, cut in enumerate(CUTS):
        keep = runs.compute <= top / cut * (1 + 1e-9)
        if keep.all() or not keep.any():
            continue
        kept = runs.where(keep)
        if _enough(kept, candidates):
            yield number, kept, runs.where(~keep)


def _enough(kept: Runs, candidates: tuple[Candidate, ...]) -> bool:
    if len(kept) < max(len(one.law.params) for one in candidates) + 2:
        return False
    if not all(one.fits(kept) for one in candidates):
        return False
    grid = [kept.columns[name] for name in ("n_params", "n_tokens") if name in kept.columns]
    return all(np.unique(column).size >= 3 for column in grid)


def _missed(kept: Runs, left: Runs, fits: list[LawFit]) -> Missed:
    truth = np.log(left.loss)
    means = [one.log_mean(one.z[None], left.columns)[0] for one in fits]
    # A law that leaves the range of its logarithm has exploded: as wrong as a law can be.
    error = np.array([np.where(np.isfinite(mean), truth - mean, EXPLODED) for mean in means])
    return Missed(
        error=error,
        distance=np.log(left.compute / kept.compute.max()),
        trunk=left.cluster,
    )


EXPLODED = 10.0
"""Log error of a prediction that is no number."""


def _explained(fitted: LawFit, kept: Runs, left: Runs, rng: np.random.Generator) -> Array:
    """Variance (H,) of the left-out runs' log loss that draws and noise explain."""
    draws = draw_parameters(fitted, kept.trunk, DRAWS, rng)
    logs = fitted.log_mean(draws, left.columns)
    # Middle 68 % and not the variance: a few far draws would hide every miss.
    low, high = np.nanquantile(logs, [0.16, 0.84], axis=0)
    return np.asarray(((high - low) / 2) ** 2 + fitted.noise.total**2)
