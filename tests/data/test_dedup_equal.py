"""Vectorised or not, from a list or a stream, in any batches: the answer is that of the oracle."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import slow_dedup

from isoflop.data import canonical, dedup, shingles
from isoflop.data.dedup import Duplicates, find_duplicates

Corpus = tuple[list[str], list[int]]


def mutate(rng: np.random.Generator, words: list[str], n: int) -> list[str]:
    words = list(words)
    for at in rng.integers(0, len(words), n):
        words[at] = f"new{rng.integers(0, 10**6)}"
    return words


def families(seed: int) -> Corpus:
    """Families of variants at every distance, exact copies, short texts; ranks at random."""
    rng = np.random.default_rng(seed)
    texts: list[str] = []
    for _ in range(40):
        base = [f"w{word}" for word in rng.integers(0, 400, rng.integers(5, 120))]
        for _ in range(rng.integers(1, 12)):
            base = mutate(rng, base, int(rng.integers(0, 4)))
            cut = int(rng.integers(0, 4))
            texts.append(" ".join(base[cut:]))
    texts += [texts[i] for i in rng.integers(0, len(texts), 30)]
    texts += ["", "", "one", "one two three four", "a a a a a a a", "a a a a a", "+ + + + + +"]
    texts = [texts[i] for i in rng.permutation(len(texts))]
    return texts, rng.integers(0, 3, len(texts)).tolist()


def chains(seed: int) -> Corpus:
    """Long chains of neighbours, where greedy and connected components differ most."""
    rng = np.random.default_rng(seed)
    texts = []
    for _ in range(4):
        text = [f"c{word}" for word in rng.integers(0, 10**6, 150)]
        for step in range(60):
            at = 2 * step
            text = [*text[:at], f"s{rng.integers(10**6)}", *text[at + 1 :]]
            texts.append(" ".join(text))
    return texts, [0] * len(texts)


def copies(seed: int) -> Corpus:
    """A hundred that differ in one word: every block is full of mutual duplicates."""
    rng = np.random.default_rng(seed)
    base = [f"w{word}" for word in rng.integers(0, 10**6, 80)]
    texts = [" ".join([*base[:40], f"x{i}", *base[41:]]) for i in range(100)]
    return texts, rng.integers(0, 2, len(texts)).tolist()


def boilerplate(seed: int) -> Corpus:
    """A long common part and a part of its own, so that J is about the threshold."""
    rng = np.random.default_rng(seed)
    common = [f"b{word}" for word in rng.integers(0, 10**6, 200)]
    texts = []
    for _ in range(80):
        own = [f"o{word}" for word in rng.integers(0, 10**6, rng.integers(10, 60))]
        texts.append(" ".join([*common, *own]))
    return texts, [0] * len(texts)


def scripts(seed: int) -> Corpus:
    """Words whose UCS-2 storage has equal bytes, and Han text."""
    rng = np.random.default_rng(seed)
    same = ["\u306e", "n0", "\u4e61", "aN"]
    texts = [" ".join(rng.choice(same, 30)) for _ in range(40)]
    texts += ["".join(chr(0x4E00 + k) for k in rng.integers(0, 40, 60)) for _ in range(40)]
    texts += [text[:-1] + "\u5b57" for text in texts[-40:]]
    return texts, [0] * len(texts)


CORPORA = {
    **{f"families-{seed}": families(seed) for seed in range(6)},
    "chains": chains(0),
    "copies": copies(1),
    "boilerplate": boilerplate(2),
    "scripts": scripts(3),
}


class Stream:
    """Texts that are there only while they are read."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._data = [text.encode() for text in texts]

    def __iter__(self) -> Iterator[str]:
        return (data.decode() for data in self._data)


def same(found: Duplicates, expected: Duplicates) -> bool:
    return (
        found.exact == expected.exact
        and found.near == expected.near
        and found.component.tolist() == expected.component.tolist()
    )


@pytest.mark.parametrize("threshold", [0.3, 0.8, 1.0])
@pytest.mark.parametrize("name", CORPORA)
def test_the_answer_is_the_oracle_s(
    name: str, threshold: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, rank = CORPORA[name]
    digests = [hashlib.sha256(text.encode()).digest() for text in texts]
    expected = slow_dedup.find_duplicates(texts, digests, rank=rank, threshold=threshold)
    assert len(expected.near) > 5 or threshold == 1.0 or name == "boilerplate"
    assert same(find_duplicates(texts, digests, rank=rank, threshold=threshold), expected)
    # Small limits, so that every loop goes round many times.
    monkeypatch.setattr(dedup, "_BATCH_CHARACTERS", 5000)
    monkeypatch.setattr(canonical, "_BLOCK", 7)
    monkeypatch.setattr(canonical, "_PAIRS", 100)
    monkeypatch.setattr(shingles, "_PAIR_ELEMENTS", 1000)
    again = find_duplicates(Stream(texts), digests, rank=rank, threshold=threshold)
    assert same(again, expected)


def test_an_iterator_is_refused() -> None:
    with pytest.raises(AssertionError, match="read twice"):
        find_duplicates(iter(["a"]), [b"a"], rank=[0], threshold=0.8)
