"""The compute frontier: its points, its law L(C) and the naive straight line."""

import numpy as np

from isoflop._types import Array
from isoflop.fitting.analysis import NaivePower
from isoflop.fitting.table import Runs

FEWEST = 5
"""Points that the frontier's law is fitted to, at least (it has three parameters)."""


def frontier_rows(flops: Array, loss: Array, fewest: int = FEWEST) -> np.ndarray:
    """Mask (R,) of the runs on the frontier: nothing cheaper, or as cheap, did better.

    Where fewer than `fewest` runs are on it, those nearest above it join.
    """
    order = np.lexsort((loss, flops))
    best = np.minimum.accumulate(loss[order])
    gap = np.empty_like(loss)
    before = np.concatenate([[np.inf], best[:-1]])
    gap[order] = np.where(loss[order] < before, 0.0, np.log(loss[order] / best))
    # A run as good as a cheaper one is not on the frontier, but the first to join.
    gap[order] = np.where((loss[order] >= before) & (gap[order] == 0), 1e-12, gap[order])
    count = max(int((gap == 0).sum()), min(fewest, loss.size))
    return np.asarray(gap <= np.sort(gap)[count - 1])


def straight_line(flops: Array, loss: Array) -> NaivePower:
    """Least-squares line of ln loss on ln compute."""
    slope, intercept = np.polyfit(np.log(flops), np.log(loss), 1)
    return NaivePower(intercept=float(intercept), slope=float(slope))


def frontier_table(runs: Runs, flops: Array) -> dict[str, np.ndarray]:
    """The frontier's runs by rising compute: columns x [FLOPs], loss and trunk."""
    rows = np.flatnonzero(frontier_rows(flops, runs.loss))
    rows = rows[np.argsort(flops[rows], kind="stable")]
    return {
        "x": flops[rows],
        runs.target: runs.loss[rows],
        "trunk": np.array([f"trunk{number}" for number in runs.trunk[rows]]),
    }
