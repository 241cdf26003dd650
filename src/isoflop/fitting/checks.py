"""Checks of a table and of a fit: each finding is a `Problem` that travels with the result."""

import numpy as np
from scipy.special import stdtrit

from isoflop._types import Array, Problem, Table, is_share
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
        if not any(map(is_share, runs.columns)):
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


def far_runs(fitted: LawFit) -> np.ndarray:
    """Mask (R,) of the runs more than 5 robust sd of log loss from the law."""
    scale = 1.4826 * float(np.median(np.abs(fitted.residual)))
    return np.asarray(np.abs(fitted.residual) > max(5 * scale, 1e-4))


def _outliers(fitted: LawFit) -> list[Problem]:
    size = fitted.residual.size
    far = far_runs(fitted)
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
