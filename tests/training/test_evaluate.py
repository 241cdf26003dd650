"""Multiple choice: chance for a model that knows nothing, better for one that was trained."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoflop.data import open_choices, prepare_corpus, read_card
from isoflop.runs import RunFolder, read_runs
from isoflop.specs import DataSection, DataSpec, DomainSection, ModelShape, RunConfig, Schedule
from isoflop.training import Engine, train_run
from isoflop.training.evaluate import answer

WISH: dict[str, Any] = {
    "threads": 1, "micro_batch": 0, "device": "cpu", "dtype": "float32", "compile": False,
    "checkpoint_seconds": 1e9, "multiple_choice": True,
}  # fmt: skip
TOPICS = ("ab ba aab bba", "cd dc ccd ddc", "ef fe eef ffe", "gh hg ggh hhg", "ij ji iij jji")


@pytest.fixture(scope="module")
def topics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents that keep to one of five topics: what was said tells what will be said."""
    root = tmp_path_factory.mktemp("topics")
    rng = np.random.default_rng(0)
    (root / "text" / "talk").mkdir(parents=True)
    for i in range(200):
        words = rng.choice(TOPICS[i % 5].split(), size=200)
        (root / "text" / "talk" / f"{i}.txt").write_text(f"{i} " + " ".join(words) + "\n")
    section = DataSection(
        domains=(DomainSection(name="talk", source="path:talk"),), vocab_size=280,
        validation_tokens=4000,
    )  # fmt: skip
    prepare_corpus(
        section, root / "corpus", base=root / "text", seed=0, progress=lambda _label, _share: None
    )
    return root / "corpus"


@pytest.fixture
def run(tiny_trunk: RunConfig, tiny_shape: ModelShape) -> RunConfig:
    """150 steps on the topics."""
    return replace(
        tiny_trunk,
        shape=replace(tiny_shape, vocab_size=280),
        data=DataSpec(corpus_hash="x", weights=(("talk", 1.0),), repeat=True),
        schedule=Schedule(kind="cosine", warmup_tokens=256, n_tokens=150 * 64),
    )


def test_a_model_that_knows_nothing_guesses(topics: Path, run: RunConfig) -> None:
    """All answers are equally likely: a quarter each, and ln V nats a token, to rounding."""
    questions = open_choices(topics, "talk", context=16)
    score = answer(Engine(run, WISH), questions)
    assert score.accuracy == 0.25
    n_tokens = questions.choices.shape[2] * len(questions.answer)
    bits = n_tokens * math.log2(280) / questions.answer_bytes.sum()
    assert score.loss == pytest.approx(bits, rel=1e-5)


def test_training_answers_better_than_chance_and_is_recorded(
    topics: Path, tmp_path: Path, run: RunConfig
) -> None:
    folder = RunFolder.create(tmp_path / "runs", run)
    train_run(topics, folder, holds=[], wish=WISH)
    final = folder.final()
    assert final is not None
    n = len(open_choices(topics, "talk", context=16).answer)
    # 6 standard deviations above chance; the odds of that by luck are below 1e-8.
    assert final.acc_by_domain["talk"] > 0.25 + 6 * math.sqrt(0.25 * 0.75 / n)
    untrained = answer(Engine(run, WISH), open_choices(topics, "talk", context=16))
    assert final.task_loss_by_domain["talk"] < 0.7 * untrained.loss
    table = read_runs(tmp_path / "runs")
    assert table["acc_talk"].tolist() == [final.acc_by_domain["talk"]]
    assert table["task_loss_talk"].tolist() == [final.task_loss_by_domain["talk"]]
    looks = [point for point in folder.points() if point.kind == "intermediate"]
    assert looks
    assert not any(point.acc_by_domain for point in looks)


def test_runs_without_it_have_no_number_there(topics: Path, tmp_path: Path, run: RunConfig) -> None:
    for seed, wish in ((1, WISH), (2, {**WISH, "multiple_choice": False})):
        one = replace(run, seed=seed, schedule=replace(run.schedule, n_tokens=640))
        train_run(topics, RunFolder.create(tmp_path, one), holds=[], wish=wish)
    table = read_runs(tmp_path)
    order = np.argsort(table["seed"])
    assert np.isnan(table["acc_talk"][order]).tolist() == [False, True]
    assert np.isfinite(table["loss"]).all()


def test_bits_per_byte_of_the_validation_set(topics: Path, tmp_path: Path, run: RunConfig) -> None:
    folder = RunFolder.create(tmp_path, run)
    train_run(topics, folder, holds=[], wish=WISH)
    final = folder.final()
    assert final is not None
    (domain,) = read_card(topics).domains
    exact = final.loss_by_domain["talk"] / math.log(2) / domain.bytes_per_token
    assert final.bpb == pytest.approx(exact, rel=1e-12)
