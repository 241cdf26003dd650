"""The order of training sequences: a pure function of seed and sequence number.

Nothing is stored for a resume: sequence i is the same whoever asks, whenever.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from isoflop._errors import InputError
from isoflop.data import open_tokens
from isoflop.specs import DataSpec

_GOLDEN = (5**0.5 - 1) / 2


class Batches:
    """Batches of `context`-token windows, domains interleaved by weight.

    The domain of sequence i is where frac(offset + i·φ) falls among the cumulated weights (φ the
    golden ratio: the most even interleaving that needs no state); within a domain every window is
    visited once an epoch, in a permutation of its own.
    """

    def __init__(self, corpus: Path, data: DataSpec, *, context: int, seed: int) -> None:
        self.context = context
        self._seed = seed
        self._repeat = data.repeat
        self._names = [name for name, _ in data.weights]
        # A plain view: indexing a memmap itself costs microseconds a window.
        tokens = {name: np.asarray(open_tokens(corpus, "train", name)) for name in self._names}
        self.train_tokens = {name: len(ids) for name, ids in tokens.items()}
        """Training tokens of each domain in the corpus."""
        available = data.available(self.train_tokens)
        self._tokens = [ids[: available[name]] for name, ids in tokens.items()]
        self._offsets = np.arange(context + 1)
        self._edges = np.cumsum([share for _, share in data.weights])[:-1]
        self._offset = float(np.random.default_rng([seed, 0]).random())
        self._orders: dict[tuple[int, int], np.ndarray] = {}
        self._next = 0
        self._counts = np.zeros(len(self._names), dtype=np.int64)

    def at(self, start: int, size: int) -> tuple[Tensor, Tensor]:
        """Sequences start … start+size-1 as inputs and targets, int64 (size, context)."""
        if start < self._next:
            self._next, self._counts = 0, np.zeros_like(self._counts)
        if start > self._next:
            passed = self._domains(self._next, start)
            self._counts += np.bincount(passed, minlength=len(self._names))
        domains = self._domains(start, start + size)
        block = np.empty((size, self.context + 1), dtype=np.int64)
        for domain in np.unique(domains):
            rows = np.flatnonzero(domains == domain)
            first = int(self._counts[domain])
            starts = self._starts(int(domain), first, first + len(rows))
            block[rows] = self._tokens[domain][starts[:, None] + self._offsets]
            self._counts[domain] += len(rows)
        self._next = start + size
        tokens = torch.from_numpy(block)
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

    def _domains(self, start: int, stop: int) -> np.ndarray:
        place = np.mod(self._offset + np.arange(start, stop) * _GOLDEN, 1.0)
        domains: np.ndarray = np.searchsorted(self._edges, place, side="right")
        return domains

    def _starts(self, domain: int, first: int, stop: int) -> np.ndarray:
        """Where the windows `first` … `stop`-1 of a domain begin, epoch after epoch."""
        n_tokens = len(self._tokens[domain])
        n_windows = (n_tokens - 1) // self.context
        if n_windows == 0 or (stop > n_windows and not self._repeat):
            raise InputError(
                f"domain {self._names[domain]!r} has {n_tokens} training tokens and they are "
                "used up. Set data.repeat = true, add documents or train on fewer tokens."
            )
        parts = []
        while first < stop:
            epoch, place = divmod(first, n_windows)
            taken = min(stop - first, n_windows - place)
            parts.append(self._order(domain, epoch, n_windows)[place : place + taken])
            first += taken
        return np.concatenate(parts) * self.context

    def _order(self, domain: int, epoch: int, n_windows: int) -> np.ndarray:
        if (domain, epoch) not in self._orders:
            rng = np.random.default_rng([self._seed, 1, domain, epoch])
            self._orders = {k: v for k, v in self._orders.items() if k[0] != domain}
            self._orders[domain, epoch] = rng.permutation(n_windows)
        return self._orders[domain, epoch]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationSet:
    """Fixed held-out windows per domain: the same for every model of a corpus."""

    names: tuple[str, ...]
    windows: tuple[Tensor, ...]
    """Per domain (windows, context + 1), int64."""

    @staticmethod
    def open(corpus: Path, names: Sequence[str], *, context: int) -> "ValidationSet":
        """All whole windows of each domain's validation shard."""
        windows = []
        for name in names:
            tokens = np.asarray(open_tokens(corpus, "val", name)).astype(np.int64)
            n = (len(tokens) - 1) // context
            if n < 1:
                raise InputError(
                    f"domain {name!r}: {len(tokens)} validation tokens are fewer than one context "
                    f"of {context}. Raise data.validation_tokens or shorten model.context."
                )
            starts = np.arange(n)[:, None] * context + np.arange(context + 1)
            windows.append(torch.from_numpy(tokens[starts]))
        return ValidationSet(names=tuple(names), windows=tuple(windows))
