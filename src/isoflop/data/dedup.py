"""Exact and near duplicates: MinHash proposes, exact Jaccard decides, a kept document justifies."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isoflop.data.canonical import Verifier, band_groups, choose_kept
from isoflop.data.engine import SHINGLE_WORDS, Engine, band_keys
from isoflop.data.shingles import ShingleSets, shingle_sets
from isoflop.data.words import count_words, normalise
from isoflop.specs.arm import Duplicates as Which

_BATCH_CHARACTERS = 16_000_000
"""Normalised text at once: what the engine needs beside the text is a few times this."""
_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """What became of each of n documents."""

    exact: tuple[int, ...]
    """Removed: the same text as an earlier document."""
    near: tuple[tuple[int, int], ...]
    """(removed, kept) pairs whose Jaccard similarity was verified."""
    component: NDArray[np.int64]
    """(n,) cluster of each document: connected through duplicates, removed ones included."""
    spared: tuple[int, ...] = ()
    """Duplicates of another document that stay all the same."""

    def removing(self, which: Which) -> "Duplicates":
        """The same clusters, where only `exact` duplicates go, or none: `keep`."""
        exact = () if which == "keep" else self.exact
        near = self.near if which == "near" else ()
        gone = {*exact, *(removed for removed, _ in near)}
        all_of_them = {*self.exact, *(removed for removed, _ in self.near)}
        return replace(self, exact=exact, near=near, spared=tuple(sorted(all_of_them - gone)))

    @property
    def kept(self) -> tuple[int, ...]:
        """Documents that stay, in order."""
        gone = {*self.exact, *(removed for removed, _ in self.near)}
        return tuple(i for i in range(len(self.component)) if i not in gone)

    def save(self, path: Path) -> None:
        """Write the file that `load_duplicates` reads; before any is spared."""
        assert not self.spared
        near = np.array(self.near, dtype=np.int64).reshape(-1, 2)
        exact = np.array(self.exact, dtype=np.int64)
        np.savez(path, exact=exact, near=near, component=self.component)


def load_duplicates(path: Path) -> Duplicates:
    """The duplicates that `save` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        return Duplicates(
            exact=tuple(arrays["exact"].tolist()),
            near=tuple((removed, kept) for removed, kept in arrays["near"].tolist()),
            component=arrays["component"],
        )


def find_duplicates(
    texts: Iterable[str],
    digests: Sequence[bytes],
    *,
    rank: Sequence[int],
    threshold: float,
    engine: Engine = "native",
) -> Duplicates:
    """Exact duplicates by digest, then near ones with Jaccard >= threshold of 5-word shingles.

    Documents are taken by rank, longest first; one goes only if one that stays is verified to be
    its near-duplicate, so a chain A ~ B ~ C never removes C for its likeness to B alone.
    Documents of fewer than 5 words have no shingle: they take part in exact removal only.

    Memory beside the texts: 200 bytes a document, 8 a word of the documents that share a MinHash
    band with another one, and a batch of 16 MB a few times over.

    Args:
        texts: n documents; read twice, so a list or what gives the same texts each time, from
            files if need be.
        digests: their content hashes.
        rank: of two duplicates, the one of smaller rank is kept.
        threshold: Jaccard similarity in (0, 1].
        engine: where signatures are made; the answer is the same.
    """
    assert iter(texts) is not texts, "texts are read twice: an iterator is not enough"
    n = len(digests)
    first: dict[bytes, int] = {}
    row_of = [first.setdefault(digest, len(first)) for digest in digests]
    lengths, words, keys = _sign(texts, row_of, engine)
    order = sorted(range(n), key=lambda i: (rank[i], -lengths[i], digests[i], i))
    chosen = np.full(len(first), -1, dtype=np.int64)  # the document that stands for its equals
    for i in order:
        if chosen[row_of[i]] < 0:
            chosen[row_of[i]] = i
    place = np.empty(n, dtype=np.int64)
    place[order] = np.arange(n)
    rows = np.flatnonzero(words >= SHINGLE_WORDS)
    rows = rows[np.argsort(place[chosen[rows]])]  # in order of preference
    groups = band_groups(keys[rows])
    del keys
    sets, set_of = _candidate_sets(texts, row_of, words, rows[np.unique(groups.members)])
    twin, label = choose_kept(groups, Verifier(sets, set_of[rows], threshold))
    compared = chosen[rows]
    cluster = np.arange(len(rows), len(rows) + len(first))
    cluster[rows] = label
    gone = np.flatnonzero(twin >= 0)
    pairs = zip(compared[gone].tolist(), compared[twin[gone]].tolist(), strict=True)
    return Duplicates(
        exact=tuple(i for i in range(n) if chosen[row_of[i]] != i),
        near=tuple(sorted(pairs)),
        component=_smallest_members(cluster[row_of]),
    )


def _sign(
    texts: Iterable[str], row_of: Sequence[int], engine: Engine
) -> tuple[list[int], _Ints, NDArray[np.uint64]]:
    """Characters of each document, and of each distinct text its words and band keys."""
    lengths: list[int] = []
    words = np.zeros(max(row_of, default=-1) + 1, dtype=np.int64)
    keys: NDArray[np.uint64] | None = None
    for rows, batch in _normal_batches(texts, row_of, lengths=lengths):
        words[rows] = [count_words(text) for text in batch]
        enough = [k for k, row in enumerate(rows) if words[row] >= SHINGLE_WORDS]
        some = band_keys([batch[k] for k in enough], engine=engine)
        if keys is None:
            keys = np.zeros((len(words), some.shape[1]), dtype=np.uint64)
        keys[[rows[k] for k in enough]] = some
    return lengths, words, np.zeros((0, 1), dtype=np.uint64) if keys is None else keys


def _candidate_sets(
    texts: Iterable[str], row_of: Sequence[int], words: _Ints, rows: _Ints
) -> tuple[ShingleSets, _Ints]:
    """Shingle sets of the rows that share a band with another, and where each row's is."""
    wanted = np.zeros(len(words), dtype=np.bool_)
    wanted[rows] = True
    found: list[int] = []

    def batches() -> Iterator[list[str]]:
        for some, batch in _normal_batches(texts, row_of, wanted=wanted):
            found.extend(some)
            yield batch

    sets = shingle_sets(batches(), n_documents=len(rows), n_words=int(words[rows].sum()))
    set_of = np.full(len(words), -1, dtype=np.int64)
    set_of[found] = np.arange(len(found))
    return sets, set_of


def _normal_batches(
    texts: Iterable[str],
    row_of: Sequence[int],
    *,
    wanted: NDArray[np.bool_] | None = None,
    lengths: list[int] | None = None,
) -> Iterator[tuple[list[int], list[str]]]:
    """(rows, normalised texts) in batches, each distinct text once, the wanted ones of them."""
    rows: list[int] = []
    batch: list[str] = []
    size = 0
    seen = np.zeros(max(row_of, default=-1) + 1, dtype=np.bool_)
    for row, text in zip(row_of, texts, strict=True):
        if lengths is not None:
            lengths.append(len(text))
        if seen[row] or not (wanted is None or wanted[row]):
            continue
        seen[row] = True
        rows.append(row)
        batch.append(normalise(text))
        size += len(batch[-1])
        if size >= _BATCH_CHARACTERS:
            yield rows, batch
            rows, batch, size = [], [], 0
    if batch:
        yield rows, batch


def _smallest_members(cluster: _Ints) -> _Ints:
    """The first document of each one's cluster: a name that no order of work can change."""
    _, first, inverse = np.unique(cluster, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)
