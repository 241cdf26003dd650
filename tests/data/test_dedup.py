"""Planted duplicates are found, others stay, and a kept twin justifies each removal."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pytest

from isoflop.data.dedup import Duplicates, find_duplicates
from isoflop.data.engine import SHINGLE_WORDS, band_keys
from isoflop.data.words import normalise


def random_texts(n: int, *, seed: int, length: int = 200) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    return [[f"w{word}" for word in rng.integers(0, 5000, length)] for _ in range(n)]


def remove(texts: Sequence[str], *, threshold: float = 0.8) -> Duplicates:
    digests = [hashlib.sha256(text.encode()).digest() for text in texts]
    return find_duplicates(texts, digests, rank=[0] * len(texts), threshold=threshold)


def true_jaccard(first: str, second: str) -> float:
    def shingles(text: str) -> set[tuple[str, ...]]:
        words = normalise(text).split()
        return {tuple(words[i : i + SHINGLE_WORDS]) for i in range(len(words) - SHINGLE_WORDS + 1)}

    a, b = shingles(first), shingles(second)
    return len(a & b) / len(a | b)


def test_planted_duplicates_are_found_and_nothing_else_goes() -> None:
    words = random_texts(300, seed=1)
    copies = [[*text[:100], "changed", *text[101:]] for text in words[:60]]
    texts = [" ".join(text) for text in words + copies] + [" ".join(words[70])] * 3
    found = remove(texts)
    # Each copy has J = 191/201 = 0.95: a band misses all 16 times with odds (1 - 0.95^8)^16 = 3e-8.
    pairs = {frozenset(pair) for pair in found.near}
    assert pairs == {frozenset((i, 300 + i)) for i in range(60)}
    assert set(found.exact) < {70, 360, 361, 362}
    assert len(found.exact) == 3
    assert len(found.kept) == 300


def test_upper_case_and_punctuation_do_not_hide_a_duplicate() -> None:
    text = " ".join(random_texts(1, seed=2)[0])
    found = remove([text, text.upper().replace(" ", ",\n ")])
    assert len(found.near) == 1


def test_a_chain_removes_only_what_a_kept_document_justifies() -> None:
    words = random_texts(1, seed=3)[0]
    # Each step swaps 5 words: neighbours have J about 0.9, the ends of the chain far less.
    chain = [words]
    for step in range(12):
        text = list(chain[-1])
        text[step * 15 : step * 15 + 5] = [f"new{step}_{k}" for k in range(5)]
        chain.append(text)
    texts = [" ".join(text) for text in chain]
    found = remove(texts)
    kept = set(found.kept)
    assert true_jaccard(texts[0], texts[-1]) < 0.5
    assert 2 <= len(kept) < len(texts)
    assert all(
        twin in kept and true_jaccard(texts[i], texts[twin]) >= 0.8 for i, twin in found.near
    )
    assert len(set(found.component.tolist())) == 1, "the chain is one cluster for the split"


def test_the_threshold_decides_exactly() -> None:
    words = random_texts(1, seed=4)[0]
    other = [*words[:100], "changed", *words[101:]]
    texts = [" ".join(words), " ".join(other)]
    similarity = true_jaccard(*texts)
    assert similarity == 191 / 201
    assert len(remove(texts, threshold=similarity).near) == 1
    assert len(remove(texts, threshold=similarity + 1e-9).near) == 0


def test_the_smaller_rank_stays() -> None:
    words = random_texts(1, seed=5)[0]
    texts = [" ".join([*words, "longer"]), " ".join(words)]
    digests = [hashlib.sha256(text.encode()).digest() for text in texts]
    assert find_duplicates(texts, digests, rank=[1, 0], threshold=0.8).near == ((0, 1),)
    assert find_duplicates(texts, digests, rank=[0, 1], threshold=0.8).near == ((1, 0),)


def test_short_documents_do_not_collide() -> None:
    texts = ["", "+++", "---", "one", "one two three four", "one two three 4", "\n\n"]
    found = remove(texts)
    assert found.kept == tuple(range(len(texts)))
    assert len(set(found.component.tolist())) == len(texts)


def test_equal_short_documents_are_exact_duplicates() -> None:
    assert len(remove(["one", "two", "one"]).exact) == 1


def test_order_of_documents_does_not_matter() -> None:
    words = random_texts(80, seed=6, length=60)
    texts = [" ".join(t) for t in words] + [" ".join([*t[:-3], "x", "y", "z"]) for t in words[:40]]
    first = {texts[i] for i in remove(texts).kept}
    shuffled = [texts[i] for i in np.random.default_rng(0).permutation(len(texts))]
    assert {shuffled[i] for i in remove(shuffled).kept} == first


def test_no_text_has_no_keys() -> None:
    assert band_keys([]).shape == (0, 16)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_a_corpus_of_few_documents(n: int) -> None:
    texts = [" ".join(text) for text in random_texts(n, seed=7)]
    assert remove(texts).kept == tuple(range(n))
