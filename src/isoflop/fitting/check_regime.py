"""Whether the slope changes within the range: one power law does not cover two regimes."""

import numpy as np

from isoflop._types import Array, Problem
from isoflop.fitting.beyond import outside
from isoflop.fitting.noise import draw_noise, estimate_noise, median_sd
from isoflop.fitting.one_law import LawFit
from isoflop.fitting.solver import log_jacobian
from isoflop.fitting.table import Runs

AXES = {"n_tokens": "tokens", "n_params": "parameters", "x": "x", "flops": "FLOPs"}
"""Inputs along which a break is looked for, and what they are called."""

DRAWS = 499
ODDS = 0.01
"""False alarms among clean tables, at most: the largest of all breaks is compared with the
largest in `DRAWS` tables of noise alone."""

EXPLAINED = 0.4
"""Share of the squared residuals that the break must explain."""

CHANGE = 0.2
"""Change of the slope of log loss at the break over the mean slope, at least."""

LEAST = 1e-4
"""Rms residual of log loss below which a table is exact."""


def regime_problems(runs: Runs, fitted: LawFit) -> tuple[Problem, ...]:
    """`broken_regime` where residuals bend at one point of tokens, size or x.

    To the law, linearised at its optimum, is added a hinge max(0, ln x - ln x0), as a broken
    power law with a sharp break has (Caballero et al. 2022, arXiv:2210.14891). The hinge that
    explains most is told if noise alone would seldom (1 %) let any explain as much, if it
    explains much, and if the slope changes by much.
    """
    slope = log_jacobian(fitted.law, fitted.z[None], fitted.inputs)[0]
    rest = outside(slope)
    scale = median_sd(fitted.residual)
    residual = rest @ np.clip(fitted.residual, -4 * scale, 4 * scale)
    square = float(residual @ residual)
    # Hinges that the law follows by itself would be judged by rounding.
    hinges = [
        one
        for one in _hinges(runs, fitted)
        if np.linalg.norm(rest @ one[2]) > 0.05 * np.ptp(one[2])
    ]
    if not hinges or np.sqrt(square / len(runs)) < LEAST:
        return ()
    basis = np.stack([rest @ hinge for _, _, hinge in hinges], axis=1)
    norm = np.linalg.norm(basis, axis=0)
    basis = basis / norm
    along = residual @ basis
    best = int(np.argmax(along**2))
    explained = float(along[best] ** 2) / square
    name, at, _ = hinges[best]
    change = float(along[best] / norm[best])
    steep = _mean_slope(fitted, name)
    if explained < EXPLAINED or abs(change) < CHANGE * abs(steep):
        return ()
    left = residual - along[best] * basis[:, best]
    both = np.concatenate([slope, basis[:, [best]]], axis=1)
    noise = estimate_noise(left, both, runs.trunk, is_normal=True)
    drawn = draw_noise(noise, runs.trunk, DRAWS, np.random.default_rng(5)) @ rest
    usual = ((drawn @ basis) ** 2).max(axis=1) / (drawn**2).sum(axis=1)
    if (1 + (usual >= explained).sum()) / (1 + DRAWS) > ODDS:
        return ()
    text = (
        f"The slope changes near {at:.3g} {AXES[name]}: ln loss bends "
        f"{'up' if change > 0 else 'down'} there by {abs(change):.3f} per e-fold (mean slope "
        f"{steep:.3f}), more than {fitted.law.name} can follow."
    )
    remedy = "Fit the runs beyond the break alone, or a broken power law (bnsl_1) of one variable."
    return (Problem(code="broken_regime", severity="warning", text=text, remedy=remedy),)


def _hinges(runs: Runs, fitted: LawFit) -> list[tuple[str, float, Array]]:
    """(axis, where, hinge (R,)) with three values or more of the axis on either side."""
    found = []
    for name in AXES:
        if name not in fitted.law.inputs:
            continue
        values = np.unique(runs.columns[name])
        knots = values[2:-2]
        if knots.size > 40:
            knots = knots[np.linspace(0, knots.size - 1, 40).astype(int)]
        log = np.log(runs.columns[name])
        found += [(name, float(one), np.maximum(0.0, log - np.log(one))) for one in knots]
    return found


def _mean_slope(fitted: LawFit, name: str) -> float:
    """Mean of d ln law / d ln input over the runs, by a central difference."""
    step = 1e-4
    up, down = (
        {**fitted.inputs, name: fitted.inputs[name] * np.exp(sign * step)} for sign in (1, -1)
    )
    logs = [np.log(fitted.law.predict(fitted.law.to_theta(fitted.z), one)) for one in (up, down)]
    return float((logs[0] - logs[1]).mean() / (2 * step))
