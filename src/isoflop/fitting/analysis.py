"""`Analysis`: everything that one ladder says - three approaches, frontier, ceilings, caveats."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from isoflop._types import Array, Interval, Problem, as_column
from isoflop.fitting.as_json import to_plain
from isoflop.fitting.fit_result import Fit
from isoflop.fitting.profile import Profile
from isoflop.fitting.sensitivity_result import Sensitivity
from isoflop.laws import BestSplit

Approach = Literal["envelope", "isoflop", "parametric"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IsoflopProfile:
    """Losses of all sizes at one compute budget, and the parabola in log N through them."""

    flops: float
    n_params: Array
    loss: Array
    n_tokens: Array
    coefficients: tuple[float, float, float]
    """loss = c0 + c1 u + c2 u^2, u = ln(N / geometric mean of n_params)."""
    vertex: float
    """The size at the parabola's lowest point."""
    n_opt: float
    """The vertex without the parabola's bias."""
    d_opt: float
    loss_opt: float
    status: Literal["ok", "edge_minimum", "no_minimum"]

    def parabola(self, n_params: ArrayLike) -> Array:
        """Loss on the fitted parabola at the given sizes, for drawing."""
        u = np.log(as_column(n_params)) - float(np.log(self.n_params).mean())
        c0, c1, c2 = self.coefficients
        return np.asarray(c0 + c1 * u + c2 * u**2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """The same allocation from other runs or vertices: ln N_opt = log_n + a ln C, and so ln D_opt.

    `what`: `uncorrected` (the parabolas' own vertices, as published procedures take them),
    `without_flagged`, `without_far`, `without_budget C`.
    """

    what: str
    n_runs: int
    a: float
    b: float
    log_n: float
    log_d: float

    def n_opt(self, flops: float) -> float:
        """Compute-optimal size at a budget [FLOPs]."""
        return float(np.exp(self.log_n + self.a * np.log(flops)))

    def d_opt(self, flops: float) -> float:
        """Compute-optimal tokens at a budget [FLOPs]."""
        return float(np.exp(self.log_d + self.b * np.log(flops)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """The optimum at one budget by one approach, each number with its interval."""

    approach: Approach
    flops: float
    n_opt: Interval
    d_opt: Interval
    tokens_per_param: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """How to split compute, by one approach: N_opt ~ C^a, D_opt ~ C^b, fitted apart."""

    approach: Approach
    a: Interval
    b: Interval
    sum_ab: float
    flops: Array
    n_opt: Array
    d_opt: Array
    profiles: tuple[IsoflopProfile, ...] = ()
    variants: tuple[Variant, ...] = ()
    """How the answer moves with the runs that carry it; approach 2 only."""
    measured: bool = False
    """Whether the table's own isoFLOP groups were used, and no curve was interpolated."""
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """The loss E + A/N^alpha that more data alone cannot break at one size [nats/token]."""

    n_params: float
    ceiling: Interval
    best_loss: float
    reducible_by_data: float
    """best_loss - ceiling: what more data could still gain at this size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NaivePower:
    """The straight line in log-log through the frontier: ln loss = intercept + slope ln C."""

    intercept: float
    slope: float

    def predict(self, flops: ArrayLike) -> Array:
        """Loss on the line at the given compute [FLOPs]."""
        return np.asarray(np.exp(self.intercept + self.slope * np.log(as_column(flops))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """One ladder, analysed; `fit` forecasts, `chinchilla` gives E, A, alpha, B, beta."""

    fit: Fit
    """Approach 3: the laws weighed by back-test; forecasts come from it."""
    chinchilla: Fit
    """The additive law alone."""
    frontier: Fit
    """L(C) = E + (C0/C)^alpha; its input column is `x` [FLOPs]."""
    kaplan: Fit
    allocations: tuple[Allocation, ...]
    ceilings: tuple[Ceiling, ...]
    entropy: Interval
    """The irreducible loss E of the additive law."""
    naive: NaivePower
    problems: tuple[Problem, ...]
    frontier_flops: Array
    frontier_loss: Array
    n_runs: int
    target: str
    sensitivity: Sensitivity | None = None
    """How the key answers move with choices; None where the runs allow no allocation."""
    agreement: tuple[Agreement, ...] = ()
    """N_opt, D_opt and D/N of every approach at common budgets, to see how far they agree."""
    optimum: BestSplit | None = None
    """The optimum of `fit` at the same budgets; None where its law has more inputs than N and D."""
    profiles: tuple[Profile, ...] = ()
    """Profile likelihood of floor and exponents: of the law of `fit`, then of the additive law."""

    def profile(self, law: str, name: str) -> Profile | None:
        """The profile of that law's parameter, or None where it was not made."""
        found = (one for one in self.profiles if (one.law, one.name) == (law, name))
        return next(found, None)

    def allocation(self, approach: Approach) -> Allocation | None:
        """The allocation of that approach, or None where the table does not support it."""
        return next((one for one in self.allocations if one.approach == approach), None)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and strings: everything but the draws."""
        return {
            "target": self.target,
            "n_runs": self.n_runs,
            "fit": self.fit.to_json(),
            "chinchilla": self.chinchilla.to_json(),
            "frontier": self.frontier.to_json(),
            "kaplan": self.kaplan.to_json(),
            "allocations": to_plain(self.allocations),
            "ceilings": to_plain(self.ceilings),
            "entropy": to_plain(self.entropy),
            "naive": to_plain(self.naive),
            "frontier_flops": to_plain(self.frontier_flops),
            "frontier_loss": to_plain(self.frontier_loss),
            "agreement": to_plain(self.agreement),
            "optimum": to_plain(self.optimum),
            "profiles": to_plain(self.profiles),
            "problems": to_plain(self.problems),
            "sensitivity": None if self.sensitivity is None else self.sensitivity.to_json(),
        }
