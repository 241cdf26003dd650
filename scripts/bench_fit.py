"""Ours beside the field's usual way, on the 240 and 245 points of the Chinchilla figure.

`make bench-fit` runs both in one process, one thread: SciPy's L-BFGS-B with finite differences
from the published grid of 4500 starts, and the sequential bootstrap (BFGS with the analytic
gradient, one start) of the published re-analysis. The last line holds the ratios.
"""

import csv
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TypeVar

import numpy as np
from scipy.optimize import minimize

from isoflop.fitting.one_law import LawFit, fit_law
from isoflop.fitting.solver import solve_resampled
from isoflop.fitting.table import read_table
from isoflop.laws import CHINCHILLA

DATA = Path(os.environ.get("ISOFLOP_DATA", "../shared/data"))
DELTA = 1e-3
BEST = {("huber", 240): 0.0010182740178, ("huber", 245): 0.0018260105231}
BEST_LEVEL = {240: 0.0832038076933, 245: 0.8437738115683}
REPLICATES = 1000
PEER_REPLICATES = 60
STARTS = 4
TWELVE = 12

T = TypeVar("T")


def main() -> None:
    """Time both ways, check every objective, print one line of ratios."""
    rows = read_rows()
    some = [row for row in rows if row["used_in_paper_fit"] == "1"]
    runs, every = table_of(some), table_of(rows)
    x = [np.log(runs.columns["n_params"]), np.log(runs.columns["n_tokens"]), np.log(runs.loss)]

    ours, huber_s = best_of(lambda: fit_law(runs, CHINCHILLA, "hoffmann"))
    level, level_s = best_of(lambda: fit_law(runs, CHINCHILLA, "level_ls", few=8))
    told = ours.certificate
    say(f"ours, Huber(1e-3): {huber_s * 1e3:.1f} ms from {told.starts} starts, of which")
    say(f"  {told.share_reached:.0%} reach the optimum; relative gradient {told.gradient_norm:.1g}")
    say(f"ours, level least squares: {level_s * 1e3:.1f} ms")
    peer, grid_s = timed(lambda: field_grid(huber_of(*x)))
    say(f"field's grid, Huber(1e-3): {grid_s:.1f} s, gap {peer / BEST['huber', 240] - 1:.1e}")
    peer, grid_level_s = timed(lambda: field_grid(squares_of(*x)))
    say(f"field's grid, level least squares: {grid_level_s:.1f} s, ")
    say(f"  gap {peer / BEST_LEVEL[240] - 1:.1e}")

    weights, starts = resamples(ours, len(runs))
    drawn, boot_s = best_of(lambda: replicates(ours, starts, weights), repeats=2)
    per = boot_s / REPLICATES
    began = time.perf_counter()
    for one in weights[:PEER_REPLICATES]:
        field_replicate(x, one, peer_start(ours))
    peer_per = (time.perf_counter() - began) / PEER_REPLICATES
    say(f"bootstrap: ours {per * 1e6:.0f} us a replicate, field's {peer_per * 1e3:.1f} ms")
    gaps = [
        float(drawn.objective[i]) / twelve_starts(x, weights[i], ours) - 1
        for i in range(PEER_REPLICATES)
    ]
    gap_240 = max(gap(told.objective, BEST["huber", 240]), level_gap(level, 240))
    other = fit_law(every, CHINCHILLA, "hoffmann").certificate.objective
    other_level = fit_law(every, CHINCHILLA, "level_ls", few=8)
    gap_245 = max(gap(other, BEST["huber", 245]), level_gap(other_level, 245))
    say(
        f"grid_speedup={grid_s / huber_s:.0f} grid_speedup_ls={grid_level_s / level_s:.0f} "
        f"boot_speedup={peer_per / per:.0f} gap_240={gap_240:.1e} gap_245={gap_245:.1e} "
        f"us_per_replicate={per * 1e6:.0f} boot_gap_max={max(gaps):.1e}"
    )


def read_rows() -> list[dict[str, str]]:
    """The digitised points.

    Raises:
        SystemExit: the published experiments are not there.
    """
    path = DATA / "chinchilla_epoch.csv"
    if not path.is_file():
        sys.exit(f"error: {path} is not there. Set ISOFLOP_DATA to the folder that holds it.")
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def table_of(rows: list[dict[str, str]]):  # type: ignore[no-untyped-def]
    """The rows as the fit reads them."""
    names = ("n_params", "n_tokens", "loss")
    table = {name: [float(row[name]) for row in rows] for name in names}
    return read_table(table, "loss", ("n_params", "n_tokens"))


def level_gap(fitted: LawFit, n_rows: int) -> float:
    """Relative gap of the sum of squares to the best known one."""
    return gap(2 * fitted.certificate.objective, BEST_LEVEL[n_rows])


def gap(objective: float, best: float) -> float:
    """Relative distance; the best known values have 11 to 14 digits."""
    return abs(objective / best - 1)


# Ours ------------------------------------------------------------------------------------------


def resamples(fitted: LawFit, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Row counts (B, R) of a case bootstrap, and starts (S, P): the fit and its valley."""
    rng = np.random.default_rng(0)
    weights = rng.multinomial(n_rows, np.full(n_rows, 1 / n_rows), size=REPLICATES)
    few = replicates(fitted, fitted.z[None], weights[:60].astype(float)).z
    valley = rng.multivariate_normal(fitted.z, np.cov(few.T), size=STARTS - 1)
    return weights.astype(float), np.concatenate([fitted.z[None], valley])


def replicates(fitted: LawFit, starts: np.ndarray, weights: np.ndarray):  # type: ignore[no-untyped-def]
    """Every replicate solved from every start."""
    target = replace(fitted.target, weight=weights)
    return solve_resampled(target, starts, len(weights))


# The field's way -------------------------------------------------------------------------------

Objective = Callable[[np.ndarray], float]


def field_grid(objective: Objective) -> float:
    """Hoffmann et al. 2022, app. D.2: L-BFGS-B from the grid of 4500 starts (a, b, e, al, be)."""
    fifth, log_e, log_ab = np.arange(0, 2.5, 0.5), np.arange(-1, 1.5, 0.5), np.arange(0, 30, 5.0)
    best = np.inf
    for start in product(log_ab, log_ab, log_e, fifth, fifth):
        found = minimize(objective, np.array(start), method="L-BFGS-B")
        best = min(best, float(found.fun))
    return best


def huber_of(log_n: np.ndarray, log_d: np.ndarray, log_loss: np.ndarray) -> Objective:
    """Sum of Huber(1e-3) of log residuals, in (a, b, e, alpha, beta)."""

    def objective(p: np.ndarray) -> float:
        by_size, by_data = p[0] - p[3] * log_n, p[1] - p[4] * log_d
        top = np.maximum(np.maximum(by_size, by_data), p[2])
        total = np.exp(by_size - top) + np.exp(by_data - top) + np.exp(p[2] - top)
        residual = np.abs(top + np.log(total) - log_loss)
        inside = np.minimum(residual, DELTA)
        return float((inside * (residual - inside / 2)).sum())

    return objective


def squares_of(log_n: np.ndarray, log_d: np.ndarray, log_loss: np.ndarray) -> Objective:
    """Sum of squared residuals of the loss itself."""
    loss = np.exp(log_loss)

    def objective(p: np.ndarray) -> float:
        with np.errstate(over="ignore"):
            by_size, by_data = np.exp(p[0] - p[3] * log_n), np.exp(p[1] - p[4] * log_d)
            value = float(((by_size + by_data + np.exp(p[2]) - loss) ** 2).sum())
        return value if np.isfinite(value) else 1e300

    return objective


def weighted_with_gradient(
    x: list[np.ndarray], weight: np.ndarray
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Weighted Huber(1e-3) with its analytic gradient; scaled up, so that SciPy does not stop."""
    log_n, log_d, log_loss = x

    def objective(p: np.ndarray) -> tuple[float, np.ndarray]:
        parts = np.stack([p[0] - p[3] * log_n, p[1] - p[4] * log_d, np.full(log_n.size, p[2])])
        top = parts.max(axis=0)
        raised = np.exp(parts - top)
        total = raised.sum(axis=0)
        residual = top + np.log(total) - log_loss
        inside = np.clip(residual, -DELTA, DELTA)
        value = (weight * (np.abs(inside) * (np.abs(residual) - np.abs(inside) / 2))).sum()
        share = raised / total * (weight * inside)
        slope = [share[0].sum(), share[1].sum(), share[2].sum()]
        slope += [-(share[0] * log_n).sum(), -(share[1] * log_d).sum()]
        return float(value) / DELTA**2, np.array(slope) / DELTA**2

    return objective


def field_replicate(x: list[np.ndarray], weight: np.ndarray, start: np.ndarray) -> float:
    """One replicate by SciPy's BFGS."""
    found = minimize(weighted_with_gradient(x, weight), start, jac=True, method="BFGS")
    return float(found.fun) * DELTA**2


def peer_start(fitted: LawFit) -> np.ndarray:
    """Our optimum in the field's coordinates (a, b, e, alpha, beta)."""
    entropy, a, alpha, b, beta = fitted.theta
    return np.array([np.log(a), np.log(b), np.log(entropy), alpha, beta])


def twelve_starts(x: list[np.ndarray], weight: np.ndarray, fitted: LawFit) -> float:
    """The best of twelve BFGS solves from scattered starts."""
    rng = np.random.default_rng(1)
    center = peer_start(fitted)
    scatter = rng.normal(size=(TWELVE - 1, 5)) * [0.5, 1.0, 0.05, 0.03, 0.05]
    starts = np.concatenate([center[None], center + scatter])
    return min(field_replicate(x, weight, one) for one in starts)


# Clock -----------------------------------------------------------------------------------------


def timed(action: Callable[[], T]) -> tuple[T, float]:
    """The result and the seconds it took."""
    began = time.perf_counter()
    result = action()
    return result, time.perf_counter() - began


def best_of(action: Callable[[], T], repeats: int = 7) -> tuple[T, float]:
    """The result and the median seconds of some repeats, after one to warm up."""
    action()
    results = [timed(action) for _ in range(repeats)]
    return results[0][0], float(np.median([seconds for _, seconds in results]))


def say(line: str) -> None:
    """One line on stdout."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
