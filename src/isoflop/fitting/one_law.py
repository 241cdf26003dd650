"""One law fitted to one set of runs: the optimum, its certificate and its noise."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from isoflop._errors import FitError
from isoflop._types import Array, is_share
from isoflop.fitting.certificate import LISTED, Basin, Certificate, find_basins
from isoflop.fitting.noise import Noise, estimate_noise
from isoflop.fitting.objective import WIDE, Objective, Target
from isoflop.fitting.prior import Prior, with_prior
from isoflop.fitting.solver import (
    Solution,
    log_jacobian,
    log_predict,
    polish,
    solve,
    solve_small_delta,
)
from isoflop.fitting.starts import make_starts
from isoflop.fitting.table import Runs
from isoflop.laws import Inputs, Law

HUBER = 1.345
"""Huber's constant: 95 % efficient for normal noise."""

HOFFMANN_DELTA = 1e-3
"""Source: Hoffmann et al. 2022, arXiv:2203.15556, app. D.2."""

DRAW_TOLERANCE = 1e-8
"""A draw is a point of a distribution: it needs no more digits than that."""

BASINS = 8
"""Best end points of the first round that later rounds start from, in case they swap."""

ROUNDS = 4

REACHED = 1e-3
"""A start reached the optimum if its objective is within this share of the best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LawFit:
    """The optimum of one law: `z` = log theta (P,) in the units of `scales`."""

    law: Law
    z: Array
    scales: dict[str, float]
    inputs: Inputs
    """The inputs divided by their scales."""
    target: Target
    residual: Array
    trunk: np.ndarray
    """Cluster of each row (R,), whose noise it shares."""
    noise: Noise
    certificate: Certificate
    regret: Array
    """Expected excess of log loss (R,) that was taken off the rows."""

    @property
    def theta(self) -> Array:
        """The parameters (P,) in the units of the table."""
        return self.to_theta(self.z)

    @property
    def standard_error(self) -> float:
        """Rms residual of log loss with the parameters' freedom given back."""
        freedom = max(self.residual.size - self.z.size, 1)
        return float(np.sqrt(self.residual @ self.residual / freedom))

    def to_theta(self, z: Array) -> Array:
        """Parameters (..., P) in the units of the table from log parameters (..., P)."""
        back = {name: 1 / scale for name, scale in self.scales.items()}
        return self.law.rescale(self.law.to_theta(z), back)

    def log_mean(self, z: Array, columns: Inputs) -> Array:
        """log prediction (B, G) at log parameters (B, P) for columns in the table's units."""
        scaled = {name: columns[name] / scale for name, scale in self.scales.items()}
        return log_predict(self.law, z, scaled)


def fit_law(
    runs: Runs,
    law: Law,
    objective: Objective = "robust",
    few: int = 0,
    *,
    near: Array | None = None,
    prior: Mapping[str, Prior] | None = None,
) -> LawFit:
    """Fit one law: every start at once, then the robust scale settled by a few rounds.

    Args:
        runs: the rows.
        law: the law; its inputs must be among the rows' columns.
        objective: see `objective`; the robust ones cap residuals at 1.345 robust sd.
        few: keep only that many of the best starts after a short first run; 0 keeps all.
        near: parameters (P,) of a fit to nearly the same runs, the only start.
        prior: what is known of some parameters, by name.
    """
    scales = _scales(runs, law)
    inputs = {name: runs.columns[name] / scale for name, scale in scales.items()}
    starts = make_starts(law, inputs, runs.loss) if near is None else law.rescale(near, scales)
    # Least squares would let bad rungs set the scale that one-sided error judges them by.
    small = objective in ("hoffmann", "one_sided")
    start_as = "hoffmann" if small else objective
    target = _target(law, inputs, runs, HOFFMANN_DELTA if small else WIDE, start_as)
    quick = bool(few) or near is not None
    tolerance = DRAW_TOLERANCE if quick else 1e-13
    keep = few if near is None else 0
    starts = law.to_z(np.atleast_2d(starts))
    target, solution = _first_round(target, starts, prior or {}, keep, small, tolerance)
    lowest = float(solution.objective.min())
    if not np.isfinite(lowest):
        raise FitError(
            f"The law {law.name!r} ({law.formula}) must have a value at every row, but it has none "
            f"from any start. Leave out rows where it has none, such as a share of zero."
        )
    reached = solution.objective <= lowest * (1 + REACHED) + 1e-12
    basins = find_basins(
        solution.objective, solution.gradient, log_predict(law, solution.z, inputs)
    )
    if objective in ("robust", "one_sided"):
        target = replace(target, one_sided=objective == "one_sided")
        target, solution = _settle(target, solution, tolerance)
    solution = solution if quick else polish(target, solution)
    return _law_fit(runs, scales, target, solution, reached, basins)


def _first_round(
    target: Target,
    starts: Array,
    prior: Mapping[str, Prior],
    few: int,
    small: bool,
    tolerance: float,
) -> tuple[Target, Solution]:
    """Every start, or the `few` best, to its end; a prior is then weighed by the noise seen."""
    target = with_prior(target, prior)
    if few and not small:
        starts = _best_starts(target, starts, few)
    # Without its curvature a law creeps towards the minimum of nearly absolute residuals.
    patience = 4000 if small and not target.law.terms else 400
    start = solve_small_delta if small else solve
    solution = start(target, starts, max_iterations=patience, tolerance=tolerance)
    if prior:
        best = solution.z[int(np.argmin(solution.objective))]
        noise = _robust_scale(_residual(target, best), best.size)
        target = with_prior(target, prior, max(noise, 1e-6))
        solution = solve(target, solution.z, max_iterations=patience, tolerance=tolerance)
    return target, solution


def _residual(target: Target, z: Array) -> Array:
    """Log residuals (R,) of the first set of losses at log parameters (P,)."""
    losses = np.log(target.losses[0]) if target.level else target.losses[0]
    return np.asarray(losses - log_predict(target.law, z[None], target.inputs)[0])


def _law_fit(
    runs: Runs,
    scales: dict[str, float],
    target: Target,
    solution: Solution,
    reached: np.ndarray,
    basins: tuple[Basin, ...],
) -> LawFit:
    z = solution.z[int(np.argmin(solution.objective))]
    residual = _residual(target, z)
    slope = log_jacobian(target.law, z[None], target.inputs)[0]
    # Who asks for least squares says that noise is normal: then no residual is too large.
    is_normal = target.delta >= WIDE
    return LawFit(
        law=target.law,
        z=z,
        scales=scales,
        inputs=target.inputs,
        target=target,
        residual=residual,
        trunk=runs.trunk,
        noise=estimate_noise(residual, slope, runs.trunk, is_normal=is_normal),
        certificate=_certify(target, solution, slope, reached, basins),
        regret=runs.regret,
    )


def _best_starts(target: Target, starts: Array, few: int) -> Array:
    """The `few` best starts: those of an additive law come sorted, others after a short run."""
    if target.law.terms and target.law.starts is None:
        return starts[:few]
    short = solve(target, starts, max_iterations=8)
    return short.z[np.argsort(short.objective, kind="stable")[:few]]


def _scales(runs: Runs, law: Law) -> dict[str, float]:
    """The typical size of every input; 1 for shares and laws not to be moved from their units.

    Inputs that the law adds or compares share the scale of the first of them.
    """
    scales = {
        name: float(np.exp(np.log(runs.columns[name]).mean()))
        if law.scaled and name not in law.unscaled and not is_share(name)
        else 1.0
        for name in law.inputs
    }
    return {name: scales[law.same_unit[0] if name in law.same_unit else name] for name in scales}


def _settle(target: Target, solution: Solution, tolerance: float) -> tuple[Target, Solution]:
    """Repeat the fit with Huber's delta at 1.345 robust sd until delta stands still."""
    start = solution.z[np.argsort(solution.objective, kind="stable")[:BASINS]]
    # A first round of least squares lets a far run drag the law; its scale is too wide then.
    for _ in range(ROUNDS):
        best = solution.z[int(np.argmin(solution.objective))]
        residual = _residual(target, best)
        # 1e-6 of log loss is below what any evaluation measures; it keeps exact data solvable.
        if target.one_sided:
            # Rungs that are worse than they should be tell nothing about the noise.
            residual = residual[residual < 0]
        delta = max(HUBER * _robust_scale(residual, best.size), 1e-6)
        if abs(delta - target.delta) < 1e-3 * target.delta:
            break
        target = replace(target, delta=delta)
        solution = solve(target, start, max_iterations=400, tolerance=tolerance)
        start = solution.z
    return target, solution


def _certify(
    target: Target,
    solution: Solution,
    slope: Array,
    reached: np.ndarray,
    basins: tuple[Basin, ...],
) -> Certificate:
    best = int(np.argmin(solution.objective))
    z, objective = solution.z[best], float(solution.objective[best])
    bound = (z <= target.low + 1e-6) | (z >= target.high - 1e-6)
    return Certificate(
        objective=objective,
        gradient_norm=float(solution.gradient[best]),
        starts=reached.size,
        share_reached=float(reached.mean()),
        at_bound=tuple(np.array(target.law.names)[bound].tolist()),
        condition_number=_condition(slope),
        iterations=solution.iterations,
        converged=bool(solution.gradient[best] < 1e-3 or objective < 1e-12),
        n_basins=len(basins),
        basins=basins[:LISTED],
    )


def _target(law: Law, inputs: Inputs, runs: Runs, delta: float, objective: Objective) -> Target:
    low = law.to_z(np.array([param.low for param in law.params]))
    high = law.to_z(np.array([param.high for param in law.params]))
    if "E" in law.names:
        # The floor lies below the lowest loss; at a thousandth of it, it is as good as none.
        floor = law.names.index("E")
        low[floor] = np.log(1e-3 * runs.loss.min())
        high[floor] = np.log(runs.loss.max())
    zeros = np.zeros(len(law.params))
    level = objective == "level_ls"
    return Target(
        law=law,
        inputs=inputs,
        losses=(runs.loss if level else np.log(runs.loss))[None],
        delta=delta,
        low=low,
        high=high,
        prior_center=zeros,
        prior_precision=zeros,
        weight=runs.weight[None],
        level=level,
    )


def _robust_scale(residual: Array, n_params: int) -> float:
    """Robust sd of the noise: scaled quantiles of |residual|, freedom given back.

    The larger of median and 80 % quantile: with few rows the fit runs through half of them.
    """
    freedom = max(residual.size - n_params, 1)
    median, high = np.quantile(np.abs(residual), [0.5, 0.8])
    spread = float(max(1.4826 * median, high / 1.2816))
    return spread * float(np.sqrt(residual.size / freedom))


def _condition(slope: Array) -> float:
    norm = np.linalg.norm(slope, axis=0)
    if (norm == 0).any():
        return float("inf")
    values = np.linalg.svd(slope / norm, compute_uv=False)
    return float(values[0] / values[-1]) if values[-1] > 0 else float("inf")
