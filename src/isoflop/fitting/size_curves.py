"""Losses of every size at given budgets: the table's own isoFLOP groups, or interpolated curves."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from isoflop._types import Array
from isoflop.fitting.table import Runs

N_BUDGETS = 9
"""isoFLOP budgets between curves, as many as Hoffmann et al. 2022 used."""

SAME_BUDGET = 0.005
"""Runs whose FLOPs differ by less, relatively, were made for one budget."""

GROUPED = 2 / 3
"""Share of the runs that must lie in isoFLOP groups, or the table was not laid out in them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Losses (K, G, B) of each size at each budget; NaN where a size has no such run."""

    sizes: Array
    flops: Array
    loss: Array
    tokens: Array
    """(K, G)"""
    measured: bool = False
    """Whether every loss is a run's, none lies between two."""


def curves_at(runs: Runs, flops: Array, losses: Array, budgets: Array) -> Curves:
    """Interpolate each size's log loss (B, R) over log compute to the budgets (G,), by PCHIP."""
    sizes = np.unique(runs.columns["n_params"])
    values = np.full((sizes.size, budgets.size, len(losses)), np.nan)
    tokens = np.full((sizes.size, budgets.size), np.nan)
    for k, size in enumerate(sizes):
        rows = np.flatnonzero(runs.columns["n_params"] == size)
        at, where = np.unique(np.log(flops[rows]), return_inverse=True)
        if at.size < 2:
            continue
        # Repeats of one run (seeds) are averaged.
        share = (where[:, None] == np.arange(at.size)) / np.bincount(where)
        mean = losses[:, rows] @ share
        mean_d = np.log(runs.columns["n_tokens"][rows]) @ share
        inside = (np.log(budgets) >= at[0] - 1e-9) & (np.log(budgets) <= at[-1] + 1e-9)
        query = np.clip(np.log(budgets[inside]), at[0], at[-1])
        values[k, inside] = PchipInterpolator(at, mean.T, axis=0)(query)
        tokens[k, inside] = np.exp(np.interp(query, at, mean_d))
    return Curves(sizes=sizes, flops=budgets, loss=np.exp(values), tokens=tokens)


def isoflop_curves(runs: Runs, flops: Array, losses: Array, label: np.ndarray) -> Curves | None:
    """The table's own groups of one budget where it has such, else curves; None without either.

    `label` (R,) tells runs of different experiments apart, which share no budget.
    """
    groups = budget_groups(flops, runs.columns["n_params"], label)
    if groups:
        return _grouped(runs, flops, losses, groups)
    budgets = _covered_budgets(runs, flops)
    return curves_at(runs, flops, losses, budgets) if budgets.size >= 2 else None


def budget_groups(flops: Array, sizes: Array, label: np.ndarray) -> list[np.ndarray]:
    """Row numbers of each group of one budget; empty where the runs were not laid out in groups.

    At least two groups of four sizes (or three), with two thirds of all runs in them.
    """
    order = np.lexsort((flops, label))
    ranked, names = np.log(flops[order]), label[order]
    cuts = np.flatnonzero((np.diff(ranked) > SAME_BUDGET) | (names[1:] != names[:-1])) + 1
    parts = np.split(order, cuts)
    for needed in (4, 3):
        groups = [part for part in parts if np.unique(sizes[part]).size >= needed]
        if len(groups) >= 2 and sum(map(len, groups)) >= GROUPED * flops.size:
            return sorted(groups, key=lambda part: float(flops[part].mean()))
    return []


def _grouped(runs: Runs, flops: Array, losses: Array, groups: list[np.ndarray]) -> Curves:
    sizes = np.unique(runs.columns["n_params"])
    values = np.full((sizes.size, len(groups), len(losses)), np.nan)
    tokens = np.full((sizes.size, len(groups)), np.nan)
    for g, rows in enumerate(groups):
        at, where = np.unique(runs.columns["n_params"][rows], return_inverse=True)
        share = (where[:, None] == np.arange(at.size)) / np.bincount(where)
        k = np.searchsorted(sizes, at)
        values[k, g] = (losses[:, rows] @ share).T
        tokens[k, g] = np.exp(np.log(runs.columns["n_tokens"][rows]) @ share)
    budgets = np.array([np.exp(np.log(flops[rows]).mean()) for rows in groups])
    return Curves(sizes=sizes, flops=budgets, loss=np.exp(values), tokens=tokens, measured=True)


def _covered_budgets(runs: Runs, flops: Array) -> Array:
    """Log-spaced budgets at which at least three sizes (four where possible) have a run."""
    sizes = np.unique(runs.columns["n_params"])
    grid = np.geomspace(flops.min(), flops.max(), 400)
    count = np.zeros(grid.size, dtype=int)
    for size in sizes:
        own = flops[runs.columns["n_params"] == size]
        count += (grid >= own.min() * (1 - 1e-9)) & (grid <= own.max() * (1 + 1e-9))
    for needed in (4, 3):
        inside = grid[count >= needed]
        if inside.size >= 20:
            return np.asarray(np.geomspace(inside[0], inside[-1], N_BUDGETS))
    return np.empty(0)
