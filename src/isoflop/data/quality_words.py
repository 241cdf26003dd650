"""Statistics of words and of repeated n-grams.

Array legend: D documents, T words and symbols ("pieces") of all of them in one row.
"""

from functools import cache

import numpy as np

from isoflop._types import Array
from isoflop.data.languages import LANGUAGES, known_words
from isoflop.data.quality_batch import Batch, Hashes, Ints, hash_spans, hash_words, mix

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
"""Of arXiv:2112.11446, appendix A1.1: an English document holds two of them."""
TOP_GRAMS = (2, 3, 4)
DUPLICATE_GRAMS = (5, 6, 7, 8, 9, 10)


def measure_words(batch: Batch) -> dict[str, Array]:
    """Columns (D,) of word statistics and of repeated n-grams.

    `pieces` counts words and symbols, `words` those with a letter or digit. Fractions of
    characters are of the whole text.

    Source: Rae et al. 2021, arXiv:2112.11446, appendix A1.1 and table A1.
    """
    n = len(batch.texts)
    sizes = np.bincount(batch.owner, minlength=n)
    lengths = batch.stop - batch.start
    words = hash_spans(batch.prefix, batch.start, batch.stop)
    real = batch.owner[batch.is_word]
    counts = np.bincount(real, minlength=n)
    columns = {
        "pieces": sizes.astype(np.float64),
        "words": counts.astype(np.float64),
        "mean_word_length": divide(np.bincount(real, lengths[batch.is_word], n), counts),
        "alpha_words": divide(np.bincount(batch.owner[batch.has_letter], minlength=n), sizes),
    }
    columns |= _known_words(words, batch.owner, counts)
    n_chars = batch.ends - batch.begins
    for name, chars in repeated_grams(words, sizes, lengths).items():
        columns[name] = divide(chars, n_chars)
    return columns


def divide(above: Array | Ints, below: Array | Ints) -> Array:
    """Elementwise ratio; 0 where there is nothing to divide by."""
    return np.divide(above, below, out=np.zeros(len(above)), where=np.asarray(below) > 0)


def _known_words(words: Hashes, owner: Ints, counts: Ints) -> dict[str, Array]:
    """Distinct stop words, and the language with most frequent words."""
    hashes, stops, bits = _lexicon()
    at = np.searchsorted(hashes, words)
    known = np.flatnonzero(hashes[np.minimum(at, len(hashes) - 1)] == words)
    at, owner = at[known], owner[known]
    n = len(counts)
    pairs = np.unique(owner[stops[at]] * len(hashes) + at[stops[at]])
    votes = np.stack(
        [np.bincount(owner[bits[at] >> k & 1 == 1], minlength=n) for k in range(len(LANGUAGES))]
    )
    return {
        "stop_words": np.bincount(pairs // len(hashes), minlength=n).astype(np.float64),
        "language": votes.argmax(axis=0).astype(np.float64),
        "language_score": divide(votes.max(axis=0), counts),
    }


@cache
def _lexicon() -> tuple[Hashes, np.ndarray, Ints]:
    """Ascending hashes of the frequent words as people write them; which are stop words; bits."""
    bits = known_words()
    words = sorted({*STOP_WORDS, *bits})
    hashes = hash_words(words)
    order = np.argsort(hashes)
    stops = np.array([word in STOP_WORDS for word in words])
    return hashes[order], stops[order], np.array([bits.get(word, 0) for word in words])[order]


def repeated_grams(words: Hashes, sizes: Ints, n_chars: Ints) -> dict[str, Array]:
    """Characters (D,) in the most frequent 2- to 4-gram, and in repeats of 5- to 10-grams.

    The most frequent n-gram (of equals the first) counts with its length, one space between two
    words, times its occurrences. Every occurrence of an n-gram but its first is a repeat; repeats
    are taken in reading order without overlap and count their words' characters.

    Classes grow by one word at a time among the n-grams that occur twice, so that longer ones cost
    little and are compared exactly.

    Args:
        words: (T,) hashes.
        sizes: (D,) words of each document; their sum is T.
        n_chars: (T,) characters of each word.
    """
    n_documents = len(sizes)
    document = np.repeat(np.arange(n_documents), sizes)
    ends = np.concatenate(([0], np.cumsum(n_chars)))
    starts = np.cumsum(sizes) - sizes
    place = np.flatnonzero(document[1:] == document[:-1])
    key: Hashes | Ints = mix(
        words[place] + mix(words[place + 1] + document[place].astype(np.uint64))
    )
    found: dict[str, Array] = {}
    for n in (*TOP_GRAMS, *DUPLICATE_GRAMS):
        place, group, counts, firsts = _group(place, key)
        if n in TOP_GRAMS:
            # The first n-gram of a document is its top one if none occurs twice.
            has = sizes >= n
            chars: Array = np.zeros(n_documents)
            chars[has] = (ends[starts[has] + n] - ends[starts[has]] + n - 1).astype(np.float64)
            _put_top(chars, document, counts, firsts, ends, n)
            found[f"top_{n}gram"] = chars
        else:
            hits = without_overlap(place[place != firsts[group]], n)
            spans = ends[hits + n] - ends[hits]
            repeats = np.bincount(document[hits], spans, n_documents)
            found[f"dup_{n}gram"] = repeats.astype(np.float64)
        follows = np.flatnonzero(place[1:] == place[:-1] + 1)
        key = (group[follows] << 32) | group[follows + 1]
        place = place[follows]
    return found


def _group(place: Ints, key: Hashes | Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Places whose key occurs twice, ascending, with their class; size and first of each class."""
    order = np.argsort(key)
    key = key[order]
    new = np.flatnonzero(np.append(True, key[1:] != key[:-1])) if len(key) else order
    counts = np.diff(np.append(new, len(key)))
    twice = np.repeat(counts >= 2, counts)
    counts = counts[counts >= 2]
    if not len(counts):
        return counts, counts, counts, counts
    at = place[order[twice]]
    firsts = np.minimum.reduceat(at, np.cumsum(counts) - counts)
    whole = np.full(place[-1] + 1, -1, dtype=np.int64)
    whole[at] = np.repeat(np.arange(len(counts)), counts)
    at = np.flatnonzero(whole >= 0)
    return at, whole[at], counts, firsts


def _put_top(chars: Array, document: Ints, counts: Ints, firsts: Ints, ends: Ints, n: int) -> None:
    """Characters of each document's most frequent n-gram, where one occurs twice."""
    order = np.lexsort((firsts, -counts, document[firsts]))
    owner = document[firsts[order]]
    best = order[np.flatnonzero(np.append(True, owner[1:] != owner[:-1]))] if len(order) else order
    first = firsts[best]
    chars[document[first]] = counts[best] * (ends[first + n] - ends[first] + n - 1)


def without_overlap(place: Ints, n: int) -> Ints:
    """Of ascending places of n words each, those that reading from the left takes."""
    if not len(place):
        return place
    behind = np.searchsorted(place, place + n).tolist()
    taken, k = [], 0
    while k < len(behind):
        taken.append(k)
        k = behind[k]
    return place[taken]
