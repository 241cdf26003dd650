"""Fixtures that several rooms share."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoflop.specs import DataSpec, ModelShape, Optimiser, RunConfig, Schedule
from optional import absent
from workers import ByFile, turn

REPOSITORY = Path(__file__).parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: turn(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    config.option.loadscopereorder = False  # the order is `turn`'s, not that of their counts
    return ByFile(config, log)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Published experiments; must be there in CI, skips elsewhere."""
    path = Path(os.environ.get("ISOFLOP_DATA", REPOSITORY.parent / "shared" / "data"))
    if not path.is_dir():
        absent(f"published experiments not found at {path} (set ISOFLOP_DATA)")
    return path


@pytest.fixture
def tiny_shape() -> ModelShape:
    """A model that trains in milliseconds."""
    return ModelShape(vocab_size=300, width=16, depth=1, n_heads=2, ff_width=32, context=16)


@pytest.fixture
def tiny_trunk(tiny_shape: ModelShape) -> RunConfig:
    """A trunk on the corpus of `tiny_corpus`."""
    return RunConfig(
        shape=tiny_shape,
        data=DataSpec(corpus_hash="x", weights=(("prose", 0.5), ("rhyme", 0.5))),
        schedule=Schedule(kind="trunk", warmup_tokens=256),
        optimiser=Optimiser(lr=1e-2, batch_tokens=64),
        seed=3,
    )


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of small documents with structure to learn: 60 documents of ~1.5 kB each."""
    root = tmp_path_factory.mktemp("text")
    words = re.findall(r"\w+", "the run of a small model tells how large models do if laws hold")
    rng = np.random.default_rng(0)
    for domain in ("prose", "rhyme"):
        (root / domain).mkdir()
        for i in range(60):
            text = " ".join(rng.choice(words, size=300))
            (root / domain / f"{i}.txt").write_text(f"{domain} {i}. {text}\n", encoding="utf-8")
    return root
