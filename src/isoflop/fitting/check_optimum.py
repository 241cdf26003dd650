"""Checks of the optimum and the draws: what the runs do not identify, and what they still do."""

import numpy as np

from isoflop._types import Array, Problem
from isoflop.fitting.check_rows import OUTWARD, corner
from isoflop.fitting.one_law import LawFit
from isoflop.fitting.table import Runs
from isoflop.laws import optimum
from isoflop.laws.optimum import CLOSED_FORM

OPEN = 2.0
"""An exponent is open where the ends of its 90 % interval differ by this factor or more."""

TIED = 0.9
"""Correlation of logs from which on two parameters are told to trade off."""


def optimum_problems(fitted: LawFit, draws: Array, runs: Runs) -> tuple[Problem, ...]:
    """`not_converged`, `at_bound`, `ill_conditioned`, `floor_unidentified`, `exponents_ridge`."""
    found = _certificate_problems(fitted)
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
    return (*found, *ridge_problems(fitted, draws, runs))


def _certificate_problems(fitted: LawFit) -> list[Problem]:
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


def ridge_problems(fitted: LawFit, draws: Array, runs: Runs) -> tuple[Problem, ...]:
    """`exponents_ridge`: which exponents the draws (B, P) leave open, and what they still fix."""
    names = fitted.law.names
    exponents = [i for i, name in enumerate(names) if name.startswith(("alpha", "beta"))]
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    wide = [i for i in exponents if low[i] > 0 and high[i] >= OPEN * low[i]]
    if not wide:
        return ()
    told = [f"{names[i]} {low[i]:.3g} to {high[i]:.3g}{_partners(i, draws, names)}" for i in wide]
    z = fitted.law.to_z(fitted.law.rescale(draws, fitted.scales))
    logs = fitted.log_mean(z, corner(runs))[:, 0]
    half = float(np.ptp(np.quantile(logs, [0.05, 0.95]))) / 2
    still = f"the law at {OUTWARD:.0f} times the largest compute within ±{100 * half:.1f} %"
    if fitted.law.name in CLOSED_FORM:
        a = np.quantile(optimum(draws, 1.0, law=fitted.law).a, [0.05, 0.95])
        still += f", a (N_opt ~ C^a) from {a[0]:.2f} to {a[1]:.2f}"
    return (
        Problem(
            code="exponents_ridge",
            severity="note",
            text=f"90 % intervals: {'; '.join(told)}. What the runs do say: {still}.",
            remedy="Quote predictions, not these exponents; widen the range of sizes and tokens, "
            'or borrow exponents (prior="exponents").',
            affects=("allocation",),
        ),
    )


def _partners(i: int, draws: Array, names: tuple[str, ...]) -> str:
    """The parameters that move with the i-th over the draws."""
    moving = [k for k in range(len(names)) if np.ptp(draws[:, k]) > 0 and (draws[:, k] > 0).all()]
    if i not in moving or len(moving) < 2:
        return ""
    together = np.corrcoef(np.log(draws[:, moving]), rowvar=False)[moving.index(i)]
    found = [
        f"{names[k]} ({value:+.2f})"
        for k, value in zip(moving, together, strict=True)
        if k != i and abs(value) >= TIED
    ]
    return f", on a ridge with {', '.join(found)}" if found else ""
