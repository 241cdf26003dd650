"""Checks of single rows against the fitted law: which lie off it, and what they do to it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from isoflop._types import Array, Problem, Table
from isoflop.fitting.check_columns import listed, run_names
from isoflop.fitting.noise import estimate_noise, median_sd
from isoflop.fitting.one_law import LawFit, fit_law
from isoflop.fitting.solver import log_jacobian
from isoflop.fitting.table import Runs
from isoflop.laws import Law, optimum
from isoflop.laws.optimum import CLOSED_FORM

FAR = 5.0
"""Robust sd from the law at which a run is an outlier: 6 in ten million normal ones."""

LEAST = 10
"""Rows below which a robust sd says too little to call any of them far."""

OUTWARD = 10.0
"""Compute of the forecast that is told with and without the outliers, over the dearest run's."""

APART = 6.0
"""Distance of two clusters of residuals in sd within them. Normal residuals cut at their median
lie 2.6 apart."""

STEP = 0.03
"""Log ratio of two clusters below which they are no other metric or tokenizer."""

NATS_PER_BIT = float(np.log(2.0))

ROUNDS = 6
"""Cuts and refits, at most."""

SHARE = 0.15
"""Share of the rows that the smaller cluster must hold, with 3 of them at least."""

RISE = 0.01
"""Rise of log loss from a shorter to a longer run that is worth telling."""


Refit = Callable[[Runs, Law], LawFit]
"""Fits a law to rows."""


def outliers(
    table: Table, runs: Runs, fitted: LawFit, refit: Refit = fit_law
) -> tuple[Problem, ...]:
    """Runs more than `FAR` robust sd from the law: which, how far, and the answer without."""
    size = fitted.residual.size
    far = far_rows(fitted.residual)
    if not far.any():
        return ()
    names = run_names(table, runs)
    order = [i for i in np.argsort(-np.abs(fitted.residual), kind="stable") if far[i]]
    named = [f"{names[i]} {100 * np.expm1(fitted.residual[i]):+.1f} %" for i in order]
    return (
        Problem(
            code="outliers",
            severity="note",
            text=f"{int(far.sum())} of {size} runs lie more than {FAR:.0f} robust sd from the law "
            f"(+ is too high a loss): {listed(named)}. "
            f"{_without(runs, fitted, ~far, refit)}".rstrip(),
            remedy="Check these runs; the robust fit gives them little weight.",
        ),
    )


def far_rows(residual: Array) -> np.ndarray:
    """Mask (R,) of the residuals beyond `FAR` robust sd; of fewer than `LEAST` none."""
    scale = median_sd(residual)
    return np.asarray((np.abs(residual) > max(FAR * scale, 1e-4)) & (residual.size >= LEAST))


def _without(runs: Runs, fitted: LawFit, keep: np.ndarray, refit: Refit) -> str:
    """How the answer moves when the other rows are left out."""
    kept = runs.where(keep)
    if len(kept) < len(fitted.law.params) + 2:
        return ""
    other = refit(kept, fitted.law)
    pairs = zip(fitted.law.names, fitted.theta, other.theta, strict=True)
    moved = [f"{name} {old:.4g} -> {new:.4g}" for name, old, new in pairs]
    if fitted.law.name in CLOSED_FORM:
        old, new = (float(optimum(one.theta, 1.0, law=one.law).a) for one in (fitted, other))
        moved.append(f"a (N_opt ~ C^a) {old:.3f} -> {new:.3f}")
    grown = corner(runs)
    old, new = (float(np.exp(one.log_mean(one.z[None], grown)[0, 0])) for one in (fitted, other))
    far = f"the {runs.target} at {OUTWARD:.0f} times the largest compute {old:.4g} -> {new:.4g}"
    return f"Without them: {', '.join([*moved, far])}."


def corner(runs: Runs) -> dict[str, Array]:
    """The dearest run, grown to `OUTWARD` times its compute in the direction it has."""
    dearest = int(np.argmax(runs.compute))
    factor = {"x": OUTWARD, "flops": OUTWARD}
    pair = ("n_params", "n_tokens", "n_unique_tokens", "steps")
    factor |= dict.fromkeys(pair, OUTWARD**0.5)
    return {
        name: column[[dearest]] * factor.get(name, 1.0) for name, column in runs.columns.items()
    }


def metric_clusters(table: Table, runs: Runs, fitted: LawFit) -> tuple[Problem, ...]:
    """`mixed_metrics` where losses form two laws at a constant ratio, such as nats and bits.

    Residuals are cut at their widest gap, the law refitted to losses freed of that step, and
    again, until the cut stands still. The halves must be `APART` sd apart and differ by `STEP`.
    Clusters that are one size or one trunk are rather a bad rung, unless their ratio is ln 2.
    """
    if fitted.law.target != "loss":
        return ()
    smallest = max(3, int(np.ceil(SHARE * len(runs))))
    if len(runs) < max(LEAST, 2 * smallest):
        return ()
    one, high, size = fitted, np.zeros(len(runs), dtype=bool), 0.0
    for _ in range(ROUNDS):
        # Residuals of the losses as they are, about a law that was freed of the step.
        residual = np.log(runs.loss) - one.log_mean(one.z[None], runs.columns)[0]
        cut = _widest_gap(residual, smallest)
        if (cut == high).all():
            break
        high = cut
        size = float(np.median(residual[high]) - np.median(residual[~high]))
        if abs(size) < STEP / 2:
            return ()
        one = fit_law(replace(runs, loss=runs.loss * np.exp(-size * high)), fitted.law, few=8)
    within = one.standard_error
    bits = abs(abs(size) + np.log(NATS_PER_BIT)) < 0.02
    if abs(size) < max(APART * within, STEP) or (not bits and _one_rung(runs, high)):
        return ()
    ratio = float(np.exp(abs(size)))
    what = (
        f"ln 2 = {NATS_PER_BIT:.3f} is that of nats to bits"
        if bits
        else "other tokenizers, texts or units do so, and points at a constant rate"
    )
    few = high if high.sum() <= len(runs) / 2 else ~high
    names = [name for name, one in zip(run_names(table, runs), few, strict=True) if one]
    return (
        Problem(
            code="mixed_metrics",
            severity="warning",
            text=f"Losses follow two laws at the constant ratio {1 / ratio:.3f} ({what}); the "
            f"fewer are {len(names)} of {len(runs)}: {listed(names)}.",
            remedy="Bring all losses to one metric, one tokenizer and one text, or fit them apart.",
        ),
    )


def _widest_gap(residual: Array, smallest: int) -> np.ndarray:
    """Mask (R,) of the residuals above the widest gap that leaves `smallest` on either side."""
    order = np.argsort(residual, kind="stable")
    gaps = np.diff(residual[order])[smallest - 1 : residual.size - smallest]
    high = np.zeros(residual.size, dtype=bool)
    high[order[smallest + int(np.argmax(gaps)) :]] = True
    return high


def _one_rung(runs: Runs, high: np.ndarray) -> bool:
    """Whether either cluster is one size or one trunk."""
    groups = [column for name, column in runs.columns.items() if name == "n_params"]
    groups += [runs.trunk] if runs.named else []
    return any(np.unique(group[side]).size == 1 for group in groups for side in (high, ~high))


def loss_rises(table: Table, runs: Runs, fitted: LawFit) -> tuple[Problem, ...]:
    """`loss_rises` where the target grows with compute, or a longer run of a trunk is worse.

    A rise must exceed 4 sd of the noise of two runs, and `RISE`: normal noise does so in 3 of
    100,000 pairs.
    """
    # Where mixtures or unique tokens vary too, a longer run may rightly be worse.
    if set(runs.columns) - {"flops"} != {"n_params", "n_tokens"} or fitted.law.target != "loss":
        return ()
    log_l, log_c = np.log(runs.loss), np.log(runs.compute)
    spread = float(log_l.std() * log_c.std())
    along = float(((log_l - log_l.mean()) * (log_c - log_c.mean())).mean()) / max(spread, 1e-300)
    if len(runs) >= 6 and along > 0.5:
        return (
            Problem(
                code="loss_rises",
                severity="disqualifying",
                text=f"{runs.target!r} grows with compute (correlation of logs {along:.2f}): these "
                "laws are of a loss, which falls.",
                remedy="Choose a loss as the target; for accuracies see `fit_task`.",
            ),
        )
    slope = log_jacobian(fitted.law, fitted.z[None], fitted.inputs)[0]
    noise = estimate_noise(fitted.residual, slope, runs.trunk)
    # Runs on one trunk share its noise, runs on two do not.
    worse = _worse(runs, max(4 * 2**0.5 * noise.own, RISE), max(4 * 2**0.5 * noise.total, RISE))
    if not worse:
        return ()
    names = run_names(table, runs)
    told = [f"{names[i]} +{100 * rise:.1f} %" for i, rise in worse]
    return (
        Problem(
            code="loss_rises",
            severity="warning",
            text=f"{len(worse)} runs are worse than a shorter run of the same size by more than "
            f"noise: {listed(told)}.",
            remedy="Look for divergence, overfitted (repeated) data or a swapped column.",
        ),
    )


def _worse(runs: Runs, same: float, other: float) -> list[tuple[int, float]]:
    """Rows above the next shorter run of their size by `same` (on its trunk) or `other`."""
    found = []
    for size in np.unique(runs.columns["n_params"]):
        rows = np.flatnonzero(runs.columns["n_params"] == size)
        rows = rows[np.argsort(runs.columns["n_tokens"][rows], kind="stable")]
        log_l, tokens = np.log(runs.loss[rows]), runs.columns["n_tokens"][rows]
        for k in range(1, rows.size):
            limit = same if runs.trunk[rows[k]] == runs.trunk[rows[k - 1]] else other
            rise = float(log_l[k] - log_l[k - 1])
            if tokens[k] > tokens[k - 1] and rise > limit:
                found.append((int(rows[k]), rise))
    return sorted(found, key=lambda one: -one[1])
