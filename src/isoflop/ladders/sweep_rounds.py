"""Further rounds of the sweeps: where the best of a corner lies at an edge, they go on from there.

A cell is one (N, D). Its best run is interior where a worse one, or one that diverged, lies on
either side in the learning rate at that batch, and in the batch. A batch that cannot be made
smaller or larger (`reachable_batches`) is a wall and no edge: no rung can take one beyond it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from isoflop.ladders.rates import Rate, TunedLaw
from isoflop.ladders.sweeps import SIDE_RATES, rate_at
from isoflop.specs import TuneSection

SweepRound = Mapping[int, Sequence[Rate]]
"""Rates that a round adds, by the N of their corner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What was swept at one (N, D)."""

    n_params: int
    n_tokens: int
    center: Rate
    """Middle of the first round."""
    batches: tuple[int, ...]
    """Batches that a round may take, ascending."""
    losses: Mapping[Rate, float]
    """Final loss by rate; infinite where the run diverged."""

    def best(self, tune: TuneSection) -> Rate | None:
        """The rate of the lowest loss, at train.batch_tokens where the batch is not tuned."""
        own = self.center.batch_tokens
        seen = {
            rate: loss
            for rate, loss in self.losses.items()
            if np.isfinite(loss) and (tune.batch or rate.batch_tokens == own)
        }
        return min(seen, key=lambda rate: (seen[rate], rate)) if seen else None

    def place(self, rate: Rate, tune: TuneSection) -> int:
        """Steps of a rate above the middle of its batch."""
        middle = rate_at(self.center, tune.lr_step, rate.batch_tokens, 0).lr
        return round(float(np.log(rate.lr / middle) / np.log(tune.lr_step)))


class Edge(NamedTuple):
    """A side on which a cell's best run has no neighbour."""

    cell: Cell
    side: str
    """`lowest` or `highest learning rate`, `smallest` or `largest batch`, or `diverged`."""
    at: Rate

    def __str__(self) -> str:
        where = f"N = {self.cell.n_params:,}, D = {self.cell.n_tokens:,}"
        if self.side == "diverged":
            return f"{where}: every run diverged, down to lr = {self.at.lr:.3g}"
        value = self.at.batch_tokens if "batch" in self.side else f"{self.at.lr:.3g}"
        return f"{where}: at the {self.side} ({value})"


def open_edges(
    tune: TuneSection, cells: Sequence[Cell], law: TunedLaw | None = None
) -> tuple[Edge, ...]:
    """Where the best runs of the cells have no neighbour.

    With the law of a bowl that was found, only where its bottom is not inside what was swept
    either: a flat bowl's lowest run may lie at the edge by luck.
    """
    found = [edge for cell in cells for edge in _edges(tune, cell)]
    return tuple(edge for edge in found if law is None or not _inside(law, edge))


def next_round(
    tune: TuneSection, cells: Sequence[Cell], edges: Sequence[Edge]
) -> dict[int, tuple[Rate, ...]]:
    """What the next round adds, by N; nothing where every rate of it has been trained.

    The cross of the first round, its middle one step beyond every edge of a cell's best run. Where
    no cell has an edge and yet there is no bowl, `n_lr` rates at the best batch and both beside it.
    """
    moved: dict[int, list[Edge]] = {}
    for edge in edges:
        moved.setdefault(id(edge.cell), []).append(edge)
    added: dict[int, dict[Rate, None]] = {}
    for cell in sorted(cells, key=lambda cell: (cell.n_params, cell.n_tokens)):
        own = moved.get(id(cell), [])
        if not own and edges:
            continue
        new = added.setdefault(cell.n_params, {})
        new |= dict.fromkeys(_cross(tune, cell, own, full=not edges))
    known: dict[int, set[Rate]] = {}
    for cell in cells:
        known.setdefault(cell.n_params, set()).update(cell.losses)
    fresh = {n: tuple(r for r in rates if r not in known[n]) for n, rates in added.items()}
    return {n: rates for n, rates in fresh.items() if rates}


def _edges(tune: TuneSection, cell: Cell) -> list[Edge]:
    best = cell.best(tune)
    if best is None:
        row = [rate for rate in cell.losses if rate.batch_tokens == cell.center.batch_tokens]
        return [Edge(cell, "diverged", min(row))]
    found = []
    rates = [rate.lr for rate in cell.losses if rate.batch_tokens == best.batch_tokens]
    batches = [rate.batch_tokens for rate in cell.losses]
    found += _ends(cell, best, best.lr, rates, ("lowest learning rate", "highest learning rate"))
    if tune.batch:
        own = best.batch_tokens
        if own not in (cell.batches[0], cell.batches[-1]):
            found += _ends(cell, best, own, batches, ("smallest batch", "largest batch"))
    return found


def _ends(
    cell: Cell, best: Rate, value: float, values: Sequence[float], sides: tuple[str, str]
) -> list[Edge]:
    pairs: tuple[tuple[str, Callable[[Sequence[float]], float]], ...] = (
        (sides[0], min),
        (sides[1], max),
    )
    return [Edge(cell, side, best) for side, end in pairs if value == end(values)]


def _inside(law: TunedLaw, edge: Edge) -> bool:
    """Whether the bottom of the bowl lies on the swept side of an edge."""
    if edge.side == "diverged":
        return False
    n, d, at = edge.cell.n_params, edge.cell.n_tokens, edge.at
    if "batch" in edge.side:
        log_batch = law.best(n, d)[1] - float(np.log(at.batch_tokens))
        return log_batch > 0 if edge.side == "smallest batch" else log_batch < 0
    log_lr = float(np.log(law.lr_given(n, d, at.batch_tokens) / at.lr))
    return log_lr > 0 if edge.side == "lowest learning rate" else log_lr < 0


def _cross(tune: TuneSection, cell: Cell, edges: Sequence[Edge], *, full: bool) -> list[Rate]:
    sides = {edge.side for edge in edges}
    best = cell.best(tune) or min(edge.at for edge in edges)
    place = cell.place(best, tune) + ("highest learning rate" in sides)
    place -= "lowest learning rate" in sides or "diverged" in sides
    row = cell.batches.index(best.batch_tokens)
    row += ("largest batch" in sides) - ("smallest batch" in sides)
    # Three rows: the bowl needs both directions wherever it is looked for.
    order = sorted(range(len(cell.batches)), key=lambda i: (abs(i - row), -i))
    rates = []
    for i in order[:3]:
        half = (tune.n_lr if full or i == row else SIDE_RATES) // 2
        batch = cell.batches[i]
        places = range(place - half, place + half + 1)
        rates += [rate_at(cell.center, tune.lr_step, batch, k) for k in places]
    return rates
