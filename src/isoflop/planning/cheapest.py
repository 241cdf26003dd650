"""A search in ln N for every draw at once: grids that close in on the cheapest size."""

from collections.abc import Callable

import numpy as np

from isoflop._types import Array
from isoflop.laws import Component, Estimate
from isoflop.planning.frontier import share_out

SAMPLES = 1000
POINTS = 41
ZOOMS, ZOOMS_OF_DRAWS = 9, 4
"""Times that the grid of sizes closes in on the cheapest."""
ROUNDING = 1e-6
LossOf = Callable[[Array, Array], Array]
"""Loss (B, G) at ln N and ln D (B, G)."""


def cheapest(
    cost: Callable[[Array], Array],
    low: Array,
    high: Array,
    *,
    knots: Array | None = None,
) -> Array:
    """ln N (B,) of least cost between `low` and `high`: a width w ends as w (2/40)^`zooms_of`.

    Args:
        cost: of ln N (B, G); inf where a size will not do.
        low: (B,).
        high: (B,).
        knots: (K,) sizes of a first grid, where the cost has kinks.
    """
    for zoom in range(zooms_of(len(low))):
        grid = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, POINTS)
        if zoom == 0 and knots is not None:
            grid = np.sort(np.concatenate([grid, _clipped(knots, low, high)], axis=1), axis=1)
        best = np.argmin(cost(grid), axis=1)
        rows = np.arange(len(grid))
        low = grid[rows, np.maximum(best - 1, 0)]
        high = grid[rows, np.minimum(best + 1, grid.shape[1] - 1)]
    return (low + high) / 2


def _clipped(knots: Array, low: Array, high: Array) -> Array:
    return np.clip(knots, low[:, None], high[:, None])


def zooms_of(count: int) -> int:
    """Zooms for this many draws: to 1e-4 of ln N, and to rounding for the plan itself."""
    return ZOOMS if count == 1 else ZOOMS_OF_DRAWS


def settled(draws: Array, value: float) -> Array:
    """Draws of a law without draws are the plan itself, not its rounding errors."""
    return np.where(np.abs(draws - value) < ROUNDING, value, draws)


def drawn(estimate: Estimate) -> list[tuple[Component, Array]]:
    """Each law with its share of SAMPLES draws (B, P)."""
    found = []
    counts = share_out(SAMPLES, [c.weight for c in estimate.components])
    for component, count in zip(estimate.components, counts, strict=True):
        have = component.draws
        if count > 0:
            found.append((component, have[np.arange(count) * len(have) // count]))
    return found
