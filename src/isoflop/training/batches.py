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
        self._tokens = [open_tokens(corpus, "train", name) for name in self._names]
        self._edges = np.cumsum([share for _, share in data.weights])[:-1]
        self._offset = float(np.random.default_rng([seed, 0]).random())
        self._orders: dict[tuple[int, int], np.ndarray] = {}
        self._next = 0
        self._counts = np.zeros(len(self._names), dtype=np.int64)

    def at(self, start: int, size: int) -> tuple[Tensor, Tensor]:
        """Sequences start … start+size-1 as inputs and targets, int64 (size, context)."""
        if start != self._next:
            self._counts = np.bincount(self._domains(0, start), minlength=len(self._names))
            self._next = start
        windows = []
        for domain in self._domains(start, start + size):
            windows.append(self._window(int(domain), int(self._counts[domain])))
            self._counts[domain] += 1
        self._next += size
        block = torch.from_numpy(np.stack(windows).astype(np.int64))
        return block[:, :-1].contiguous(), block[:, 1:].contiguous()

    def _domains(self, start: int, stop: int) -> np.ndarray:
        place = np.mod(self._offset + np.arange(start, stop) * _GOLDEN, 1.0)
        domains: np.ndarray = np.searchsorted(self._edges, place, side="right")
        return domains

    def _window(self, domain: int, index: int) -> np.ndarray:
        tokens = self._tokens[domain]
        n_windows = (len(tokens) - 1) // self.context
        epoch, place = divmod(index, max(n_windows, 1))
        if n_windows == 0 or (epoch > 0 and not self._repeat):
            raise InputError(
                f"domain {self._names[domain]!r} has {len(tokens)} training tokens and they are "
                "used up. Set data.repeat = true, add documents or train on fewer tokens."
            )
        if (domain, epoch) not in self._orders:
            rng = np.random.default_rng([self._seed, 1, domain, epoch])
            self._orders = {k: v for k, v in self._orders.items() if k[0] != domain}
            self._orders[domain, epoch] = rng.permutation(n_windows)
        first = int(self._orders[domain, epoch][place]) * self.context
        return np.asarray(tokens[first : first + self.context + 1])


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
