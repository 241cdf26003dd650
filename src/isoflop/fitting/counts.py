"""Other ways to count parameters and FLOPs: what a table knows of them, and the optimum they give.

Losses do not depend on how anything is counted; the best split does. Counting FLOPs per token as
c(N) and sizes as x(N), the optimum minimises the law's loss over N at D = C / c(N), and is told
as x. Half of the gap between Kaplan's and Chinchilla's exponents is this (Pearce & Song 2024,
arXiv:2406.12907; Porian et al. 2024, arXiv:2406.19146).
"""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from isoflop._types import Array, Table
from isoflop.accounting import FLOPS_PER_PARAM_TOKEN
from isoflop.accounting.flops import FLOPS_CONVENTIONS
from isoflop.accounting.params import PARAM_CONVENTIONS, ParamCount
from isoflop.fitting.check_columns import used
from isoflop.fitting.one_law import LawFit
from isoflop.fitting.table import Runs

PARTS = ("embedding", "head", "attention", "mlp", "other")
"""Components of a parameter count: columns `n_<part>`."""

APART = 1.5
"""Sizes within this factor are averaged: shapes scatter, and c(N) must be smooth."""

SPAN = 12.0
"""ln N searched beyond the runs' sizes, either way."""

GRID = 3000
BUDGETS = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """A convention as the table has it: sizes (R,) and FLOPs per token (R,); or why it lacks."""

    name: str
    change: str
    sizes: Array | None = None
    per_token: Array | None = None
    missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The optimum at one compute: the law's own N, N as counted, D, and the exponent a."""

    own: float
    n_params: float
    n_tokens: float
    a: float


def counts_of(table: Table, runs: Runs) -> tuple[Count, ...]:
    """Every convention of N and of C, in the order of `accounting`."""
    return (
        *(_of_params(table, runs, name) for name in PARAM_CONVENTIONS),
        *(_of_flops(table, runs, name) for name in FLOPS_CONVENTIONS),
    )


def split_under(fitted: LawFit, runs: Runs, count: Count, flops: float) -> Split:
    """Minimise the fitted law's loss at `flops`, sizes and FLOPs counted as `count` has them.

    `a` is the slope of ln N_opt on ln C over the compute of the runs, so counted.
    """
    assert count.sizes is not None
    assert count.per_token is not None
    log_n = np.log(runs.columns["n_params"])
    grid = np.linspace(log_n.min() - SPAN, log_n.max() + SPAN, GRID)
    size = grid + _smooth(log_n, np.log(count.sizes) - log_n, grid)
    cost = grid + _smooth(log_n, np.log(count.per_token) - log_n, grid)
    compute = np.log(count.per_token) + np.log(runs.columns["n_tokens"])
    budgets = np.linspace(compute.min(), compute.max(), BUDGETS)
    log_c = np.append(budgets, np.log(flops))
    tokens = log_c[:, None] - cost
    columns = {
        "n_params": np.exp(np.broadcast_to(grid, tokens.shape).ravel()),
        "n_tokens": np.exp(tokens.ravel()),
    }
    losses = fitted.log_mean(fitted.z[None], columns)[0].reshape(tokens.shape)
    best = _lowest(grid, losses)
    found = np.interp(best, grid, size)
    return Split(
        own=float(np.exp(best[-1])),
        n_params=float(np.exp(found[-1])),
        n_tokens=float(np.exp(log_c[-1] - np.interp(best[-1], grid, cost))),
        a=float(np.polyfit(budgets, found[:-1], 1)[0]),
    )


def _of_params(table: Table, runs: Runs, name: str) -> Count:
    change = f"N counted as {name}, C = 6 N D"
    named = _numbers(table, f"n_params_{name}", runs)
    if named is None and name == "active":
        named = _numbers(table, "n_active", runs)
    if named is None and _told(table, runs, "n_params_convention") == name:
        named = runs.columns["n_params"]
    if named is None and name != "active":
        named = _from_parts(table, runs, name)
    if named is None:
        return Count(name=f"N {name}", change=change, missing=f"no column n_params_{name}")
    return Count(
        name=f"N {name}", change=change, sizes=named, per_token=FLOPS_PER_PARAM_TOKEN * named
    )


def _from_parts(table: Table, runs: Runs, name: str) -> Array | None:
    parts = {part: _numbers(table, f"n_{part}", runs, zero=True) for part in PARTS}
    if any(column is None for column in parts.values()):
        return None
    rows = zip(*(np.asarray(parts[part]) for part in PARTS), strict=True)
    counted = [ParamCount(**dict(zip(PARTS, map(int, row), strict=True))) for row in rows]
    return np.array([one.under(name) for one in counted], dtype=np.float64)


def _of_flops(table: Table, runs: Runs, name: str) -> Count:
    sizes, tokens = runs.columns["n_params"], runs.columns["n_tokens"]
    change = f"C counted as {name}, N as in the table"
    flops = _numbers(table, f"flops_{name}", runs)
    if flops is None and _told(table, runs, "flops_convention") == name:
        flops = _numbers(table, "flops", runs)
    if flops is None and name == "6nd":
        flops = FLOPS_PER_PARAM_TOKEN * sizes * tokens
    if flops is None:
        return Count(name=f"C {name}", change=change, missing=f"no column flops_{name}")
    return Count(name=f"C {name}", change=change, sizes=sizes, per_token=flops / tokens)


def _numbers(table: Table, name: str, runs: Runs, *, zero: bool = False) -> Array | None:
    column = used(table, name, runs)
    if column is None or column.dtype.kind not in "fiu":
        return None
    column = column.astype(np.float64)
    right = column >= 0 if zero else column > 0
    return column if bool((np.isfinite(column) & right).all()) else None


def _told(table: Table, runs: Runs, name: str) -> str | None:
    column = used(table, name, runs)
    values = np.array([]) if column is None else np.unique(column.astype(str))
    return str(values[0]) if values.size == 1 else None


def _smooth(log_n: Array, ratio: Array, grid: Array) -> Array:
    """ln of a ratio as a smooth function of ln N; straight beyond the sizes of the runs."""
    order = np.argsort(log_n, kind="stable")
    x, y = log_n[order], ratio[order]
    group = np.zeros(x.size, dtype=np.intp)
    start = x[0]
    for i in range(1, x.size):
        near = x[i] < start + np.log(APART)
        group[i] = group[i - 1] + (not near)
        start = start if near else x[i]
    share = np.bincount(group)
    x, y = np.bincount(group, x) / share, np.bincount(group, y) / share
    if x.size == 1:
        return np.full(grid.size, y[0])
    inside = PchipInterpolator(x, y)(np.clip(grid, x[0], x[-1])) if x.size > 2 else None
    value = np.interp(grid, x, y) if inside is None else inside
    low, high = (y[1] - y[0]) / (x[1] - x[0]), (y[-1] - y[-2]) / (x[-1] - x[-2])
    value = value + low * np.minimum(grid - x[0], 0) + high * np.maximum(grid - x[-1], 0)
    return np.asarray(value)


def _lowest(grid: Array, losses: Array) -> Array:
    """Where each row of losses (C, G) is lowest, by a parabola through three points."""
    at = np.clip(losses.argmin(axis=1), 1, grid.size - 2)
    rows = np.arange(len(losses))
    left, mid, right = (losses[rows, at + shift] for shift in (-1, 0, 1))
    bend = left - 2 * mid + right
    shift = np.where(bend > 0, 0.5 * (left - right) / np.where(bend > 0, bend, 1.0), 0.0)
    return np.asarray(grid[at] + np.clip(shift, -1, 1) * (grid[1] - grid[0]))
