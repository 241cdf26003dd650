"""`SearchedFrontier`: the compute-optimal line of a law without a closed form, by root finding."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from isoflop._types import Array
from isoflop.accounting import FLOPS_PER_PARAM_TOKEN
from isoflop.laws import Law, best_log_size, find_root

_LOG_K = float(np.log(FLOPS_PER_PARAM_TOKEN))

REACH = 30.0
"""Compute is searched e^30 = 1e13 times below and above the largest run; a law of one's own says
nothing sensible beyond, and overflows soon after."""

FOUND = 1e-11
"""Relative width of ln C at which a draw's compute is found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchedFrontier:
    """The frontier of each draw of one law: `theta` (B, P), around `anchor` = ln C of the runs."""

    law: Law
    theta: Array
    anchor: float

    def __len__(self) -> int:
        return len(self.theta)

    @property
    def floor(self) -> Array:
        """The lowest loss (B,) that any compute within reach gets to."""
        return self.loss(np.full(len(self), self.anchor + REACH))

    def log_params(self, log_flops: Array) -> Array:
        """log N* at log C (B,); inf where the compute is."""
        reached = np.isfinite(log_flops)
        asked = np.where(reached, log_flops, self.anchor) - _LOG_K
        found = best_log_size(self.law, self.theta, np.broadcast_to(asked, (len(self),))[:, None])
        return np.where(reached, found[:, 0], np.inf)

    def log_flops_of_params(self, log_params: float) -> Array:
        """log C at which N parameters are compute-optimal."""
        return self._root(lambda log_c: self.log_params(log_c) - log_params)

    def log_flops_of_tokens(self, log_tokens: float) -> Array:
        """log C at which D tokens are compute-optimal."""
        return self._root(lambda log_c: log_c - _LOG_K - self.log_params(log_c) - log_tokens)

    def log_flops_of_loss(self, loss: Array) -> Array:
        """log C at which the frontier reaches the loss; inf where none within reach does."""
        found = self._root(lambda log_c: np.log(loss) - np.log(self.loss(log_c)))
        return np.where(loss > self.floor, found, np.inf)

    def loss(self, log_flops: Array) -> Array:
        """The loss at log C (B,)."""
        log_n = self.log_params(log_flops)
        inputs = {"n_params": np.exp(log_n), "n_tokens": np.exp(log_flops - _LOG_K - log_n)}
        columns = {name: column[:, None] for name, column in inputs.items()}
        return np.asarray(self.law.predict(self.theta, columns))[:, 0]

    def _root(self, function: Callable[[Array], Array]) -> Array:
        ends = np.full(len(self), self.anchor)
        return find_root(function, ends - REACH, ends + REACH, tolerance=FOUND)
