"""Checks of a table and of a fit: each finding is a `Problem` that travels with the result."""

import numpy as np
from scipy.special import stdtrit

from isoflop._types import Array, Problem, Table, is_share
from isoflop.fitting.check_columns import column_problems, used
from isoflop.fitting.check_kinds import kind_problems
from isoflop.fitting.check_optimum import optimum_problems
from isoflop.fitting.check_regime import regime_problems
from isoflop.fitting.check_rows import Refit, loss_rises, metric_clusters, outliers
from isoflop.fitting.check_rungs import rung_problems
from isoflop.fitting.one_law import LawFit, fit_law
from isoflop.fitting.table import Runs
from isoflop.laws import Law

DECADE = 10.0
"""Factor that compute, sizes and tokens should span: below it two exponents look alike."""

THIN = 3.0
"""Factor of sizes or tokens below which a narrow range is a warning."""


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
        found += _shape_problems(table, runs)
        if not any(map(is_share, runs.columns)):
            found += steepening_problems(runs)
    found += _range_problems(runs)
    found += column_problems(table, runs, law)
    return tuple(found)


def _range_problems(runs: Runs) -> list[Problem]:
    """`narrow_range` where compute, sizes or tokens span less than a decade."""
    names = {"n_params": "sizes", "n_tokens": "tokens", "x": "x", "flops": "FLOPs"}
    spans = {
        what: float(runs.columns[name].max() / runs.columns[name].min())
        for name, what in names.items()
        if name in runs.columns
    }
    if {"sizes", "tokens"} <= set(spans):
        spans["compute"] = float(runs.compute.max() / runs.compute.min())
    # One variable is all the compute there is; and of one size or horizon `few_runs` tells.
    narrow = {what: span for what, span in spans.items() if 1 < span < DECADE * (1 - 1e-9)}
    if not narrow:
        return []
    grave = any(what not in ("sizes", "tokens") or span < THIN for what, span in narrow.items())
    told = [f"{what} a factor {span:.3g}" for what, span in narrow.items()]
    return [
        Problem(
            code="narrow_range",
            severity="warning" if grave else "note",
            text=f"The runs span less than a decade: {', '.join(told)}. Exponents from so short "
            "a lever are rough, and curvature does not show.",
            remedy="Add runs at the ends: smaller ones are the cheapest.",
        )
    ]


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


def _shape_problems(table: Table, runs: Runs) -> list[Problem]:
    moved = []
    for name in ("depth", "n_heads"):
        column = used(table, name, runs)
        if column is not None and np.unique(column).size > 1:
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


def steepening_problems(runs: Runs) -> tuple[Problem, ...]:
    """`pre_asymptotic` where log loss against log tokens bends downwards at fixed size.

    Every law of size and tokens in LAWS bends upwards or is straight there. One regression over
    the sizes with at least three horizons: an own height and slope for each size, one curvature
    for all. It must be negative at 1 % by Student's t, whose error is the pooled residual of that
    regression (R rows less 2 a size less 1): so straight lines of any noise and few sizes alarm
    in 1 % of ladders.
    """
    rows, member = _long_trunks(runs)
    freedom = int(rows.sum()) - 2 * member.shape[1] - 1
    if member.shape[1] < 2 or freedom < 1:
        return ()
    log_d = np.log(runs.columns["n_tokens"][rows])
    log_l = np.log(runs.loss[rows])
    # Centred at each size, so that a size's slope is that at the middle of its horizons.
    along = (log_d - member @ ((member.T @ log_d) / member.sum(axis=0)))[:, None]
    basis = np.concatenate([along**2 / 2, member, along * member], axis=1)
    fitted, *_ = np.linalg.lstsq(basis, log_l, rcond=None)
    residual = log_l - basis @ fitted
    inverse = np.linalg.inv(basis.T @ basis)[0, 0]
    error = float(np.sqrt(residual @ residual / freedom * inverse))
    curvature, slope = float(fitted[0]), float(fitted[1 + member.shape[1] :].mean())
    if curvature > -0.01 or curvature > -float(stdtrit(freedom, 0.99)) * error:
        return ()
    return (
        Problem(
            code="pre_asymptotic",
            severity="warning",
            text=(
                f"At fixed size the loss falls faster and faster with tokens (slope of ln "
                f"loss {slope:.3f}, steepening by {-curvature:.3f} per e-fold)."
            ),
            remedy="Drop the shortest horizons or train longer ones: no power law holds yet.",
        ),
    )


def _long_trunks(runs: Runs) -> tuple[np.ndarray, Array]:
    """Mask (R,) of the runs at sizes with three horizons or more, and which size each is (., K)."""
    size, horizon = runs.columns["n_params"], runs.columns["n_tokens"]
    long = [one for one in np.unique(size) if np.unique(horizon[size == one]).size >= 3]
    rows = np.isin(size, long)
    return rows, (size[rows, None] == np.array(long)[None, :]).astype(np.float64)


def fit_problems(
    table: Table,
    fitted: LawFit,
    draws: Array,
    runs: Runs,
    refit: Refit = fit_law,
) -> tuple[Problem, ...]:
    """What the optimum, the draws (B, P) of theta and the residuals say about the fit.

    Of losses in two metrics no residual means anything: nothing else is told of their rows.

    Args:
        table: the user's table.
        fitted: the optimum.
        draws: parameters drawn around it.
        runs: the rows that were fitted.
        refit: fits a law to other rows as this one was: with its objective and prior.
    """
    found = optimum_problems(fitted, draws, runs)
    kinds = kind_problems(table, runs, fitted)
    # Kinds of points that columns tell apart explain two clusters better than any guess.
    sure = any(one.severity == "warning" for one in kinds)
    mixed = () if sure else metric_clusters(table, runs, fitted)
    if mixed:
        return (*found, *mixed)
    return (
        *found,
        *outliers(table, runs, fitted, refit),
        *loss_rises(table, runs, fitted),
        *kinds,
        *rung_problems(table, runs, fitted),
        *regime_problems(runs, fitted),
    )
