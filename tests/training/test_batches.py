"""The data order is a pure function of the sequence number."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from isoflop._errors import InputError
from isoflop.data import open_tokens
from isoflop.specs import DataSpec
from isoflop.training import Batches, ValidationSet

SPEC = DataSpec(corpus_hash="x", weights=(("prose", 0.75), ("rhyme", 0.25)))


def test_it_can_start_anywhere(corpus: Path) -> None:
    whole, _ = Batches(corpus, SPEC, context=16, seed=1).at(0, 64)
    for start in (0, 1, 31, 60):
        part, _ = Batches(corpus, SPEC, context=16, seed=1).at(start, 4)
        assert torch.equal(part, whole[start : start + 4])


def test_targets_are_inputs_shifted_and_seeds_differ(corpus: Path) -> None:
    x, y = Batches(corpus, SPEC, context=16, seed=1).at(0, 8)
    assert torch.equal(x[:, 1:], y[:, :-1])
    other, _ = Batches(corpus, SPEC, context=16, seed=2).at(0, 8)
    assert not torch.equal(x, other)


def test_one_epoch_sees_every_window_once_and_no_more(corpus: Path) -> None:
    one = DataSpec(corpus_hash="x", weights=(("prose", 1.0),))
    n = (len(open_tokens(corpus, "train", "prose")) - 1) // 16
    x, _ = Batches(corpus, one, context=16, seed=1).at(0, n)
    tokens = open_tokens(corpus, "train", "prose")[: n * 16].reshape(n, 16)
    assert sorted(map(tuple, x.tolist())) == sorted(map(tuple, tokens.tolist()))
    with pytest.raises(InputError, match=r"data\.repeat = true"):
        Batches(corpus, one, context=16, seed=1).at(0, n + 1)
    repeated, _ = Batches(corpus, replace(one, repeat=True), context=16, seed=1).at(0, 2 * n)
    assert sorted(map(tuple, repeated[n:].tolist())) == sorted(map(tuple, tokens.tolist()))
    assert not torch.equal(repeated[:n], repeated[n:])


def test_domains_get_their_weights(corpus: Path) -> None:
    batches = Batches(corpus, replace(SPEC, repeat=True), context=16, seed=5)
    counts = torch.bincount(torch.from_numpy(batches._domains(0, 10_000)))
    # The golden-ratio sequence has discrepancy O(log n / n): a handful of 10,000.
    assert abs(int(counts[0]) - 7500) < 12


def test_validation_windows_cover_the_shard_in_order(corpus: Path) -> None:
    validation = ValidationSet.open(corpus, ["prose"], context=16)
    tokens = torch.from_numpy(open_tokens(corpus, "val", "prose").astype("int64"))
    windows = validation.windows[0]
    assert torch.equal(windows[:, :-1].reshape(-1), tokens[: windows[:, :-1].numel()])


def test_vectorised_windows_are_those_of_a_plain_loop(corpus: Path) -> None:
    """One window at a time, counted from the first sequence; over epochs and at any stride."""
    data = replace(SPEC, repeat=True)
    batches = Batches(corpus, data, context=16, seed=4)
    shards = {name: open_tokens(corpus, "train", name) for name, _ in SPEC.weights}
    names = [name for name, _ in SPEC.weights]
    offset = float(np.random.default_rng([4, 0]).random())
    seen = dict.fromkeys(names, 0)
    windows = []
    total = 3000
    for i in range(total):
        name = names[int((offset + i * (5**0.5 - 1) / 2) % 1.0 >= 0.75)]
        n = (len(shards[name]) - 1) // 16
        epoch, place = divmod(seen[name], n)
        order = np.random.default_rng([4, 1, names.index(name), epoch]).permutation(n)
        windows.append(shards[name][order[place] * 16 :][:17].astype(np.int64))
        seen[name] += 1
    assert seen["prose"] > 2 * ((len(shards["prose"]) - 1) // 16)  # two epochs and more
    whole = torch.from_numpy(np.stack(windows))
    for start in (0, 7, 40, 500, 2900, 3, 1200):  # onwards by leaps, as one of several processes
        x, y = batches.at(start, 60)
        assert torch.equal(x, whole[start : start + 60, :-1])
        assert torch.equal(y, whole[start : start + 60, 1:])


def test_a_limit_is_read_again_and_again_and_nothing_else(corpus: Path) -> None:
    """A quarter of the shard over three epochs: the same windows as a shard of that length."""
    limit = len(open_tokens(corpus, "train", "prose")) // 4
    one = DataSpec(corpus_hash="x", weights=(("prose", 1.0),), unique_tokens=(("prose", limit),))
    n = (limit - 1) // 16
    tokens = open_tokens(corpus, "train", "prose")[: n * 16].reshape(n, 16)
    batches = Batches(corpus, replace(one, repeat=True), context=16, seed=1)
    x, _ = batches.at(0, 3 * n)
    for epoch in range(3):
        seen = x[epoch * n : (epoch + 1) * n].tolist()
        assert sorted(map(tuple, seen)) == sorted(map(tuple, tokens.tolist()))
    with pytest.raises(InputError, match=rf"'prose' has {limit} training tokens"):
        Batches(corpus, one, context=16, seed=1).at(0, n + 1)
    assert abs(one.n_unique(3 * n * 16, batches.train_tokens) - n * 16) <= 16
    assert one.n_unique(n * 8, batches.train_tokens) == n * 8
