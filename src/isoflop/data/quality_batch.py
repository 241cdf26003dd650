"""Many documents as one row of code points, split into words and symbols by whole-array steps.

Array legend: C code points of all documents and one separator behind each, D documents,
T words and symbols ("pieces") of all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Hashes = NDArray[np.uint64]
Codes = NDArray[np.uint32]

_ODD = np.uint64(0x9E3779B97F4A7C15)
_JOINERS = ".,'’"
_IDEOGRAPHS = ((0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF))
_LETTER, _DIGIT, _SPACE, _IDEOGRAPH, _UNDERSCORE, _JOINER, _DOT = (1 << k for k in range(7))
_WORD = _LETTER | _DIGIT | _UNDERSCORE


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Documents taken apart; a piece is a word, an ideograph, a run of points or one symbol."""

    texts: Sequence[str]
    codes: Codes
    """(C,)."""
    is_space: Flags
    """(C,)."""
    prefix: Hashes
    """(C + 1,): sums whose differences are hashes of spans, see `hash_spans`."""
    begins: Ints
    """(D,): first code point of each document."""
    ends: Ints
    """(D,): the separator behind each document."""
    start: Ints
    """(T,): first code point of each piece."""
    stop: Ints
    """(T,): behind its last one."""
    owner: Ints
    """(T,): its document."""
    has_letter: Flags
    """(T,)."""
    is_word: Flags
    """(T,): has a letter or a digit."""


def take_apart(texts: Sequence[str]) -> Batch:
    """The batch of some documents.

    Words keep the points and commas inside them (3.14, example.com) and end at an apostrophe
    (don | 't), as tokenisers of English do; each ideograph is a word of its own.
    """
    joined = "\n".join(texts) + "\n"
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    ends = np.cumsum(sizes + 1) - 1
    kind = _kinds(codes)
    is_space = kind & _SPACE != 0
    start, stop = _pieces(codes, kind, is_space)
    letters, digits = _counter(kind & _LETTER != 0), _counter(kind & (_LETTER | _DIGIT) != 0)
    return Batch(
        texts=texts,
        codes=codes,
        is_space=is_space,
        prefix=_prefix_sums(codes),
        begins=ends - sizes,
        ends=ends,
        start=start,
        stop=stop,
        owner=np.repeat(np.arange(len(texts)), np.diff(np.searchsorted(start, ends), prepend=0)),
        has_letter=letters[stop] > letters[start],
        is_word=digits[stop] > digits[start],
    )


def hash_spans(prefix: Hashes, start: Ints, stop: Ints) -> Hashes:
    """64-bit hashes of the spans [start, stop) of a batch: equal spans, equal hashes.

    h = Σ_j f(c_j) r^(j - start) mod 2^64 with an odd r, mixed; two unlike spans collide with odds
    of about 2^-64.
    """
    sums = prefix[stop] - prefix[start]
    return mix(sums * _powers(len(prefix), inverse=True)[start])


def mix(value: Hashes) -> Hashes:
    """Spread every bit of 64-bit numbers over all others (one-to-one)."""
    value = (value ^ (value >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    return value ^ (value >> np.uint64(32))


def hash_words(words: Sequence[str]) -> Hashes:
    """The hashes that `hash_spans` gives these words."""
    batch = take_apart(words)
    return hash_spans(batch.prefix, batch.begins, batch.ends)


def _pieces(codes: Codes, kind: NDArray[np.uint8], is_space: Flags) -> tuple[Ints, Ints]:
    in_word = kind & _WORD != 0
    inside = (kind & _JOINER != 0)[1:-1] & in_word[:-2] & in_word[2:]
    apostrophe = np.zeros(len(codes), dtype=bool)
    apostrophe[1:-1] = inside & (kind[1:-1] & _DOT == 0) & (codes[1:-1] != ord(","))
    in_word[1:-1] |= inside
    ideograph = kind & _IDEOGRAPH != 0
    dot = kind & _DOT != 0
    begins = ~is_space
    # What goes on where something began: a word character behind another, a point behind a point.
    goes_on = in_word[1:] & in_word[:-1] & ~apostrophe[1:] & ~ideograph[:-1]
    goes_on |= dot[1:] & dot[:-1] & ~in_word[1:] & ~in_word[:-1]
    begins[1:] &= ~goes_on | ideograph[1:]
    start = np.flatnonzero(begins)
    border = begins.copy()
    border |= is_space
    # The next border behind each start ends the piece.
    borders = np.flatnonzero(border)
    stop = borders[np.searchsorted(borders, start, side="right")]
    return start, stop


def _counter(flags: Flags) -> Ints:
    return np.concatenate(([0], np.cumsum(flags)))


def _prefix_sums(codes: Codes) -> Hashes:
    values = mix((codes.astype(np.uint64) + np.uint64(1)) * _ODD)
    values *= _powers(len(codes) + 1)[:-1]
    return np.concatenate((np.zeros(1, dtype=np.uint64), np.cumsum(values)))


_POWERS: dict[bool, Hashes] = {}


def _powers(n: int, *, inverse: bool = False) -> Hashes:
    """r^0 .. r^(n-1) mod 2^64; the longest row so far is kept."""
    known = _POWERS.get(inverse)
    if known is None or len(known) < n:
        base = pow(int(_ODD), -1, 1 << 64) if inverse else int(_ODD)
        row = np.full(n, base, dtype=np.uint64)
        row[0] = 1
        known = _POWERS[inverse] = np.multiply.accumulate(row)
    return known[:n]


def _kinds(codes: Codes) -> NDArray[np.uint8]:
    if codes.max() < 128:
        return _ascii_kinds()[codes]
    return _all_kinds()[codes]


@cache
def _ascii_kinds() -> NDArray[np.uint8]:
    return np.array([_kind(chr(code)) for code in range(128)], dtype=np.uint8)


@cache
def _all_kinds() -> NDArray[np.uint8]:
    """(0x110000,): 0.3 s, once, and only where a text is not ASCII."""
    kinds = np.array([_kind(chr(code)) for code in range(0x30000)], dtype=np.uint8)
    kinds = np.concatenate((kinds, np.zeros(0x110000 - len(kinds), dtype=np.uint8)))
    kinds[0x30000:0x323B0] = _LETTER  # the later planes hold ideographs and no other letter
    for low, high in _IDEOGRAPHS:
        kinds[low : high + 1] |= _IDEOGRAPH
    kinds[0x20000:0x323B0] |= _IDEOGRAPH
    return kinds


def _kind(char: str) -> int:
    if char.isspace():
        return _SPACE
    if char == "_":
        return _UNDERSCORE
    if char in _JOINERS:
        return _JOINER | (_DOT if char == "." else 0)
    return _LETTER if char.isalpha() else _DIGIT if char.isalnum() else 0
