"""The loss surface of a sweep over learning rate and batch, for all (N, D) cells at once.

    ln L = height_cell + 1/2 (z - z*)' H (z - z*),   z = (ln lr, ln batch),
    z* linear in (1, ln N, ln D),

which multiplies out to a linear model in (z z', z, z ln N, z ln D) and one height a cell: no
starts, no local minima, and cells whose sweep misses the optimum still inform its slope. Only
runs whose predicted excess is below a window take part: far out the surface is no parabola.
"""

from dataclasses import dataclass

import numpy as np

from isoflop._types import Array

ROUNDS = 3
"""How often the window is redrawn around the surface fitted before."""

REWEIGHTS = 20
"""Rounds of Huber's reweighting within one window."""

HUBER = 1.345


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A sweep: `point` (R, 2) = ln lr and ln batch, `at` (R, Q) = ones and the logs of the inputs.

    Logs are centred. `cell` (R,) numbers the (N, D) pairs, `group` (R,) the sizes.
    """

    point: Array
    at: Array
    log_loss: Array
    cell: np.ndarray
    group: np.ndarray

    @property
    def n_cells(self) -> int:
        """How many (N, D) pairs were swept."""
        return int(self.cell.max()) + 1

    def where(self, keep: np.ndarray) -> "Sweep":
        """The runs for which the mask is true, cells numbered anew."""
        return Sweep(
            point=self.point[keep],
            at=self.at[keep],
            log_loss=self.log_loss[keep],
            cell=np.unique(self.cell[keep], return_inverse=True)[1],
            group=self.group[keep],
        )

    def excess(self) -> Array:
        """ln loss above the lowest of the same cell (R,)."""
        lowest = np.full(self.n_cells, np.inf)
        np.minimum.at(lowest, self.cell, self.log_loss)
        return np.asarray(self.log_loss - lowest[self.cell])


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """A fitted surface: `optimum` (2, Q) maps `at` to z*, `curvature` H (2, 2), the rows used."""

    optimum: Array
    curvature: Array
    keep: np.ndarray
    gram: Array
    """Weighted normal matrices (K, P, P) of the cells, and moments (K, P): what resamples add."""
    moment: Array
    scale: float
    """Robust sd of ln loss around the surface."""

    def excess(self, point: Array, at: Array) -> Array:
        """Predicted ln loss above the optimum (R,)."""
        off = point - at @ self.optimum.T
        return np.asarray(0.5 * ((off @ self.curvature) * off).sum(axis=1))


def fit_surface(sweep: Sweep, window: float) -> Surface | None:
    """The surface of the runs within `window` [ln loss] of the optimum; None where it is no bowl.

    The first window is drawn around each cell's best run, later ones around the fitted surface:
    runs are then not picked for their luck.
    """
    keep = sweep.excess() < window
    surface = None
    for _ in range(ROUNDS):
        surface = _fit_kept(sweep, keep)
        if surface is None:
            return None
        keep = surface.excess(sweep.point, sweep.at) < window
    return surface


def resample(surface: Surface, counts: Array) -> tuple[Array, np.ndarray]:
    """Optima (B, 2, Q) and which are bowls, each cell counted as often as `counts` (B, K) says.

    Heights of cells are taken out beforehand, so a cell counted twice keeps one height.
    """
    gram = np.einsum("bk,kij->bij", counts, surface.gram)
    moment = np.einsum("bk,ki->bi", counts, surface.moment)
    # A resample may miss the cells that fix an exponent: tiny ridge, then judged by its bowl.
    size = np.einsum("bii->bi", gram)
    root = np.sqrt(np.maximum(size, 1e-300))
    scaled = gram / (root[:, :, None] * root[:, None, :])
    scaled += 1e-9 * np.eye(scaled.shape[-1])
    values = np.linalg.solve(scaled, (moment / root)[..., None])[..., 0] / root
    return _optima(values, surface.optimum.shape[1])


def _fit_kept(sweep: Sweep, keep: np.ndarray) -> Surface | None:
    design = _design(sweep)
    # A cell with two runs or fewer in the window says nothing beyond its height.
    many = np.bincount(sweep.cell[keep], minlength=sweep.n_cells) >= 3
    keep = keep & many[sweep.cell]
    rows, cell, goal = design[keep], sweep.cell[keep], sweep.log_loss[keep]
    freedom = len(goal) - rows.shape[1] - int(many.sum())
    if freedom < 1:
        return None
    weight = np.ones(len(goal))
    scale = 0.0
    for _ in range(REWEIGHTS):
        inner = _centred(rows, cell, weight)
        outer = _centred(goal[:, None], cell, weight)[:, 0]
        root = np.sqrt(weight)
        values = np.asarray(
            np.linalg.lstsq(inner * root[:, None], outer * root, rcond=None)[0], dtype=np.float64
        )
        residual = outer - inner @ values
        scale = 1.4826 * float(np.median(np.abs(residual))) * np.sqrt(len(goal) / freedom)
        new = np.minimum(1.0, HUBER * scale / np.maximum(np.abs(residual), 1e-15))
        if np.abs(new - weight).max() < 1e-6:
            break
        weight = new
    optimum, bowl = _optima(values[None], sweep.at.shape[1])
    if not bowl[0]:
        return None
    one_hot = (cell[:, None] == np.arange(sweep.n_cells)).astype(np.float64)
    weighted = inner * weight[:, None]
    return Surface(
        optimum=optimum[0],
        curvature=_curvature(values[None])[0],
        keep=keep,
        gram=np.einsum("rk,ri,rj->kij", one_hot, weighted, inner, optimize=True),
        moment=np.einsum("rk,ri,r->ki", one_hot, weighted, outer, optimize=True),
        scale=float(scale),
    )


def _design(sweep: Sweep) -> Array:
    """Columns x^2/2, x y, y^2/2, then x and y times each of `at`, (R, 3 + 2 Q)."""
    x, y = sweep.point[:, 0], sweep.point[:, 1]
    squares = np.stack([x * x / 2, x * y, y * y / 2], axis=1)
    return np.concatenate([squares, x[:, None] * sweep.at, y[:, None] * sweep.at], axis=1)


def _centred(values: Array, cell: np.ndarray, weight: Array) -> Array:
    """Values (R, P) less the weighted mean of their cell: every cell has its own height."""
    total = np.maximum(np.bincount(cell, weight), 1e-300)
    means = [np.bincount(cell, weight * column) / total for column in values.T]
    return np.asarray(values - np.stack(means, axis=1)[cell])


def _curvature(values: Array) -> Array:
    """H (B, 2, 2) from coefficients (B, P)."""
    return np.asarray(values[:, [0, 1, 1, 2]].reshape(-1, 2, 2))


def _optima(values: Array, count: int) -> tuple[Array, np.ndarray]:
    """Optima (B, 2, Q) of coefficients (B, P) and whether each surface is a bowl (B,)."""
    curvature = _curvature(values)
    slopes = values[:, 3:].reshape(-1, 2, count)
    bowl = (curvature[:, 0, 0] > 0) & (np.linalg.det(curvature) > 0)
    safe = np.where(bowl[:, None, None], curvature, np.eye(2))
    return np.asarray(-np.linalg.solve(safe, slopes), dtype=np.float64), bowl
