"""Sets of shingle hashes of many documents in a few NumPy passes, and exact Jaccard of pairs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isoflop.data.engine import SHINGLE_WORDS
from isoflop.data.words import count_words

_PAIR_ELEMENTS = 1 << 21
"""Elements of sets compared at once."""
_TOP = np.int64(np.iinfo(np.int64).max)

_MULTIPLIERS = (np.random.default_rng(5).integers(0, 2**63, SHINGLE_WORDS) * 2 + 1).astype(
    np.uint64
)

Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ShingleSets:
    """The sets of n documents, one behind the other."""

    values: Ints
    """63-bit hashes of 5-word shingles, sorted and distinct within a document."""
    offsets: Ints
    """(n + 1,): document i has values[offsets[i]:offsets[i + 1]]."""

    def similar(self, first: Ints, second: Ints, threshold: float) -> NDArray[np.bool_]:
        """Whether |A ∩ B| / |A ∪ B| >= threshold, exactly, for each pair of documents.

        Args:
            first: (P,) documents.
            second: (P,) documents.
            threshold: in (0, 1].
        """
        sizes = np.diff(self.offsets)
        a, b = sizes[first], sizes[second]
        # J <= min/max of the sizes: most unlike pairs need no comparison.
        # In the form of the test below, or 0.55 * 100 > 55 would part a pair of just that likeness.
        most = np.minimum(a, b) / np.maximum(np.maximum(a, b), 1)
        open_ = np.flatnonzero(most >= threshold)
        work = np.cumsum(a[open_] + b[open_])
        turn = work // _PAIR_ELEMENTS
        cuts = np.flatnonzero(np.diff(turn)) + 1
        found = np.zeros(len(first), dtype=np.bool_)
        for part in np.split(open_, cuts):
            if len(part):
                shared = self._shared(first[part], second[part])
                found[part] = shared / (a[part] + b[part] - shared) >= threshold
        return found

    def _shared(self, first: Ints, second: Ints) -> Ints:
        """|A ∩ B| of each pair: rows of a sparse matrix, merged in compiled code."""
        from scipy.sparse import csr_array

        ones = np.ones(len(self.values), dtype=np.bool_)
        rows = csr_array((ones, self.values, self.offsets), shape=(len(self.offsets) - 1, _TOP))
        shared: Ints = np.diff(rows[first].multiply(rows[second]).indptr)
        return shared


def shingle_sets(
    batches: Iterable[Sequence[str]], *, n_documents: int, n_words: int
) -> ShingleSets:
    """The sets of normalised texts of at least 5 words each, given in batches.

    Two different shingles of one pair of documents collide with odds of 2^-63.

    Args:
        batches: words joined by one space each.
        n_documents: texts in all.
        n_words: their words in all: the room to reserve.
    """
    values = np.empty(max(n_words - (SHINGLE_WORDS - 1) * n_documents, 0), dtype=np.int64)
    sizes = np.zeros(n_documents + 1, dtype=np.int64)
    filled = done = 0
    for texts in batches:
        if not texts:
            continue
        some, counts = _sets_of(texts)
        values[filled : filled + len(some)] = some
        sizes[done + 1 : done + 1 + len(counts)] = counts
        filled += len(some)
        done += len(counts)
    return ShingleSets(values[:filled], np.cumsum(sizes))


def _sets_of(texts: Sequence[str]) -> tuple[Ints, Ints]:
    """Sorted distinct hashes of each text, one behind the other, and how many each has."""
    words = hash_words(" ".join(texts))
    counts = np.array([count_words(text) for text in texts])
    mixed = np.zeros(len(words) - SHINGLE_WORDS + 1, dtype=np.uint64)
    for offset, multiplier in enumerate(_MULTIPLIERS):
        mixed ^= mixed >> np.uint64(29)
        mixed *= multiplier
        mixed += words[offset : offset + len(mixed)]
    values = (mixed >> np.uint64(1)).astype(np.int64)
    ends = np.cumsum(counts)
    starts = ends - counts
    fresh = np.ones(len(values), dtype=np.bool_)
    for start, end in zip(starts.tolist(), (ends - SHINGLE_WORDS + 1).tolist(), strict=True):
        values[start:end].sort()
        fresh[end : end + SHINGLE_WORDS - 1] = False  # would cross into the next document
    fresh[1:] &= (values[1:] != values[:-1]) | np.isin(np.arange(1, len(values)), starts)
    sizes = np.add.reduceat(fresh, starts, dtype=np.int64)
    return values[fresh], sizes


def hash_words(text: str) -> Hashes:
    """64-bit hash of each word of a text whose words are joined by single spaces.

    Python's own hash, the fastest at hand. It is keyed anew in every process, so that nobody can
    write documents that collide; equal words have equal hashes within a process, and only that
    decides which sets overlap.
    """
    # Of its UTF-8: a str's hash is that of its storage, where one character can equal two others.
    words = text.encode("utf-8", "surrogatepass").split(b" ")
    return np.fromiter(map(hash, words), dtype=np.int64, count=len(words)).view(np.uint64)
