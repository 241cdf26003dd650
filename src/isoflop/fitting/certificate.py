"""`Certificate`: what shows that the optimiser found the minimum, and which others there are."""

from dataclasses import dataclass

import numpy as np

from isoflop._types import Array

SAME = 1e-4
"""End points whose log predictions differ by less at every row are one minimum: on a ridge the
parameters differ, but nothing that the data can see."""

STATIONARY = 1e-3
"""Relative gradient below which a start has ended in a minimum and not on its way."""

LISTED = 8
"""Basins that a certificate lists, the deepest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Basin:
    """One local minimum that starts ended in."""

    objective: float
    excess: float
    """By how much its objective lies above the lowest, relative to that."""
    share: float
    """Share of all starts that ended in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What shows that the optimiser found the minimum, and how well the data pin it down."""

    objective: float
    gradient_norm: float
    """Largest |d objective / d log parameter| at the end, relative to the objective."""
    starts: int
    share_reached: float
    """Share of starts that ended within 0.1 % of the best objective."""
    at_bound: tuple[str, ...]
    condition_number: float
    """Of the column-scaled Jacobian: above 1e3 the parameters cannot be told apart."""
    iterations: int
    converged: bool
    n_basins: int = 1
    """Distinct minima that starts ended in."""
    basins: tuple[Basin, ...] = ()
    """The deepest of them by their objective in the first round, to which all starts went (least
    squares where the objective is robust; later rounds go on from the best)."""


def find_basins(objective: Array, gradient: Array, prediction: Array) -> tuple[Basin, ...]:
    """The distinct minima among end points: objectives (S,), gradients (S,), log values (S, R).

    The lowest end point always counts; others where they are stationary.
    """
    order = np.argsort(objective, kind="stable")
    order = order[np.isfinite(objective[order])]
    ended = gradient[order] <= STATIONARY
    found: list[int] = []
    count: list[int] = []
    while order.size:
        near = np.abs(prediction[order] - prediction[order[0]]).max(axis=-1) < SAME
        if ended[0] or not found:
            found.append(int(order[0]))
            count.append(int(near.sum()))
        near[0] = True
        order, ended = order[~near], ended[~near]
    if not found:
        return ()
    lowest = float(objective[found[0]])
    return tuple(
        Basin(
            objective=float(objective[i]),
            excess=float(objective[i] - lowest) / max(lowest, 1e-300),
            share=number / objective.size,
        )
        for i, number in zip(found, count, strict=True)
    )
