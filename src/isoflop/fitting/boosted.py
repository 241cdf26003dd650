"""`fit_boosted`: gradient-boosted trees on mixture shares, as RegMix does.

Use with hundreds of small proxies and many domains, where a law's form is in doubt. Trees know
nothing outside the mixtures that were run; with a few dozen runs `exponential_mixing` is better.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from isoflop._errors import FitError, InputError, MissingExtraError
from isoflop._types import LEVEL, Array, Prediction, Problem, Table, is_share
from isoflop.fitting.table import Runs, column_names, read_table
from isoflop.laws import check_inputs
from isoflop.laws.estimate import Of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sklearn.ensemble import HistGradientBoostingRegressor

FOLDS = 10
LEAST_ROWS = 40
"""Below this a tree of a few leaves has too few runs a leaf to average over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoostedFit:
    """Boosted trees of ln target on the inputs; `residual` (R,) are errors on runs left out."""

    inputs: tuple[str, ...]
    model: "HistGradientBoostingRegressor"
    residual: Array
    ranges: "Mapping[str, tuple[float, float]]"
    problems: tuple[Problem, ...]
    target: str
    level: float
    n_runs: int

    def predict(
        self,
        inputs: "Mapping[str, ArrayLike]",
        of: Of = "run",
        level: float | None = None,
    ) -> Prediction:
        """Predicted target with an interval from the errors on runs left out (CV+).

        Args:
            inputs: columns of equal length (G,); shares add up to one.
            of: "run" for a new run; the interval of the "mean" is not known apart, and the same.
            level: level of the interval; the fit's own when None.

        Raises:
            InputError: a column is missing or wrong, or the level is not in (0, 1).
        """
        del of
        level = self.level if level is None else level
        if not 0 < level < 1:
            raise InputError(f"`0 < level < 1` must hold, but got level={level}. Use e.g. 0.9.")
        columns = check_inputs(inputs, self.inputs)
        log_mean = self.model.predict(_matrix(columns, self.inputs))
        # The (n + 1) of conformal prediction: the new run is one of n + 1 exchangeable ones.
        share = min(level * (1 + 1 / self.residual.size), 1.0)
        half = float(np.quantile(np.abs(self.residual), share))
        return Prediction(
            mean=np.exp(log_mean),
            low=np.exp(log_mean - half),
            high=np.exp(log_mean + half),
            level=level,
            problems=self.problems,
        )


def fit_boosted(
    table: Table, *, target: str = "loss", level: float = LEVEL, seed: int = 0
) -> BoostedFit:
    """Fit gradient-boosted trees to ln target over all share columns `w_<domain>`, N and D.

    Args:
        table: columns `w_<domain>` adding up to one, optionally `n_params`, `n_tokens`, `trunk`;
            the target.
        target: the column to predict, e.g. `loss_<domain>`.
        level: level of the interval.
        seed: the same seed gives the same folds.

    Raises:
        MissingExtraError: scikit-learn is not installed (extra `mix`).
        FitError: a column is missing or wrong, or there are fewer than 40 rows.

    Source: Liu et al. 2024 (RegMix), arXiv:2407.01492, who use LightGBM.
    """
    shares = tuple(name for name in column_names(table) if is_share(name))
    if len(shares) < 2:
        raise FitError(
            f"The table must have at least two columns w_<domain>, but it has {shares or 'none'}. "
            f"Add the share of every domain."
        )
    names = (*shares, *(name for name in ("n_params", "n_tokens") if name in table))
    runs = read_table(table, target, names)
    if len(runs) < LEAST_ROWS:
        raise FitError(
            f"`runs >= {LEAST_ROWS}` must hold for boosted trees, but the table has {len(runs)}. "
            f"Fit exponential_mixing, or train more proxies."
        )
    features, goal = _matrix(runs.columns, names), np.log(runs.loss)
    return BoostedFit(
        inputs=names,
        model=_train(features, goal, runs.weight),
        residual=_left_out(features, goal, runs, seed),
        ranges={n: (float(c.min()), float(c.max())) for n, c in runs.columns.items()},
        problems=_problems(len(runs), len(shares)),
        target=target,
        level=level,
        n_runs=len(runs),
    )


def _train(features: Array, goal: Array, weight: Array) -> "HistGradientBoostingRegressor":
    try:
        from sklearn.ensemble import HistGradientBoostingRegressor
    except ImportError as error:
        raise MissingExtraError("scikit-learn", extra="mix", needed_for="fit_boosted") from error
    # scikit-learn's defaults (20 runs a leaf) suit thousands of rows: proxies come in hundreds.
    model = HistGradientBoostingRegressor(
        learning_rate=0.05,
        max_iter=400,
        max_leaf_nodes=8,
        min_samples_leaf=5,
        early_stopping=False,
    )
    return model.fit(features, goal, sample_weight=weight)


def _left_out(features: Array, goal: Array, runs: Runs, seed: int) -> Array:
    """ln errors (R,) of rows predicted by trees that saw no row of their trunk."""
    order = np.random.default_rng([seed, 3]).permutation(runs.n_trunks)
    fold = (order % FOLDS)[runs.trunk]
    residual = np.empty(len(runs))
    for number in np.unique(fold):
        out = fold == number
        model = _train(features[~out], goal[~out], runs.weight[~out])
        residual[out] = goal[out] - model.predict(features[out])
    return residual


def _matrix(columns: "Mapping[str, Array]", names: tuple[str, ...]) -> Array:
    return np.stack([columns[name] for name in names], axis=1)


def _problems(rows: int, domains: int) -> tuple[Problem, ...]:
    if rows >= 20 * domains:
        return ()
    return (
        Problem(
            code="few_runs",
            severity="warning",
            text=f"{rows} mixtures for trees over {domains} domains.",
            remedy="Train about 20 proxies a domain, or fit exponential_mixing.",
        ),
    )
