"""The first `find_duplicates`, one pair after the other, bands grouped by Daft: the oracle."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isoflop.data.dedup import Duplicates
from isoflop.data.engine import BAND_ROWS, N_PERMUTATIONS, SHINGLE_WORDS, band_keys

_WORD = re.compile(r"\w+")
_IDEOGRAPH = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_MULTIPLIERS = (np.random.default_rng(5).integers(0, 2**63, SHINGLE_WORDS) * 2 + 1).astype(
    np.uint64
)

Shingles = NDArray[np.uint64]


def normalise(text: str) -> str:
    """Lower-case words joined by single spaces; each ideograph counts as a word."""
    if not text.isascii():
        text = _IDEOGRAPH.sub(r" \g<0> ", text)
    return " ".join(_WORD.findall(text.lower()))


def jaccard(first: Shingles, second: Shingles) -> float:
    """|A ∩ B| / |A ∪ B| of two sorted sets of distinct shingles; 0 for two empty sets."""
    both = np.concatenate((first, second))
    both.sort(kind="stable")  # merges the two sorted halves in linear time
    shared = int(np.count_nonzero(both[1:] == both[:-1]))
    return shared / (len(both) - shared) if len(both) else 0.0


def find_duplicates(
    texts: Sequence[str], digests: Sequence[bytes], *, rank: Sequence[int], threshold: float
) -> Duplicates:
    """Exact duplicates by digest, then near ones with Jaccard >= threshold of 5-word shingles.

    Documents are taken by rank, longest first; one goes only if one that stays is verified to be
    its near-duplicate, so a chain A ~ B ~ C never removes C for its likeness to B alone.
    Documents of fewer than 5 words have no shingle: they take part in exact removal only.

    Args:
        texts: n documents.
        digests: their content hashes.
        rank: of two duplicates, the one of smaller rank is kept.
        threshold: Jaccard similarity in (0, 1].
    """
    order = sorted(range(len(texts)), key=lambda i: (rank[i], -len(texts[i]), digests[i], i))
    clusters = _Clusters(len(texts))
    first: dict[bytes, int] = {}
    exact, compared, words = [], [], []
    for i in order:
        original = first.setdefault(digests[i], i)
        if original != i:
            exact.append(i)
            clusters.join(original, i)
        elif (normal := normalise(texts[i])).count(" ") >= SHINGLE_WORDS - 1:
            compared.append(i)
            words.append(normal)
    near, linked = _find_near(words, threshold)
    for k, i in enumerate(compared):
        clusters.join(i, compared[linked.root(k)])
    return Duplicates(
        exact=tuple(sorted(exact)),
        near=tuple(sorted((compared[gone], compared[kept]) for gone, kept in near.items())),
        component=np.array([clusters.root(i) for i in range(len(texts))], dtype=np.int64),
    )


def _find_near(words: Sequence[str], threshold: float) -> tuple[dict[int, int], "_Clusters"]:
    """Removed -> kept, and the clusters; `words` is in order of preference, so earlier stays."""
    groups = candidate_groups(words)
    verify = _Verifier(words, groups, threshold)
    clusters = _Clusters(len(words))
    groups_of: dict[int, list[int]] = {}
    for number, group in enumerate(groups):
        for member in group:
            groups_of.setdefault(member, []).append(number)
    kept_in: list[list[int]] = [[] for _ in groups]
    removed: dict[int, int] = {}
    for i in sorted(groups_of):
        rivals = sorted({kept for number in groups_of[i] for kept in kept_in[number]})
        twins = [kept for kept in rivals if verify(kept, i)]
        for kept in twins:
            removed.setdefault(i, kept)
            clusters.join(i, kept)
        if not twins:
            for number in groups_of[i]:
                kept_in[number].append(i)
    _link_removed(groups, verify, clusters)
    return removed, clusters


def _link_removed(
    groups: Sequence[tuple[int, ...]], verify: "_Verifier", clusters: "_Clusters"
) -> None:
    """Join clusters that only a pair of removed documents links.

    Pairs within a cluster need no check: a group of m copies costs O(m), not O(m^2).
    """
    for group in groups:
        by_root: dict[int, list[int]] = {}
        for member in group:
            by_root.setdefault(clusters.root(member), []).append(member)
        parts = list(by_root.values())
        for j, part in enumerate(parts):
            for other in parts[:j]:
                if clusters.root(part[0]) != clusters.root(other[0]) and any(
                    verify(a, b) for a in other for b in part
                ):
                    clusters.join(part[0], other[0])


class _Verifier:
    """Exact Jaccard of candidate pairs; shingle sets only of documents that are candidates."""

    def __init__(
        self, words: Sequence[str], groups: Sequence[tuple[int, ...]], threshold: float
    ) -> None:
        vocabulary: dict[str, int] = {}
        self._shingles = {
            i: _shingle(words[i], vocabulary) for i in sorted({i for g in groups for i in g})
        }
        self._threshold = threshold
        self._known: dict[tuple[int, int], bool] = {}

    def __call__(self, first: int, second: int) -> bool:
        pair = (first, second) if first < second else (second, first)
        known = self._known.get(pair)
        if known is None:
            a, b = self._shingles[first], self._shingles[second]
            # J <= min/max of the sizes: most unlike pairs need no comparison.
            possible = min(len(a), len(b)) / max(len(a), len(b)) >= self._threshold
            known = possible and jaccard(a, b) >= self._threshold
            self._known[pair] = known
        return known


def _shingle(words: str, vocabulary: dict[str, int]) -> Shingles:
    """Sorted distinct 64-bit hashes of the 5-word shingles (two collide with odds of 2^-64)."""
    ids = np.fromiter(
        (vocabulary.setdefault(word, len(vocabulary) + 1) for word in words.split(" ")), np.uint64
    )
    n = len(ids) - SHINGLE_WORDS + 1
    mixed = np.zeros(n, dtype=np.uint64)
    for offset, multiplier in enumerate(_MULTIPLIERS):
        mixed = (mixed ^ (mixed >> np.uint64(29))) * multiplier + ids[offset : offset + n]
    return np.unique(mixed)


class _Clusters:
    """Union-find; the root is the smallest member, so the answer does not depend on order."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))

    def root(self, i: int) -> int:
        parent = self._parent
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def join(self, first: int, second: int) -> None:
        low, high = sorted((self.root(first), self.root(second)))
        self._parent[high] = low


def candidate_groups(texts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Distinct groups of indices of texts that share a band."""
    if len(texts) < 2:
        return ()
    band_keys(["a b c d e"])  # imports Daft in silence
    import daft
    from daft.functions import chunk, hash, list_agg, minhash

    signature = minhash(daft.col("text"), num_hashes=N_PERMUTATIONS, ngram_size=SHINGLE_WORDS)
    groups = (
        daft.from_pydict({"index": list(range(len(texts))), "text": texts})
        .select(daft.col("index"), chunk(signature, BAND_ROWS).alias("band"))
        .explode("band")
        .select(daft.col("index"), hash(daft.col("band")).alias("band"))
        .groupby("band")
        .agg(list_agg(daft.col("index")).alias("members"))
        .to_pydict()["members"]
    )
    # Order of rows and members depends on threads: sort, so that equal input, equal output.
    distinct = {tuple(sorted(set(members))) for members in groups}
    return tuple(sorted(group for group in distinct if len(group) > 1))
