"""Tokens, or a size, at which each draw of a law reaches a loss, by halving: for any law."""

from collections.abc import Callable

import numpy as np

from isoflop._types import Array
from isoflop.planning.cheapest import LossOf

LARGEST_TOKENS, LARGEST_SIZE = 90.0, 60.0
"""ln D and ln N up to which a loss is looked for: 1e39 tokens, 1e26 parameters."""

_HALVINGS = 60


def tokens_for_loss(loss_of: LossOf, loss: Array, log_n: Array) -> Array:
    """ln D (B,) at which each draw has its `loss` (B,) at ln N (B,); inf where none does."""
    sizes = log_n[:, None]
    return _halved(lambda log_d: loss_of(sizes, log_d[:, None])[:, 0], loss, LARGEST_TOKENS)


def size_for_loss(loss_of: LossOf, loss: Array, log_d: Array) -> Array:
    """ln N (B,) at which each draw has its `loss` (B,) at ln D (B,); inf where none does."""
    tokens = log_d[:, None]
    return _halved(lambda log_n: loss_of(log_n[:, None], tokens)[:, 0], loss, LARGEST_SIZE)


def _halved(loss_at: Callable[[Array], Array], loss: Array, largest: float) -> Array:
    low, high = np.zeros(loss.shape), np.full(loss.shape, largest)
    reached = loss_at(high) < loss
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        enough = loss_at(middle) < loss
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(reached, (low + high) / 2, np.inf)
