"""Which decoders of a family a planned size becomes: those that divide well, the nearest first."""

from collections.abc import Callable, Iterator
from math import inf, log

import numpy as np

from isoflop.accounting import Architecture, ShapeRule, size_under

CLOSE = 1.25
"""Factor around the planned size within which a shape is looked for first."""
EXACT = 1.05
"""Factor around a size that leaves no room: a round shape so near is worth more than the digits."""
SAME = 0.02
"""Relative difference of two sizes that no loss tells apart: the usual aspect decides there."""
SMALLER = 4
"""Smaller shapes that are offered after the first."""


def shapes(
    rule: ShapeRule,
    n_params: float,
    near: tuple[float, float],
    convention: str,
    *,
    most: float = inf,
    allowed: Callable[[Architecture], bool] = lambda shape: True,
) -> Iterator[Architecture]:
    """The shape to take, then smaller ones that the plan can bear, largest first.

    Width, heads and layers that divide by 128, 8 and 4 (tiles, a node, stages) come before a
    size that is nearer; sizes within 2 % are the same, and the rule's aspect decides.

    Args:
        rule: the family.
        n_params: planned size.
        near: smallest and largest size that the plan can bear.
        convention: what N counts.
        most: a limit on N, which no shape exceeds where the family has smaller ones.
        allowed: whether a shape will do otherwise, such as for its latency.

    Raises:
        InputError: no decoder of the family is within a factor two of `n_params`.
    """

    def rank(shape: Architecture) -> tuple[int, int, float]:
        apart = abs(log(size_under(shape, convention) / n_params))
        aspect = abs(log(shape.width / shape.n_layers / rule.aspect))
        return left_over(shape), int(apart / SAME), aspect

    ranked = sorted(_candidates(rule, n_params, near, convention, most), key=rank)
    first = next(filter(allowed, ranked), ranked[0])
    yield first
    below = (1 - SAME) * size_under(first, convention)
    smaller = rule.between(near[0], below, convention) if near[0] <= below else ()
    least = min(map(left_over, smaller), default=0)
    even = [shape for shape in smaller if left_over(shape) == least]
    tried = np.linspace(len(even) - 1, 0, min(SMALLER, len(even))).round().astype(int)
    yield from (even[at] for at in tried)


def left_over(shape: Architecture) -> int:
    """How many of width, heads and layers do not divide by 128, 8 and 4."""
    parts = ((shape.width, 128), (shape.n_heads, 8), (shape.n_layers, 4))
    return sum(whole % part > 0 for whole, part in parts)


def _candidates(
    rule: ShapeRule, n_params: float, near: tuple[float, float], convention: str, most: float
) -> tuple[Architecture, ...]:
    """Shapes within `near`, the close ones if there are; else those of the size itself."""
    for low, high in (
        (max(near[0], n_params / CLOSE), min(near[1], n_params * CLOSE)),
        near,
        (n_params / EXACT, n_params * EXACT),
    ):
        found = rule.between(low, min(high, most), convention) if low <= min(high, most) else ()
        if found:
            return found
    nearest = rule.nearest(n_params, convention)
    if size_under(nearest, convention) > most:
        return rule.between(most / 2, most, convention)[-1:] or (nearest,)
    return (nearest,)
