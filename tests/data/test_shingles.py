"""Sets of hashed shingles are those of tuples of words."""

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from isoflop.data.shingles import hash_words, shingle_sets

# The second and the third are equal in the memory of a str: "\u306e" is the bytes of "n0".
words = st.sampled_from(["a", "\u306e", "n0", "\u4e61", "aN", "b"])
texts = st.lists(st.lists(words, min_size=5, max_size=25), min_size=2, max_size=6)


@given(texts, st.sampled_from([0.1, 0.25, 0.5, 0.75, 1.0]), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_similar_is_that_of_sets(texts: list[list[str]], threshold: float, size: int) -> None:
    true = [set(zip(w, w[1:], w[2:], w[3:], w[4:], strict=False)) for w in texts]
    joined = [" ".join(w) for w in texts]
    batches = [joined[k : k + size] for k in range(0, len(joined), size)]
    made = shingle_sets([*batches, []], n_documents=len(texts), n_words=sum(map(len, texts)))
    assert np.diff(made.offsets).tolist() == [len(one) for one in true]
    pairs = np.array(list(combinations(range(len(texts)), 2)))
    expected = [len(true[a] & true[b]) / len(true[a] | true[b]) >= threshold for a, b in pairs]
    assert made.similar(pairs[:, 0], pairs[:, 1], threshold).tolist() == expected


def test_no_two_words_share_a_hash() -> None:
    """With odds of 2e-10 for 100,000 words."""
    many = [*(f"w{i}" for i in range(60_000)), *(chr(0x4E00 + i) for i in range(20_000))]
    assert len(np.unique(hash_words(" ".join(many)))) == len(many)


def test_no_pair_at_all() -> None:
    made = shingle_sets([["a b c d e"]], n_documents=1, n_words=5)
    none = np.zeros(0, dtype=np.int64)
    assert made.similar(none, none, 0.5).shape == (0,)


def test_a_pair_of_just_the_threshold_is_similar() -> None:
    """55 of 100 shingles, J = 0.55, where 0.55 * 100 is above 55."""
    many = [f"w{i}" for i in range(104)]
    texts = [" ".join(many), " ".join(many[:59])]
    made = shingle_sets([texts], n_documents=2, n_words=163)
    assert np.diff(made.offsets).tolist() == [100, 55]
    first, second = np.array([0]), np.array([1])
    assert made.similar(first, second, 0.55).tolist() == [True]
    assert made.similar(first, second, 0.5501).tolist() == [False]
