"""The cheapest run for a loss and the best for a budget, within caps, for every draw at once.

What to use when: `for_loss` where a loss must be reached, `for_budget` where FLOPs are given. Both
add to training what a model of each size costs to serve (`NO_SERVING`: nothing).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from isoflop._types import Array
from isoflop.accounting import FLOPS_PER_PARAM_TOKEN
from isoflop.laws import Component, additive_form
from isoflop.planning.caps import Caps
from isoflop.planning.cheapest import LossOf, cheapest

REACH = 15.0
"""Sizes are searched from e^-15 of the compute-optimal one upwards."""

HALVINGS, HALVINGS_OF_DRAWS = 52, 26
"""ln D is known to rounding for the plan itself, and to 90 / 2^26 = 1e-6 for draws."""
LARGEST_TOKENS = 90.0
"""ln D up to which a loss is looked for: 1e39 tokens."""

LARGEST_SIZE = 60.0
"""ln N up to which sizes are looked at where nothing tells how large: 1e26 parameters."""

LOG_K = float(np.log(FLOPS_PER_PARAM_TOKEN))

TokensFor = Callable[[Array], Array]
"""ln D (B, G) that reach a loss at ln N (B, G); inf where none do."""

LogCost = Callable[[Array], Array]
"""ln of the training FLOPs (B, G) that serving costs at ln N (B, G); inf where it cannot be."""


def no_serving(log_n: Array) -> Array:
    """Nothing is served: ln 0."""
    return np.full(log_n.shape, -np.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Where sizes are looked for: ln N between `low` and `high` (B,)."""

    low: Array
    high: Array
    knots: Array | None = None
    """ln N (K,) at which the cost of serving has kinks."""

    def up_to(self, log_params: float | Array) -> "Search":
        """The same up to a cap, and below it where all of it lay above."""
        high = np.minimum(self.high, log_params)
        low = np.where(self.low < high, self.low, high - REACH)
        return Search(low=low, high=high, knots=self.knots)


def for_loss(
    tokens_for: TokensFor, serving: LogCost, caps: Caps, search: Search
) -> tuple[Array, Array]:
    """ln N and ln D (B,) of least training and serving at a loss; inf where no run reaches it."""
    search = search.up_to(caps.log_params)

    def training(log_n: Array) -> Array:
        log_d = tokens_for(log_n)
        return np.where(log_d <= caps.log_tokens, LOG_K + log_n + log_d, np.inf)

    def total(log_n: Array) -> Array:
        log_c = training(log_n)
        kept = np.where(log_c <= caps.log_flops, log_c, np.inf)
        return np.asarray(np.logaddexp(kept, serving(log_n)))

    if caps.log_flops < np.inf:
        # Sizes that keep it are a range about the one of least training, which a grid could step
        # over. Demand only shrinks that size, so it is the upper end, and keeps the cap if any.
        search = search.up_to(cheapest(training, search.low, search.high))
    log_n = cheapest(total, search.low, search.high, knots=search.knots)
    ends = log_n[:, None]
    reached = np.isfinite(total(ends)[:, 0])
    return log_n, np.where(reached, tokens_for(ends)[:, 0], np.inf)


def for_budget(
    loss_of: LossOf, total: Array, serving: LogCost, caps: Caps, search: Search
) -> tuple[Array, Array]:
    """ln N and ln D (B,) of least loss where training and serving cost at most `total` FLOPs.

    Tokens and training stop at their caps, whatever is left of the budget; ln D is inf where
    serving leaves nothing to train on.
    """
    log_total = np.log(total)[:, None]

    def log_tokens(log_n: Array) -> Array:
        """What serving leaves; -inf where it leaves nothing."""
        left = -np.expm1(np.minimum(serving(log_n) - log_total, 0.0))
        with np.errstate(divide="ignore"):
            log_c = np.minimum(np.log(left) + log_total, caps.log_flops)
        return np.asarray(np.minimum(log_c - LOG_K - log_n, caps.log_tokens))

    def loss(log_n: Array) -> Array:
        log_d = log_tokens(log_n)
        enough = log_d > 0  # less than one token is no training
        return np.where(enough, np.log(loss_of(log_n, np.where(enough, log_d, 0.0))), np.inf)

    search = search.up_to(caps.log_params)
    log_n = cheapest(loss, search.low, search.high, knots=search.knots)
    log_d = log_tokens(log_n[:, None])[:, 0]
    return log_n, np.where(log_d > 0, log_d, np.inf)


def halved(loss_of: LossOf, loss: Array, log_n: Array) -> Array:
    """By halving, for any law: ln D (B, G) at which the loss is reached; inf where it is not."""
    low, high = np.zeros(log_n.shape), np.full(log_n.shape, LARGEST_TOKENS)
    reached = loss_of(log_n, high) < loss
    for _ in range(HALVINGS if len(log_n) == 1 else HALVINGS_OF_DRAWS):
        middle = (low + high) / 2
        enough = loss_of(log_n, middle) < loss
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(reached, (low + high) / 2, np.inf)


def level_set(component: Component, draws: Array, log_n: Array, log_c: Array) -> TokensFor:
    """ln D of the loss that each draw has at its compute-optimal run: A/N^a + B/D^b is constant."""
    a, alpha, b, beta = (part[:, None] for part in additive_form(draws, component.law))
    log_d = np.where(np.isfinite(log_c), log_c, 0.0) - LOG_K - log_n
    sum_ = np.exp(a - alpha * log_n[:, None]) + np.exp(b - beta * log_d[:, None])

    def tokens(size: Array) -> Array:
        left = sum_ - np.exp(a - alpha * size)
        safe = np.where(left > 0, left, 1.0)
        return np.asarray(np.where(left > 0, (b - np.log(safe)) / beta, np.inf))

    return tokens
