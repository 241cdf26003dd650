"""The pilots' deviations from forecasts that did not see them: what a healthy curve may do."""

import numpy as np

from isoflop._types import Table
from isoflop.fitting import CurveFit
from isoflop.fitting.curve_checks import STARTS
from isoflop.fitting.curve_table import Curves, read_curve_table
from isoflop.fitting.one_law import LawFit, fit_law
from isoflop.monitoring.noise import CurveNoise, Deviations, calibrate_noise

LEAST_SIZES = 3
"""Sizes that a law of size is fitted to at least; every larger one is forecast from those below."""


def noise_of_pilots(table: Table, fit: CurveFit) -> CurveNoise:
    """The noise of whole curves about the law, from the pilots that `fit` was made of.

    Every size above the three smallest is forecast from the smaller ones alone, as the watched run
    will be from the pilots; the rest by all together. By the law and the memory of the rate of the
    fit's best component. Runs of one size share the law's error there: the noise has as many
    degrees of freedom as there are sizes.

    Raises:
        InputError: the pilots have too few curves or points.
    """
    everything = read_curve_table(table)
    holds = ~everything.warmup & (everything.n_tokens >= fit.first_tokens)
    curves = everything.where(holds)
    judges = {size: _fitted(_below(curves, size), fit) for size in _foretold(curves, fit)}
    whole = _fitted(curves, fit)
    found = []
    for trunk in np.unique(curves.trunk):
        mine = curves.where(curves.trunk == trunk)
        size = 0.0 if mine.n_params is None else float(mine.n_params[0])
        found.append(_deviations(mine, judges.get(size, whole), fit))
    sizes = curves.sizes.size
    return calibrate_noise(found, freedom=float(sizes if sizes > 1 else len(found)))


def _foretold(curves: Curves, fit: CurveFit) -> list[float]:
    """The sizes with enough smaller ones to be forecast from."""
    if "n_params" not in fit.law.inputs:
        return []
    larger: list[float] = curves.sizes[LEAST_SIZES:].tolist()
    return larger


def _below(curves: Curves, size: float) -> Curves:
    assert curves.n_params is not None
    return curves.where(curves.n_params < size)


def _fitted(curves: Curves, fit: CurveFit) -> LawFit:
    return fit_law(curves.as_runs(fit.law, fit.memory), fit.law, few=STARTS)


def _deviations(curves: Curves, judge: LawFit, fit: CurveFit) -> Deviations:
    """One trunk's points, with those of its branches, about a forecast."""
    expected = judge.log_mean(judge.z[None], curves.columns(fit.law, fit.memory))[0]
    order = np.argsort(curves.n_tokens, kind="stable")
    value = np.log(curves.loss) - expected
    return Deviations(n_tokens=curves.n_tokens[order], value=value[order])
