"""Whole clusters are held out, enough of them, never more than a tenth."""

import numpy as np
import pytest

from isoflop._errors import DataError
from isoflop.data.split import choose_validation


def corpus(seed: int) -> tuple[np.ndarray, np.ndarray, list[bytes]]:
    rng = np.random.default_rng(seed)
    return (
        rng.integers(10, 500, 1000),
        rng.integers(0, 2, 1000),
        [b"%d" % cluster for cluster in rng.integers(0, 400, 1000)],
    )


@pytest.mark.parametrize("seed", range(5))
def test_clusters_stay_whole_and_each_domain_has_enough(seed: int) -> None:
    n_tokens, domain, component = corpus(seed)
    out = choose_validation(
        n_tokens, domain, component, names=("a", "b"), validation_tokens=5000, seed=seed
    )
    held = {component[i] for i in np.flatnonzero(out)}
    assert held.isdisjoint(component[i] for i in np.flatnonzero(~out))
    for d in (0, 1):
        share = n_tokens[(domain == d) & out].sum()
        assert 5000 <= share <= 0.1 * n_tokens[domain == d].sum()


def test_the_seed_decides() -> None:
    n_tokens, domain, component = corpus(0)
    first, again, other = (
        choose_validation(
            n_tokens, domain, component, names=("a", "b"), validation_tokens=5000, seed=seed
        )
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_domain_too_small_is_named_with_the_remedy() -> None:
    with pytest.raises(
        DataError, match=r"'tiny' has 1000 tokens .*Lower data.validation_tokens to 100, or"
    ):
        choose_validation(
            np.full(100, 10), np.zeros(100, dtype=int), [b"%d" % i for i in range(100)],
            names=("tiny",), validation_tokens=101, seed=0,
        )  # fmt: skip


def test_one_document_cannot_be_split() -> None:
    with pytest.raises(DataError, match=r"only 0 within 10% of them\. Add text"):
        choose_validation(
            np.array([10_000]), np.array([0]), [b"x"],
            names=("one",), validation_tokens=10, seed=0,
        )  # fmt: skip
