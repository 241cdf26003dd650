"""Three models of two arms, fitted together; which of them the runs speak for.

Likelihood ratios are judged by simulation: losses drawn from the model of shared exponents, with
the runs' own trunk noise, are refitted by every model. How often a draw prefers the richer model
as strongly as the data do is its p-value; the chi-square value of that p replaces the raw ratio
(noise shared by a trunk would inflate it), and Akaike weights follow from it.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import chdtri

from isoflop._types import Array
from isoflop.fitting.arm_table import Arms
from isoflop.fitting.arms import Model, log_costs, models_of, two_arms
from isoflop.fitting.draws import near
from isoflop.fitting.noise import Noise, draw_noise
from isoflop.fitting.one_law import DRAW_TOLERANCE, LawFit, fit_law
from isoflop.fitting.solver import Solution, log_predict, solve_resampled

BASIS = 8
"""Best starts that go on after a short first run."""

START_SEED = 5
"""The same scattered starts for every set of draws: minima that are compared differ by data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmModel:
    """One model of both arms: its optimum, draws (B, P) of theta, weight and test."""

    model: Model
    fitted: LawFit
    draws: Array
    weight: float
    p_value: float
    """Share of simulated comparisons with shared exponents that prefer this model as strongly."""

    def log_costs(self, arms: Arms, log_loss: Array) -> tuple[Array, Array]:
        """ln FLOPs (B + 1, Q) of arms 1 and 2 at the losses; the first row is the optimum."""
        theta = np.concatenate([self.fitted.theta[None], self.draws])
        span = (min(s[0] for s in arms.span), max(s[1] for s in arms.span))
        one, two = log_costs(arms.base, self.model, theta, log_loss, span)
        return one + arms.log_unit[0], two + arms.log_unit[1]


def fit_models(arms: Arms, n_draws: int, seed: int) -> tuple[tuple[ArmModel, ...], float]:
    """Every model of the arms with its weight, and the noise correlation of pairs."""
    alone = [
        fit_law(arms.runs.where(mask), arms.base, few=BASIS).theta
        for mask in (~arms.second, arms.second)
    ]
    models = models_of(arms.base)
    fits = [
        fit_law(arms.runs, two_arms(arms.base, model, alone[0], alone[1]), few=BASIS)
        for model in models
    ]
    rho = pair_correlation(arms, fits[-1].residual)
    shared, null = _draw(arms, fits[0], rho, n_draws, np.random.default_rng([seed, 5, 0]))
    p_values, logs = [1.0], [0.0]
    for fitted in fits[1:]:
        p_value, ratio = _test(fits[0], fitted, null, shared.objective)
        p_values.append(p_value)
        logs.append(0.5 * ratio - (fitted.z.size - fits[0].z.size))
    weight = np.exp(np.array(logs) - max(logs))
    weight /= weight.sum()
    drawn = [shared]
    for k, fitted in enumerate(fits[1:], start=1):
        drawn.append(_draw(arms, fitted, rho, n_draws, np.random.default_rng([seed, 5, k]))[0])
    return tuple(
        ArmModel(
            model=model,
            fitted=fitted,
            draws=fitted.to_theta(solution.z),
            weight=float(w),
            p_value=p_value,
        )
        for model, fitted, solution, w, p_value in zip(
            models, fits, drawn, weight, p_values, strict=True
        )
    ), rho


def pair_correlation(arms: Arms, residual: Array) -> float:
    """How much noise the runs of one cell share: lower 95 % bound of their residuals' correlation.

    Judged on residuals of the per-arm fit by Fisher's z with as many pairs as trunks of the
    pairs, so that independent runs are taken as such in 95 % of comparisons. What is shared (the
    same seed and order of texts, or the same misfit) cancels in the multiplier.
    """
    rows, others = arms.pairs
    count = np.unique(arms.cell_trunk[arms.cell[rows]]).size
    if count <= 3:
        return 0.0
    one, two = residual[rows], residual[others]
    size = float(np.sqrt((one @ one) * (two @ two)))
    if size == 0:
        return 0.0
    raw = float(np.clip(one @ two / size, -0.999, 0.999))
    return max(float(np.tanh(np.arctanh(raw) - 1.645 / np.sqrt(count - 3))), 0.0)


def _draw(
    arms: Arms, fitted: LawFit, rho: float, n_draws: int, rng: np.random.Generator
) -> tuple[Solution, Array]:
    """Refits of losses drawn around the fit, and those log losses (B, R)."""
    center = log_predict(fitted.law, fitted.z[None], fitted.inputs)
    losses = center + _noise(arms, fitted.noise, rho, n_draws, rng)
    return _refit(fitted, losses), losses


def _noise(arms: Arms, noise: Noise, rho: float, n_draws: int, rng: np.random.Generator) -> Array:
    """Noise (B, R): each run's own and its trunk's, the share `rho` of it common to pairs."""
    alone = draw_noise(noise, arms.runs.trunk, n_draws, rng)
    if rho == 0:
        return alone
    common = draw_noise(noise, arms.cell_trunk, n_draws, rng)[:, arms.cell]
    return np.asarray(np.sqrt(1 - rho) * alone + np.sqrt(rho) * common)


def _refit(fitted: LawFit, losses: Array) -> Solution:
    target = replace(fitted.target, losses=losses)
    starts = near(fitted, np.random.default_rng(START_SEED))
    return solve_resampled(target, starts, len(losses), tolerance=DRAW_TOLERANCE)


def _test(shared: LawFit, rich: LawFit, null: Array, objective: Array) -> tuple[float, float]:
    """p-value of the richer model and the chi-square value that stands for its likelihood ratio.

    `null` (B, R) are log losses drawn from the shared model, `objective` (B,) its own minima on
    them.
    """
    # One delta for both: objectives of different robust losses cannot be compared.
    rich = replace(rich, target=replace(rich.target, delta=shared.target.delta))
    gain = _log_ratio(float(shared.certificate.objective), _on_data(rich))
    usual = _log_ratio(objective, _refit(rich, null).objective)
    freedom = rich.z.size - shared.z.size
    p_value = float((1 + (usual >= gain).sum()) / (1 + usual.size))
    ratio = float(chdtri(freedom, p_value))
    if not (usual >= gain).any():
        # Beyond all draws: the raw ratio, divided by what freedom alone makes of it.
        ratio = max(ratio, freedom * float(gain) / max(float(usual.mean()), 1e-12))
    return p_value, ratio


def _on_data(rich: LawFit) -> float:
    return float(_refit(rich, rich.target.losses).objective[0])


def _log_ratio(shared: Array | float, rich: Array | float) -> Array:
    # Objectives of exact data are rounding: below 1e-12 nothing can be told apart.
    return np.asarray(
        np.maximum(np.log((np.asarray(shared) + 1e-12) / (np.asarray(rich) + 1e-12)), 0.0)
    )
