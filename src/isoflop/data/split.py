"""Train and validation by whole duplicate clusters, so that no held-out text has a near-twin."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isoflop._errors import DataError

LARGEST_SHARE = 0.10
"""No domain gives more than this share of its tokens to validation."""


def choose_validation(
    n_tokens: NDArray[np.int64],
    domain: NDArray[np.int64],
    component: Sequence[bytes],
    *,
    names: Sequence[str],
    validation_tokens: int,
    seed: int,
) -> NDArray[np.bool_]:
    """Which documents are held out: whole clusters in seeded order until each domain has enough.

    Args:
        n_tokens: (n,) tokens of each document.
        domain: (n,) index of its domain.
        component: n cluster names; documents of one cluster are never parted.
        names: domain names, for the error.
        validation_tokens: at least this many held-out tokens per domain.
        seed: seed of the order.

    Raises:
        DataError: a domain cannot give that many within 10 % of its tokens.
    """
    order = sorted(
        set(component), key=lambda name: hashlib.sha256(b"%d:%b" % (seed, name)).digest()
    )
    place = {name: k for k, name in enumerate(order)}
    cluster = np.fromiter(map(place.__getitem__, component), np.int64, len(component))
    tokens = np.zeros((len(order), len(names)))
    np.add.at(tokens, (cluster, domain), n_tokens)
    chosen = np.zeros(len(order), dtype=np.bool_)
    chosen[_pick(tokens, names, validation_tokens)] = True
    return chosen[cluster]


def _pick(tokens: NDArray[np.float64], names: Sequence[str], wanted: int) -> list[int]:
    """Clusters to hold out; `tokens` is (clusters, domains), clusters in seeded order."""
    total = tokens.sum(axis=0)
    cap = LARGEST_SHARE * total
    chosen: set[int] = set()
    held = np.zeros(len(names))
    for d, name in enumerate(names):
        for k in np.flatnonzero(tokens[:, d]).tolist():
            if held[d] >= wanted:
                break
            # A cluster larger than what the cap leaves is passed over: a later one may fit.
            if k not in chosen and np.all(held + tokens[k] <= cap):
                chosen.add(k)
                held += tokens[k]
        if held[d] < wanted:
            less = f"Lower data.validation_tokens to {held[d]:.0f}, or add" if held[d] else "Add"
            raise DataError(
                f"data.validation_tokens = {wanted}: the domain {name!r} has {total[d]:.0f} tokens "
                f"in {np.count_nonzero(tokens[:, d])} duplicate clusters and can hold out only "
                f"{held[d]:.0f} within {LARGEST_SHARE:.0%} of them. {less} text to the domain."
            )
    return sorted(chosen)
