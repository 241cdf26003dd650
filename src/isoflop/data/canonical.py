"""Which of many near-duplicates stay: a greedy choice, exact, with pairs verified many at once."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isoflop.data.shingles import ShingleSets

_BLOCK = 256
"""Documents decided at once: pairs within a block that a one-by-one choice would not need are
verified too, so a block much larger costs more than it saves."""
_PAIRS = 1 << 21
"""Pairs listed at once: 16 MB an array."""
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Documents that share a MinHash band, one group behind the other, each sorted."""

    members: Ints
    sizes: Ints

    @property
    def starts(self) -> Ints:
        """Where each group begins in `members`."""
        return np.cumsum(self.sizes) - self.sizes


@dataclass(frozen=True, slots=True, eq=False)
class Verifier:
    """Exact Jaccard of pairs of rows: `set_of[row]` is the row's place in `sets`."""

    sets: ShingleSets
    set_of: Ints
    threshold: float

    def edges(self, first: Ints, second: Ints) -> tuple[Ints, Ints]:
        """The distinct pairs that are similar, by second and then first."""
        n = len(self.set_of)
        second, first = np.divmod(np.unique(second * n + first), n)
        good = self.sets.similar(self.set_of[first], self.set_of[second], self.threshold)
        return first[good], second[good]


def band_groups(keys: NDArray[np.uint64]) -> Groups:
    """Groups of two or more rows that agree in a column of `keys` (n, bands), each once."""
    members, sizes = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for band in keys.T:
        order = np.argsort(band, kind="stable")
        size = _run_lengths(band[order])
        members.append(order[np.repeat(size > 1, size)])
        sizes.append(size[size > 1])
    groups = Groups(np.concatenate(members), np.concatenate(sizes))
    if not len(groups.sizes):
        return groups
    # Copies meet in every band: a group's name is the sum of random numbers of its members.
    salt = np.random.default_rng(11).integers(0, 2**64, len(keys), dtype=np.uint64)
    names = np.add.reduceat(salt[groups.members], groups.starts)
    once = np.zeros(len(names), dtype=np.bool_)
    once[np.unique(names, return_index=True)[1]] = True
    return Groups(groups.members[np.repeat(once, groups.sizes)], groups.sizes[once])


def choose_kept(groups: Groups, verifier: Verifier) -> tuple[Ints, Ints]:
    """(twin, label) of n rows that come in order of preference.

    twin[i]: the first kept row that i is a verified near-duplicate of; -1: i stays. Exactly what
    deciding one row after the other gives. label[i]: the cluster, connected by similar pairs.
    """
    n = len(verifier.set_of)
    twin = np.full(n, -1, dtype=np.int64)
    links = [np.zeros((2, 0), dtype=np.int64)]
    kept = _KeptMembers(groups)
    group = np.repeat(np.arange(len(groups.sizes)), groups.sizes)
    by_row = np.argsort(groups.members, kind="stable")
    row, group = groups.members[by_row], group[by_row]
    first = np.flatnonzero(np.diff(row, prepend=-1))  # of each row that is in a group
    done = 0
    while done < len(first):
        stop, size = len(row), _BLOCK
        while True:  # as many rows as have few enough pairs, one at least
            stop = first[done + size] if done + size < len(first) else len(row)
            some = slice(first[done], stop)
            if size == 1 or kept.lengths[group[some]].sum() <= _PAIRS:
                break
            size //= 2
        links += _decide(row[some], group[some], kept, verifier, twin)
        done += size
    return twin, _label(groups, verifier, twin, np.concatenate(links, axis=1))


class _KeptMembers:
    """The kept members of each group so far, in the room that the group has in `members`."""

    def __init__(self, groups: Groups) -> None:
        self._rows = np.empty_like(groups.members)
        self._starts = groups.starts
        self.lengths = np.zeros_like(groups.sizes)

    def rivals(self, row: Ints, group: Ints) -> tuple[Ints, Ints]:
        """Pairs (kept, row) of memberships (row, group)."""
        counts = self.lengths[group]
        return self._rows[_ranges(self._starts[group], counts)], np.repeat(row, counts)

    def add(self, row: Ints, group: Ints) -> None:
        """Rows that stay, sorted by group and then row."""
        size = _run_lengths(group)
        one = group[np.cumsum(size) - size]
        self._rows[_ranges(self._starts[one] + self.lengths[one], size)] = row
        self.lengths[one] += size


def _decide(
    row: Ints, group: Ints, kept: _KeptMembers, verifier: Verifier, twin: Ints
) -> list[Ints]:
    """Fill `twin` for a block of rows, given with their groups; the similar pairs found."""
    earlier, later = verifier.edges(*kept.rivals(row, group))
    twin[later[::-1]] = earlier[::-1]  # the first one of each is written last
    by_group = np.argsort(group, kind="stable")
    row, group = row[by_group], group[by_group]
    size = _run_lengths(group)
    start = np.repeat(np.cumsum(size) - size, size)
    before = np.arange(len(row)) - start
    first, second = row[_ranges(start, before)], np.repeat(row, before)
    open_ = twin[first] < 0  # what has gone already justifies nothing
    inner = verifier.edges(first[open_], second[open_])
    for a, b in zip(*(side.tolist() for side in inner), strict=True):
        if twin[a] < 0 and twin[b] < 0:
            twin[b] = a
    stay = twin[row] < 0
    kept.add(row[stay], group[stay])
    return [np.stack((earlier, later)), np.stack(inner)]


def _label(groups: Groups, verifier: Verifier, twin: Ints, links: Ints) -> Ints:
    """Cluster of each row, after pairs were verified that only removed rows can link.

    Pairs of one cluster need no check: a group of m copies costs O(m), not O(m^2).
    """
    label = _components(links, len(twin))
    ends = np.repeat(groups.starts + groups.sizes, groups.sizes)
    # Between two kept rows, and of a removed one with those kept before it, all is known.
    open_ = np.flatnonzero((twin[groups.members] >= 0) & _mixed(groups, label))
    counts = ends[open_] - open_ - 1
    for part in _parts(counts, _PAIRS):
        at = open_[part]
        first = np.repeat(groups.members[at], counts[part])
        second = groups.members[_ranges(at + 1, counts[part])]
        apart = label[first] != label[second]
        found = np.stack(verifier.edges(first[apart], second[apart]))
        if found.size:
            links = np.concatenate((links, found), axis=1)
            label = _components(links, len(twin))
    return label


def _mixed(groups: Groups, label: Ints) -> Bools:
    """Of each membership, whether its group has members of several clusters."""
    if not len(groups.sizes):
        return np.zeros(0, dtype=np.bool_)
    labels = label[groups.members]
    low, high = (ufunc.reduceat(labels, groups.starts) for ufunc in (np.minimum, np.maximum))
    return np.repeat(low != high, groups.sizes)


def _components(links: Ints, n: int) -> Ints:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(links.shape[1], dtype=np.bool_)
    graph = coo_array((ones, (links[0], links[1])), shape=(n, n))
    labels: Ints = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels


def _parts(counts: Ints, most: int) -> Iterator[slice]:
    """Slices of `counts` whose sums are about `most` or a single count."""
    ends = np.cumsum(counts)
    begin = 0
    while begin < len(counts):
        done = ends[begin - 1] if begin else 0
        stop = max(int(np.searchsorted(ends, done + most, side="right")), begin + 1)
        yield slice(begin, stop)
        begin = stop


def _run_lengths(values: NDArray[np.integer]) -> Ints:
    """Lengths of the runs of equal neighbours."""
    if not len(values):
        return np.zeros(0, dtype=np.int64)
    starts = np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1])))
    return np.diff(starts, append=len(values))


def _ranges(starts: Ints, counts: Ints) -> Ints:
    """start, start + 1, ... of each, one behind the other."""
    ends = np.cumsum(counts)
    return np.repeat(starts - ends + counts, counts) + np.arange(ends[-1] if len(ends) else 0)
