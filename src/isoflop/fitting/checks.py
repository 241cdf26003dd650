"""Checks of a table and of a fit: each finding is a `Problem` that travels with the result."""

import numpy as np

from isoflop._types import Array, Problem, Table
from isoflop.fitting.one_law import LawFit
from isoflop.fitting.table import Runs, optional_column
from isoflop.laws import Law


def design_problems(table: Table, runs: Runs, law: Law) -> tuple[Problem, ...]:
    """What the design of the runs cannot tell, before anything is fitted."""
    found: list[Problem] = []
    if len(runs) < len(law.params) + 3:
        found.append(
            Problem(
                code="few_runs",
                severity="warning",
                text=f"{len(runs)} runs for the {len(law.params)} parameters of {law.name}.",
                remedy="Add runs; intervals of so few are rough.",
            )
        )
    if "n_params" in runs.columns and "n_tokens" in runs.columns:
        found += _plane_problems(runs)
        found += _shape_problems(table)
        found += steepening_problems(runs)
    return tuple(found)


def _plane_problems(runs: Runs) -> list[Problem]:
    log_n, log_d = np.log(runs.columns["n_params"]), np.log(runs.columns["n_tokens"])
    sizes, horizons = np.unique(log_n).size, np.unique(log_d).size
    cloud = np.stack([log_n - log_n.mean(), log_d - log_d.mean()])
    values = np.linalg.svd(cloud, compute_uv=False) / np.sqrt(len(runs))
    # All points within 5 % of one line in (ln N, ln D), whatever its direction.
    if sizes < 2 or horizons < 2 or values[-1] < 0.05:
        return [
            Problem(
                code="one_ray",
                severity="disqualifying",
                text="All runs lie on one line in (ln N, ln D): the effects of size and tokens "
                "cannot be told apart.",
                remedy="Train at least 3 sizes at 3 horizons each.",
                affects=("allocation",),
            )
        ]
    if sizes < 3 or horizons < 3:
        return [
            Problem(
                code="few_runs",
                severity="warning",
                text=f"Only {sizes} sizes and {horizons} horizons.",
                remedy="Train at least 4 sizes at 3 horizons each.",
            )
        ]
    return []


def _shape_problems(table: Table) -> list[Problem]:
    moved = []
    sizes = optional_column(table, "n_params")
    for name in ("depth", "n_heads"):
        column = optional_column(table, name)
        if column is None or sizes is None or column.size != sizes.size:
            continue
        if np.unique(column).size > 1:
            moved.append(name)
    if not moved:
        return []
    return [
        Problem(
            code="shape_confounded",
            severity="note",
            text=f"{' and '.join(moved)} changes over the runs: not size alone moves the loss.",
            remedy="Hold depth and head count fixed over the ladder, or grow it until they "
            "cease to matter.",
        )
    ]


def steepening_problems(runs: Runs) -> list[Problem]:
    """`pre_asymptotic` where log loss against log tokens bends downwards at fixed size.

    Every law of LAWS bends upwards or is straight there. A parabola is fitted to each trunk with
    at least three horizons; the mean curvature must be negative by 2.5 standard errors (from the
    scatter over trunks, and from the parabolas' own residuals): false alarms below 2 %.
    """
    curvature, errors, slopes = [], [], []
    size_of = np.log(runs.columns["n_params"])
    for size in np.unique(size_of):
        rows = size_of == size
        log_d, log_l = np.log(runs.columns["n_tokens"][rows]), np.log(runs.loss[rows])
        if np.unique(log_d).size < 3:
            continue
        basis = np.stack([np.ones_like(log_d), log_d - log_d.mean(), (log_d - log_d.mean()) ** 2])
        fitted, *_ = np.linalg.lstsq(basis.T, log_l, rcond=None)
        curvature.append(2 * fitted[2])
        slopes.append(fitted[1])
        errors.append(log_l - basis.T @ fitted)
    if len(curvature) < 2:
        return []
    mean = float(np.mean(curvature))
    error = float(np.std(curvature, ddof=1) / np.sqrt(len(curvature)))
    if mean < -2.5 * error and mean < -0.01:
        return [
            Problem(
                code="pre_asymptotic",
                severity="warning",
                text=(
                    f"At fixed size the loss falls faster and faster with tokens (slope of ln "
                    f"loss {float(np.mean(slopes)):.3f}, steepening by {-mean:.3f} per e-fold)."
                ),
                remedy="Drop the shortest horizons or train longer ones: no power law holds yet.",
            )
        ]
    return []


def fit_problems(fitted: LawFit, draws: Array, runs: Runs) -> tuple[Problem, ...]:
    """What the optimum and the draws (B, P) of theta say about the fit."""
    found = _optimum_problems(fitted)
    names = fitted.law.names
    if "E" in names and _floor_open(draws[:, names.index("E")], runs):
        found.append(
            Problem(
                code="floor_unidentified",
                severity="note",
                text="The irreducible loss may be anything from near zero to near the lowest.",
                remedy="Longer and larger runs, where the curves bend, would pin it down.",
                affects=("forecast",),
            )
        )
    return (*found, *_outliers(fitted))


def _optimum_problems(fitted: LawFit) -> list[Problem]:
    found: list[Problem] = []
    certificate = fitted.certificate
    if not certificate.converged:
        found.append(
            Problem(
                code="not_converged",
                severity="warning",
                text=f"Relative gradient {certificate.gradient_norm:.2g} at the best point.",
                remedy="Look for duplicated or contradictory rows; add runs.",
            )
        )
    bounded = [name for name in certificate.at_bound if name != "E"]
    if bounded:
        found.append(
            Problem(
                code="at_bound",
                severity="warning",
                text=f"{', '.join(bounded)} ended at the edge of its domain.",
                remedy="The runs do not identify it: widen their range.",
            )
        )
    if certificate.condition_number > 1e3:
        found.append(
            Problem(
                code="ill_conditioned",
                severity="note",
                text=f"Condition number {certificate.condition_number:.2g}.",
                remedy="Trust predictions near the runs, not single parameters.",
                affects=("allocation",),
            )
        )
    return found


def _floor_open(entropy: Array, runs: Runs) -> bool:
    low, high = np.quantile(entropy, [0.05, 0.95]) / runs.loss.min()
    return bool(low < 0.1 or high - low > 0.6)


def _outliers(fitted: LawFit) -> list[Problem]:
    size = fitted.residual.size
    scale = 1.4826 * float(np.median(np.abs(fitted.residual)))
    far = np.abs(fitted.residual) > max(5 * scale, 1e-4)
    if size < 10 or not far.any():
        return []
    return [
        Problem(
            code="outliers",
            severity="note",
            text=f"{int(far.sum())} of {size} runs lie more than 5 robust sd from the law, the "
            f"farthest by {100 * float(np.abs(fitted.residual).max()):.1f} %.",
            remedy="Check these runs; the robust fit gives them little weight.",
        )
    ]
