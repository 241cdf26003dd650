"""Words that every room shares: array legend, `Problem`, `Prediction`, the default level.

Array legend, used in shape annotations and suffixes:
R runs (rows of a table) · P parameters of a law · B draws · S starts · G grid points.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Table = Mapping[str, Any]
"""A table: any mapping of column name to 1-D array (a dict, a pandas or polars frame)."""

LEVEL = 0.90
"""Level of every interval unless told otherwise."""

SHARE_SUM = 0.01
"""Mixture shares add up to one within this: published tables round them to two digits."""

Severity = Literal["note", "warning", "disqualifying"]
Affects = Literal["allocation", "forecast"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One caveat that travels with a result: what is wrong, how bad, for what, and the remedy."""

    code: str
    severity: Severity
    text: str
    remedy: str
    affects: tuple[Affects, ...] = ("allocation", "forecast")

    def __post_init__(self) -> None:
        if self.code not in PROBLEM_CODES:
            raise AssertionError(f"unknown problem code {self.code!r}: list it in PROBLEM_CODES")

    def disqualifies(self, use: Affects) -> bool:
        """Whether a result with this problem must not be used for `use`."""
        return self.severity == "disqualifying" and use in self.affects


PROBLEM_CODES: dict[str, str] = {
    "extrapolation": "The prediction lies outside the range of the runs.",
    "few_runs": "Too few runs, sizes or horizons for the number of parameters.",
    "at_bound": "A parameter ended at the edge of its domain.",
    "not_converged": "The optimiser found no stationary point from enough starts.",
    "ill_conditioned": "Parameters cannot be told apart; only predictions are identified.",
    "floor_unidentified": "The irreducible loss cannot be told from zero or from the lowest loss.",
    "edge_minimum": "An isoFLOP profile has its minimum at the edge: the optimum lies outside.",
    "no_minimum": "An isoFLOP profile is not convex: it has no interior minimum.",
    "allocation_moves": "Without some runs or one budget the isoFLOP optimum is another.",
    "one_ray": "All runs lie on one (N, D) ray: allocation cannot be learned from them.",
    "pre_asymptotic": "The slope along the trunks still steepens: no power law holds yet.",
    "short_horizons": "Without the shortest horizon the forecast is another: it is off the law.",
    "shape_confounded": "Depth or head count changes with size: N is not all that moves.",
    "exponents_inconsistent": "The allocation exponents fitted apart do not add up to one.",
    "backtest_missed": "Fitted on the smaller runs only, the law missed the larger ones.",
    "no_backtest": "Too few runs to leave some out and forecast them: the interval assumes the "
    "law.",
    "diverged_runs": "Some runs diverged and were left out.",
    "outliers": "Some runs lie far from the law.",
    "repeated_data": "Tokens were repeated; the law counts them as new.",
    "rounded_constants": "The constants are printed with few digits and must not be extrapolated.",
    "prior_used": "Exponents of published ladders helped the fit.",
    "outside_common_range": "Asked for where the runs of the two recipes do not both reach.",
    "no_shape": "The family of decoders has none as small as the plan.",
    "over_trained": "The plan trains far beyond the compute-optimal tokens a parameter.",
    "score_unreached": "In some draws no loss gives the score asked for.",
    "other_evaluation": "The law of loss and that of the score may be of different evaluation "
    "texts.",
    "one_price": "The rent of the chosen hardware is one quote, not a range.",
    "plan_impossible": "The plan asked for cannot be made, and was left out.",
    "memory_tight": "The training fits into the memory of its devices with odds below 0.9.",
    "settings_off_law": "Learning rate or batch lie outside what their law was fitted on.",
    "one_schedule": "No curve cools down, or all do alike: what a cooldown brings is not known.",
    "early_points": "Points in the warm-up, or before the law holds, were left out.",
    "law_bends": "The residuals run in waves along the curves: the law bends another way.",
    "narrow_range": "Sizes, tokens or compute span less than a decade: exponents are guesses.",
    "exponents_ridge": "Exponents trade off with other parameters: they cannot be told apart.",
    "under_tuned": "All runs of one size lie above the law that the other sizes follow.",
    "rung_off_collapse": "A rung's loss curve, over its end, is not that of the others.",
    "lr_regret": "The rates of the rungs are not known to be the best: their expected cost.",
    "tuning_failed": "The sweeps of [tune] gave no law of the learning rate.",
    "broken_regime": "The slope changes within the range: one power law does not cover it.",
    "mixed_kinds": "Points of annealed and of constant learning rate are mixed.",
    "intermediate_points": "No point is the end of its schedule: all are of unfinished trainings.",
    "mixed_metrics": "Losses of several tokenizers, metrics or units are mixed.",
    "filtered_domain": "Quality filters took more than half of a domain.",
    "duplicated_runs": "A run is in the table more than once.",
    "loss_rises": "More compute gives a higher loss.",
    "units_mismatch": "Parameters, tokens and FLOPs do not seem to be counted in ones.",
    "mostly_duplicates": "A domain lost more than half of its documents or bytes as duplicates.",
    "large_cluster": "More than 1 % of all documents are one cluster of duplicates.",
    "unknown_convention": "The convention behind the parameter count is not known.",
    "inexact_tokenizer": "The tokenizer loses text: it does not come back, or has no tokens.",
    "early_ends": "Documents spell the end mark, and the tokenizer takes it for one.",
    "much_contamination": "Decontamination took over a tenth of a domain's train tokens.",
}
"""Every problem code with its meaning; `docs/formats.md` is generated from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Predicted values with an interval: arrays `mean`, `low`, `high` of equal shape (G,)."""

    mean: Array
    low: Array
    high: Array
    level: float = LEVEL
    problems: tuple[Problem, ...] = ()

    def __post_init__(self) -> None:
        assert self.mean.shape == self.low.shape == self.high.shape
        assert 0 < self.level < 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """One number with its interval."""

    value: float
    low: float
    high: float
    level: float = LEVEL


def is_share(name: str) -> bool:
    """Whether a column holds mixture shares (`w_<domain>`): they may be zero, and have no unit."""
    return name.startswith("w_")


def as_column(values: ArrayLike) -> Array:
    """A column as a 1-D float64 array."""
    return np.atleast_1d(np.asarray(values, dtype=np.float64))
