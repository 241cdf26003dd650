"""The pilots' deviations from forecasts that did not see them: what a healthy curve may do."""

import numpy as np

from isoflop._types import Table
from isoflop.fitting import CurveFit
from isoflop.fitting.curve_checks import STARTS
from isoflop.fitting.curve_table import Curves, read_curve_table
from isoflop.fitting.one_law import LawFit, fit_law
from isoflop.monitoring.noise import CurveNoise, Deviations, calibrate_noise

LEFT_OUT = 3
"""Largest sizes that are left out in turn: the watched run is larger still."""

LEAST_SIZES = 4
"""With fewer, no size can be spared: the deviations are those of the fit itself."""


def noise_of_pilots(table: Table, fit: CurveFit) -> CurveNoise:
    """The noise of whole curves about the law, from the pilots that `fit` was made of.

    The largest sizes are forecast from the others in turn, the rest by all together, by the law
    and the memory of the rate of the fit's best component.

    Raises:
        InputError: the pilots have too few curves or points.
    """
    everything = read_curve_table(table)
    holds = ~everything.warmup & (everything.n_tokens >= fit.first_tokens)
    curves = everything.where(holds)
    judges = {size: _fitted(curves, fit, without=size) for size in _spared(curves, fit)}
    whole = _fitted(curves, fit, without=None)
    found = []
    for trunk in np.unique(curves.trunk):
        mine = curves.where(curves.trunk == trunk)
        size = 0.0 if mine.n_params is None else float(mine.n_params[0])
        found.append(_deviations(mine, judges.get(size, whole), fit))
    return calibrate_noise(found)


def _spared(curves: Curves, fit: CurveFit) -> list[float]:
    """The sizes that are left out in turn."""
    sizes = curves.sizes
    if sizes.size < LEAST_SIZES or "n_params" not in fit.law.inputs:
        return []
    largest: list[float] = sizes[-min(LEFT_OUT, sizes.size - LEAST_SIZES + 1) :].tolist()
    return largest


def _fitted(curves: Curves, fit: CurveFit, without: float | None) -> LawFit:
    if without is not None:
        assert curves.n_params is not None
        curves = curves.where(curves.n_params != without)
    return fit_law(curves.as_runs(fit.law, fit.memory), fit.law, few=STARTS)


def _deviations(curves: Curves, judge: LawFit, fit: CurveFit) -> Deviations:
    """One trunk's points, with those of its branches, about a forecast."""
    expected = judge.log_mean(judge.z[None], curves.columns(fit.law, fit.memory))[0]
    order = np.argsort(curves.n_tokens, kind="stable")
    value = np.log(curves.loss) - expected
    return Deviations(n_tokens=curves.n_tokens[order], value=value[order])
