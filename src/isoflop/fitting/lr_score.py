"""`score_lr_batch`: what predicted learning rates and batches would have cost in a sweep."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import LinearNDInterpolator

from isoflop._types import Array, Table
from isoflop.fitting.table import read_table
from isoflop.laws import Estimate

SHEAR = np.array([[1.0, 0.01], [0.0, 1.0]])
"""On a square grid both diagonals make Delaunay triangles, and rounding would choose between them;
a slight shear does instead. Linear interpolation is not changed by it."""

SWEEP_COLUMNS = ("n_params", "n_tokens", "lr", "batch_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class LrBatchScore:
    """Predictions against a sweep, one row a cell (K,)."""

    n_params: Array
    n_tokens: Array
    lr: Array
    batch_tokens: Array
    excess: Array
    """Loss at the prediction over the cell's best measured loss, less one."""
    inside: np.ndarray
    """Whether the prediction lies among the cell's runs; elsewhere `excess` is the nearest's."""


def score_lr_batch(
    lr: Estimate, batch_tokens: Estimate, table: Table, target: str = "loss"
) -> LrBatchScore:
    """What the predicted learning rate and batch would have cost in every cell of a sweep.

    The loss at the prediction is interpolated linearly between the cell's runs, over the
    triangles of their (ln lr, ln batch): on a bowl that lies above the true surface. It is held
    against the lowest loss measured in the cell, lucky noise included. So both err against the
    prediction. Outside the cell's runs the nearest run stands in, and `inside` says so.

    Args:
        lr: estimate of the learning rate, fitted or published.
        batch_tokens: estimate of the batch, in the table's unit.
        table: as for `fit_lr_batch`; rows that the estimates have not seen.
        target: the loss.

    Raises:
        FitError: a column is missing or wrong.
    """
    runs = read_table(table, target, SWEEP_COLUMNS)
    columns = runs.columns
    pairs = np.stack([columns["n_params"], columns["n_tokens"]], axis=1)
    cells, number = np.unique(pairs, axis=0, return_inverse=True)
    n, d = cells[:, 0], cells[:, 1]
    at = {"n_params": n, "n_tokens": d, "flops": 6 * n * d}
    chosen = [one.predict({k: at[k] for k in one.inputs}).mean for one in (lr, batch_tokens)]
    point = np.log(np.stack([columns["lr"], columns["batch_tokens"]], axis=1))
    excess, inside = cell_excess(
        point, np.log(runs.loss), number.ravel(), np.log(np.stack(chosen, axis=1))
    )
    return LrBatchScore(
        n_params=n,
        n_tokens=d,
        lr=chosen[0],
        batch_tokens=chosen[1],
        excess=np.expm1(excess),
        inside=inside,
    )


def cell_excess(
    point: Array, log_loss: Array, cell: np.ndarray, chosen: Array
) -> tuple[Array, np.ndarray]:
    """ln loss at the chosen points (K, 2) above each cell's lowest, and whether it is inside."""
    excess, inside = np.empty(len(chosen)), np.zeros(len(chosen), dtype=bool)
    for k, here in enumerate(chosen):
        own = cell == k
        points, losses = point[own], log_loss[own]
        nearest = losses[np.argmin(((points - here) ** 2).sum(axis=1))]
        value = np.nan
        spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
        if len(points) >= 3 and spread[-1] > 1e-6:
            value = float(LinearNDInterpolator(points @ SHEAR, np.exp(losses))(here @ SHEAR)[0])
        inside[k] = np.isfinite(value)
        excess[k] = (np.log(value) if inside[k] else nearest) - losses.min()
    return excess, inside
