"""A small real corpus and run folders on it."""

from dataclasses import replace
from pathlib import Path

import pytest

from isoflop.data import prepare_corpus
from isoflop.specs import DataSection, DomainSection, RunConfig, Schedule


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory, tiny_text: Path) -> Path:
    """Two domains of generated prose, tokenised with 300 words."""
    folder = tmp_path_factory.mktemp("corpus")
    section = DataSection(
        domains=tuple(
            DomainSection(name=name, source=f"path:{name}") for name in ("prose", "rhyme")
        ),
        vocab_size=300,
        validation_tokens=1500,
    )
    prepare_corpus(section, folder, base=tiny_text, seed=0, progress=lambda _label, _share: None)
    return folder


@pytest.fixture
def tiny_branch(tiny_trunk: RunConfig) -> RunConfig:
    """A branch of 60 steps, the last 15 cooling down."""
    schedule = Schedule(kind="wsd", warmup_tokens=256, n_tokens=60 * 64, cooldown_tokens=15 * 64)
    return replace(tiny_trunk, schedule=schedule, trunk=tiny_trunk.run_id)
