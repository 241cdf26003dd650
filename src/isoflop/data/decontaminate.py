"""13-gram overlap of documents with protected text: held-out documents and benchmarks.

Words are those of `words.normalise`, so case, punctuation and line ends do not hide a passage.
Every word is hashed to 64 bits by a polynomial over its bytes, every n-gram by a polynomial over
its words; both are differences of running sums, so a gram costs a few array operations whatever
its length. Two different grams collide with odds of about 2^-59 a pair.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isoflop.data.words import normalise

GRAM_WORDS = 13
"""As in Brown et al. 2020, arXiv:2005.14165, appendix C."""
SHORTEST_WORDS = 8
"""ASSUMPTION: a shorter passage ("yes", "New York") stands in text that has nothing to do with it.
The shortest n-gram of Brown et al. has as many words."""
_PIECE = 1 << 18
"""Characters handled at once: the arrays stay in the processor's cache."""
_BITS_PER_GRAM = 16
"""One bit in 16 is set, so 15 of 16 grams of clean text are told by one look at the bitmap."""

Words = NDArray[np.uint64]

_RNG = np.random.default_rng(13)
_BYTE_BASE, _WORD_BASE = (int(x) | 1 for x in _RNG.integers(1 << 60, 1 << 63, 2))
_VALUES = _RNG.integers(0, 1 << 63, 256).astype(np.uint64)
_VALUES[ord("A") : ord("Z") + 1] = _VALUES[ord("a") : ord("z") + 1]
_IS_WORD = np.zeros(256, dtype=bool)
_IS_WORD[[*b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"]] = True
_IS_WORD[128:] = True  # text that is not ASCII comes normalised: its other bytes are all of words


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """What one document shares with protected text."""

    grams: int
    """13-grams of the document; 1 if it has fewer than 13 words but at least one."""
    shared: int
    """Those of them that are also in protected text."""
    owners: tuple[int, ...]
    """Numbers of the names of protected text that they are in, ascending."""

    @property
    def share(self) -> float:
        """shared / grams; 0 for a document without words."""
        return self.shared / self.grams if self.grams else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """The distinct n-grams of one length, sorted, with the number of the name each is first in."""

    grams: Words
    owner: NDArray[np.int32]
    bitmap: NDArray[np.bool_]
    shift: np.uint64

    def find(self, grams: Words) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        """Positions of `grams` that are in the table, and their owners."""
        near = np.flatnonzero(self.bitmap[grams >> self.shift])
        if not len(near):
            return near, np.zeros(0, dtype=np.int32)
        candidates = grams[near]
        at = np.searchsorted(self.grams, candidates)
        at[at == len(self.grams)] = 0
        found = self.grams[at] == candidates
        return near[found], self.owner[at[found]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Protected:
    """Text that training documents are compared with, as tables of hashed n-grams."""

    names: tuple[str, ...]
    passages: tuple[int, ...]
    """Passages of at least SHORTEST_WORDS words of each name."""
    short: tuple[int, ...]
    """Its passages of fewer words, at least one: they are not looked for."""
    tables: Mapping[int, _Table]
    """By length: 13 words; shorter passages whole."""


def protect(texts: Mapping[str, Iterable[str]]) -> Protected:
    """Tables of the 13-grams of every text, and of passages of 8 to 12 words whole.

    Args:
        texts: name -> its passages; a gram of several names is booked to the first of them.
    """
    grams: dict[int, list[Words]] = {}
    owners: dict[int, list[NDArray[np.int32]]] = {}
    passages, short = [], []
    for number, group in enumerate(texts.values()):
        count = few = 0
        for words, ends in _batches(group):
            sums, starts = _running(words), np.concatenate(([0], ends[:-1]))
            lengths = ends - starts
            count += int(np.count_nonzero(lengths >= SHORTEST_WORDS))
            few += int(np.count_nonzero((lengths > 0) & (lengths < SHORTEST_WORDS)))
            for n in range(SHORTEST_WORDS, GRAM_WORDS + 1):
                if n < GRAM_WORDS:
                    places = starts[lengths == n]
                else:
                    places = np.flatnonzero(_whole(ends, len(words), n))
                if len(places):
                    grams.setdefault(n, []).append(_grams(sums, n)[places])
                    owners.setdefault(n, []).append(np.full(len(places), number, dtype=np.int32))
        passages.append(count)
        short.append(few)
    tables = {n: _table(np.concatenate(grams[n]), np.concatenate(owners[n])) for n in sorted(grams)}
    return Protected(
        names=tuple(texts), passages=tuple(passages), short=tuple(short), tables=tables
    )


def measure_overlap(protected: Protected, texts: Iterable[str]) -> Iterator[Overlap]:
    """The overlap of each text, in order; memory is a few batches, whatever their number.

    A 13-gram counts as shared if it is a 13-gram of protected text or holds a whole shorter
    passage. A text of fewer than 13 words counts as one gram, shared if it holds such a passage.
    """
    for words, ends in _batches(texts):
        starts = np.concatenate(([0], ends[:-1]))
        owner = _owners(protected, words, ends, starts)
        lengths = ends - starts
        counts = np.where(lengths >= GRAM_WORDS, lengths - GRAM_WORDS + 1, lengths > 0)
        total = np.concatenate(([0], np.cumsum(owner >= 0)))
        shared = total[ends] - total[starts]
        for k in range(len(ends)):
            hit = owner[starts[k] : ends[k]] if shared[k] else owner[:0]
            yield Overlap(
                grams=int(counts[k]),
                shared=int(min(shared[k], counts[k])),
                owners=tuple(np.unique(hit[hit >= 0]).tolist()),
            )


def _owners(
    protected: Protected, words: Words, ends: NDArray[np.int64], starts: NDArray[np.int64]
) -> NDArray[np.int32]:
    """(words,) owner of the shared gram that begins at each word; -1 where none does."""
    owner = np.full(len(words), -1, dtype=np.int32)
    sums = _running(words)
    # The last gram of each document: a text of fewer than 13 words has one, at its first word.
    last = np.repeat(np.maximum(ends - GRAM_WORDS, starts), ends - starts)
    first = np.repeat(starts, ends - starts)
    for n, table in sorted(protected.tables.items(), reverse=True):
        places, found = table.find(_grams(sums, n))
        inside = _whole(ends, len(words), n)[places]
        places, found = places[inside], found[inside]
        for back in range(GRAM_WORDS - n + 1):
            at = places - back
            held = (at >= first[places]) & (at <= last[places])
            if n < GRAM_WORDS:  # where a passage ends the text, its grams begin at `last`
                at = np.where(at > last[places], last[places], at)
                held = at >= first[places]
            fresh = held & (owner[at * held] < 0)
            owner[at[fresh]] = found[fresh]
    return owner


def _table(grams: Words, owner: NDArray[np.int32]) -> _Table:
    distinct, first = np.unique(grams, return_index=True)  # the first of equals: smallest owner
    bits = min(27, max(10, int(_BITS_PER_GRAM * len(distinct) - 1).bit_length()))
    shift = np.uint64(64 - bits)
    bitmap = np.zeros(1 << bits, dtype=bool)
    bitmap[distinct >> shift] = True
    return _Table(grams=distinct, owner=owner[first], bitmap=bitmap, shift=shift)


def _whole(ends: NDArray[np.int64], n_words: int, n: int) -> NDArray[np.bool_]:
    """(words,) whether the n words from each on lie in one document."""
    whole = np.ones(n_words, dtype=bool)
    for offset in range(1, n):
        whole[np.maximum(ends - offset, 0)[ends > 0]] = False
    return whole


def _running(words: Words) -> Words:
    """(words + 1,) running sums of word i times base^i, modulo 2^64."""
    mixed = words ^ (words >> np.uint64(29))
    sums = np.zeros(len(words) + 1, dtype=np.uint64)
    np.cumsum(mixed * _POWERS.word(len(words)), out=sums[1:])
    return sums


def _grams(sums: Words, n: int) -> Words:
    """(words,) hash of the n words from each on; of fewer at the very end (see `_whole`)."""
    n_words = len(sums) - 1
    ends = np.minimum(np.arange(n, n_words + n), n_words)
    return (sums[ends] - sums[:-1]) * _POWERS.word_inverse(n_words)


def _batches(texts: Iterable[str]) -> Iterator[tuple[Words, NDArray[np.int64]]]:
    """(hashes of words, where each text's words end), a batch of whole texts at a time."""
    parts: list[bytes] = []
    size = 0
    for text in texts:
        if len(text) > _PIECE:
            if parts:
                yield _hash_batch(parts)
            yield _hash_long(text)
            parts, size = [], 0
            continue
        parts.append(_plain(text))
        size += len(parts[-1])
        if size >= _PIECE:
            yield _hash_batch(parts)
            parts, size = [], 0
    if parts:
        yield _hash_batch(parts)


def _plain(text: str) -> bytes:
    """Bytes of which the words are those of `normalise(text)`; ASCII is folded by table later."""
    return text.encode() if text.isascii() else normalise(text).encode("utf-8", "surrogatepass")


def _hash_batch(parts: list[bytes]) -> tuple[Words, NDArray[np.int64]]:
    words, starts = _hash_words(b"\n".join(parts))
    sizes = np.array([len(part) + 1 for part in parts])
    return words, np.searchsorted(starts, np.cumsum(sizes)).astype(np.int64)


def _hash_long(text: str) -> tuple[Words, NDArray[np.int64]]:
    """One long text in pieces that end between words."""
    words, at = [], 0
    while at < len(text):
        cut = _GAP.search(text, at + _PIECE)
        end = cut.end() if cut else len(text)
        words.append(_hash_words(_plain(text[at:end]))[0])
        at = end
    joined = np.concatenate(words)
    return joined, np.array([len(joined)], dtype=np.int64)


def _hash_words(data: bytes) -> tuple[Words, NDArray[np.intp]]:
    """Hash and first byte of each word: (sum over its bytes of value * base^k) / base^first."""
    raw = np.frombuffer(data, dtype=np.uint8)
    edges = np.flatnonzero(np.diff(_IS_WORD[raw], prepend=False, append=False))
    starts, ends = edges[0::2], edges[1::2]
    sums = np.zeros(len(raw) + 1, dtype=np.uint64)
    np.cumsum(_VALUES[raw] * _POWERS.byte(len(raw)), out=sums[1:])
    return (sums[ends] - sums[starts]) * _POWERS.byte_inverse(len(raw))[starts], starts


class _Powers:
    """Powers of two odd bases and of their inverses modulo 2^64, made once and grown as needed."""

    def __init__(self) -> None:
        bases = (_BYTE_BASE, _WORD_BASE)
        self._bases = [*bases, *(pow(base, -1, 1 << 64) for base in bases)]
        self._known = [np.ones(1, dtype=np.uint64) for _ in self._bases]

    def byte(self, n: int) -> Words:
        return self._get(0, n)

    def word(self, n: int) -> Words:
        return self._get(1, n)

    def byte_inverse(self, n: int) -> Words:
        return self._get(2, n)

    def word_inverse(self, n: int) -> Words:
        return self._get(3, n)

    def _get(self, which: int, n: int) -> Words:
        if len(self._known[which]) < n:
            powers = np.full(max(n, 2 * _PIECE), self._bases[which], dtype=np.uint64)
            powers[0] = 1
            self._known[which] = np.multiply.accumulate(powers)
        return self._known[which][:n]


_POWERS = _Powers()
_GAP = re.compile(r"\W")
