"""`fit_lr_batch`: a sweep over learning rate and batch -> the best of both for any (N, D)."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from isoflop._errors import FitError, InputError
from isoflop._types import LEVEL, Array, Problem, Table
from isoflop.fitting.lr_score import SWEEP_COLUMNS, cell_excess
from isoflop.fitting.lr_surface import Surface, Sweep, fit_surface, resample
from isoflop.fitting.table import Runs, read_table
from isoflop.laws import Component, Estimate, product_power

WINDOWS = (0.0025, 0.005, 0.01, 0.02, 0.03, 0.05)
"""Windows of excess loss tried: narrow ones are noisy, in wide ones the bowl is lopsided."""

LEAST_CELLS = 4

SWEEP_TARGETS = ("lr", "batch_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class LrBatchFit:
    """Best learning rate and batch as power laws of size and tokens, with joint draws."""

    lr: Estimate
    batch_tokens: Estimate
    curvature: Array
    """H (2, 2): ln loss rises by z'Hz/2 at z = (ln lr/lr*, ln batch/batch*)."""
    window: float
    """Excess loss up to which runs were used, chosen by leaving sizes out."""
    left_out: float
    """Mean excess loss at the predictions for sizes left out [share of the loss]."""
    problems: tuple[Problem, ...]
    n_runs: int
    n_cells: int

    def near_optimal(self, excess: float = 1e-3) -> tuple[float, float]:
        """Factors by which lr, and batch, may be off alone for a loss higher by `excess`."""
        room = np.sqrt(2 * excess / np.diag(self.curvature))
        return float(np.exp(room[0])), float(np.exp(room[1]))


def fit_lr_batch(
    table: Table,
    *,
    target: str = "loss",
    level: float = LEVEL,
    n_draws: int = 500,
    seed: int = 0,
) -> LrBatchFit:
    """Fit `lr* = c N^a D^b` and `batch* = c N^a D^b` to a sweep, one bowl for all its cells.

    See `lr_surface` for the model. How far from the optimum runs may lie to count is chosen by
    predicting each size from the others, scored as in `score_lr_batch`. Intervals resample cells
    (all runs of one (N, D) together), widened for few cells.

    Args:
        table: columns `lr`, `batch_tokens`, `n_params`, `n_tokens` and the target, one row a run;
            the batch in tokens or in sequences, as predictions shall be.
        target: the loss to minimise.
        level: level of the intervals.
        n_draws: resamples.
        seed: the same seed gives the same numbers.

    Raises:
        FitError: a column is missing or wrong, fewer than 4 cells were swept, the learning rate
            or the batch hardly varies within cells, or the losses form no bowl.
    """
    _check_options(level, n_draws)
    runs = read_table(table, target, SWEEP_COLUMNS)
    names, ray = _inputs(runs)
    sweep, center = _read(runs, names)
    _check(sweep)
    scores = _window_scores(sweep)
    window = min(scores, key=lambda one: float(scores[one].mean()))
    surface, draws, dropped = _surfaces(sweep, scores, window, n_draws, seed)
    problems = (*ray, *_problems(sweep, names, dropped))
    made = [
        _estimate(runs, names, surface.optimum[i], draws[:, i], center, target=name, level=level)
        for i, name in enumerate(SWEEP_TARGETS)
    ]
    return LrBatchFit(
        lr=replace(made[0], problems=problems),
        batch_tokens=replace(made[1], problems=problems),
        curvature=surface.curvature,
        window=window,
        left_out=float(np.expm1(scores[window].mean())),
        problems=problems,
        n_runs=len(runs),
        n_cells=sweep.n_cells,
    )


def _check_options(level: float, n_draws: int) -> None:
    if not 0 < level < 1 or n_draws < 20:
        raise InputError(
            f"`0 < level < 1` and `n_draws >= 20` must hold, but got level={level}, "
            f"n_draws={n_draws}. Use e.g. 0.9 and 500."
        )


def _inputs(runs: Runs) -> tuple[tuple[str, ...], tuple[Problem, ...]]:
    """Inputs whose exponents the cells can tell, and the problem of those that they cannot."""
    logs = {name: np.log(runs.columns[name]) for name in ("n_params", "n_tokens")}
    names = tuple(name for name, column in logs.items() if np.ptp(column) > 0.05)
    if len(names) < 2:
        return names or ("n_tokens",), ()
    cloud = np.stack([column - column.mean() for column in logs.values()])
    if np.linalg.svd(cloud, compute_uv=False)[-1] / np.sqrt(len(runs)) > 0.05:
        return names, ()
    return ("n_tokens",), (
        Problem(
            code="one_ray",
            severity="warning",
            text="All cells lie on one line in (ln N, ln D): the optimum is told by tokens alone.",
            remedy="Sweep one size at several horizons, or use the answer along that line only.",
        ),
    )


def _read(runs: Runs, names: tuple[str, ...]) -> tuple[Sweep, Array]:
    """The sweep in centred logs, and the centres (2 + len(names),)."""
    logs = [np.log(runs.columns[name]) for name in (*SWEEP_TARGETS, *names)]
    center = np.array([column.mean() for column in logs])
    moved = [column - mean for column, mean in zip(logs, center, strict=True)]
    pairs = np.stack([runs.columns["n_params"], runs.columns["n_tokens"]], axis=1)
    cell = np.unique(pairs, axis=0, return_inverse=True)[1].ravel()
    size = np.unique(runs.columns["n_params"], return_inverse=True)[1]
    sweep = Sweep(
        point=np.stack(moved[:2], axis=1),
        at=np.stack([np.ones(len(runs)), *moved[2:]], axis=1),
        log_loss=np.log(runs.loss),
        cell=cell,
        # With fewer than three sizes, whole sizes cannot be left out: single cells are.
        group=size if size.max() >= 2 else cell,
    )
    return sweep, center


def _check(sweep: Sweep) -> None:
    if sweep.n_cells < LEAST_CELLS:
        raise FitError(
            f"`(N, D) cells >= {LEAST_CELLS}` must hold, but the table has {sweep.n_cells}. "
            f"Sweep more sizes or horizons, or read the best run off directly."
        )
    for i, name in enumerate(SWEEP_TARGETS):
        counts = [np.unique(sweep.point[sweep.cell == k, i]).size for k in range(sweep.n_cells)]
        if np.median(counts) < 3:
            raise FitError(
                f"Most cells must have 3 values of {name!r}, but the median has "
                f"{int(np.median(counts))}. Sweep it, within each cell, on both sides of the best."
            )


def _window_scores(sweep: Sweep) -> dict[float, Array]:
    """Excess [ln loss] of every cell, its group predicted from the others, by window.

    Raises:
        FitError: the losses form no bowl at any window.
    """
    scores = {}
    for window in WINDOWS:
        left_out = _left_out(sweep, window)
        if left_out is not None and fit_surface(sweep, window) is not None:
            scores[window] = left_out
    if not scores:
        raise FitError(
            "The losses must form a bowl over (ln lr, ln batch), but they have no minimum at any "
            "window. Sweep both sides of the best learning rate and batch in every cell."
        )
    return scores


def _left_out(sweep: Sweep, window: float) -> Array | None:
    found: list[float] = []
    for one in np.unique(sweep.group):
        mine = sweep.group == one
        surface = fit_surface(sweep.where(~mine), window)
        if surface is None:
            return None
        held = sweep.where(mine)
        first = np.unique(held.cell, return_index=True)[1]
        chosen = held.at[first] @ surface.optimum.T
        found.extend(cell_excess(held.point, held.log_loss, held.cell, chosen)[0])
    return np.array(found)


def _surfaces(
    sweep: Sweep, scores: dict[float, Array], window: float, n_draws: int, seed: int
) -> tuple[Surface, Array, float]:
    """The surface of the chosen window, draws (B, 2, Q), and the share of draws without a bowl.

    Windows that predict the sizes left out as well as the chosen one, within a standard error of
    the difference over cells, share the draws: the choice of window is part of the uncertainty.
    """
    alive = []
    for other, score in scores.items():
        worse = score - scores[window]
        if worse.mean() <= worse.std(ddof=1) / np.sqrt(worse.size) + 1e-12:
            alive.append(other)
    rng = np.random.default_rng([seed, 2])
    parts = [fit_surface(sweep, one) for one in alive]
    share = -(-n_draws // len(alive))
    drawn = [_draws(part, sweep, share, rng) for part in parts if part is not None]
    chosen = parts[alive.index(window)]
    assert chosen is not None, "only windows that fit are scored"
    draws = np.concatenate([draws for draws, _ in drawn])
    return chosen, draws, float(np.mean([dropped for _, dropped in drawn]))


def _draws(
    surface: Surface, sweep: Sweep, n_draws: int, rng: np.random.Generator
) -> tuple[Array, float]:
    """Optima (B, 2, Q) of resampled cells, and the share of resamples that were no bowl."""
    cells = np.flatnonzero(np.bincount(sweep.cell[surface.keep], minlength=sweep.n_cells))
    counts = np.zeros((n_draws, sweep.n_cells))
    counts[:, cells] = rng.multinomial(cells.size, np.full(cells.size, 1 / cells.size), n_draws)
    optima, bowl = resample(surface, counts)
    # Few cells: a resample repeats some and misses others, and what is left varies too little.
    freedom = max(cells.size - surface.optimum.shape[1], 1)
    wider = np.sqrt(cells.size / freedom)
    return surface.optimum + wider * (optima[bowl] - surface.optimum), float(1 - bowl.mean())


def _estimate(
    runs: Runs,
    names: tuple[str, ...],
    optimum: Array,
    draws: Array,
    center: Array,
    *,
    target: str,
    level: float,
) -> Estimate:
    """The optimum's power law in the table's units: c = exp(mean ln + z0 - sum_i a_i center_i)."""
    which = SWEEP_TARGETS.index(target)
    law = product_power(names, target)

    def to_theta(z: Array) -> Array:
        log_c = center[which] + z[..., 0] - z[..., 1:] @ center[2:]
        return np.concatenate([np.exp(log_c)[..., None], z[..., 1:]], axis=-1)

    columns = {name: runs.columns[name] for name in names}
    ranges: dict[str, Any] = {n: (float(c.min()), float(c.max())) for n, c in columns.items()}
    return Estimate(
        components=(Component(law=law, theta=to_theta(optimum), draws=to_theta(draws)),),
        source=f"isoflop fit of a sweep of {len(runs)} runs",
        ranges=ranges,
        target=target,
        level=level,
    )


def _problems(sweep: Sweep, names: tuple[str, ...], dropped: float) -> tuple[Problem, ...]:
    found = []
    edges = sum(_at_edge(sweep, k) for k in range(sweep.n_cells))
    if edges:
        found.append(
            Problem(
                code="edge_minimum",
                severity="warning" if 3 * edges > sweep.n_cells else "note",
                text=f"{edges} of {sweep.n_cells} cells have their lowest loss at the edge of the "
                f"sweep.",
                remedy="Widen their sweep beyond that edge.",
            )
        )
    if sweep.n_cells < 3 * (len(names) + 1):
        found.append(
            Problem(
                code="few_runs",
                severity="warning",
                text=f"{sweep.n_cells} cells for {len(names) + 1} parameters of each power law.",
                remedy="Sweep more sizes and horizons; intervals of so few are rough.",
            )
        )
    if dropped > 0.05:
        found.append(
            Problem(
                code="no_minimum",
                severity="warning",
                text=f"{100 * dropped:.0f} % of the resamples have no minimum.",
                remedy="Sweep more cells on both sides of the best.",
            )
        )
    return tuple(found)


def _at_edge(sweep: Sweep, k: int) -> bool:
    own = sweep.cell == k
    points = sweep.point[own]
    best = points[np.argmin(sweep.log_loss[own])]
    return bool(((best <= points.min(axis=0)) | (best >= points.max(axis=0))).any())
