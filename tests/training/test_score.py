"""Documents scored by a run: the trainer's own loss, filters by it, kills, and what is refused."""

import importlib.util
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isoflop._errors import DataError, MissingExtraError, WorkerError
from isoflop.cli.entry import run as run_verb
from isoflop.data import (
    DataCard,
    load_tokenizer,
    open_tokens,
    prepare_arm,
    prepare_corpus,
    quality_store,
)
from isoflop.data.frames import receive, send
from isoflop.data.scorer import Scorer
from isoflop.data.scoring_model import open_model
from isoflop.runs import RunFolder
from isoflop.specs import (
    DataSection,
    DataSpec,
    DomainSection,
    ModelShape,
    Optimiser,
    QualitySection,
    RunConfig,
    Schedule,
)
from isoflop.training import Engine, ValidationSet, train_run
from isoflop.training import checkpoint as checkpoints
from isoflop.training.evaluate import validation_losses
from isoflop.training.score import MOST_WINDOWS, TextScorer, windows_of

parquet = pytest.importorskip("pyarrow.parquet")

CONTEXT = 32
EXECUTION: dict[str, Any] = {
    "threads": 1, "micro_batch": 0, "device": "cpu", "dtype": "float32", "compile": False,
    "checkpoint_seconds": 1e9,
}  # fmt: skip
WORDS = [
    "river", "stone", "under", "bridge", "walks", "seldom", "green", "house", "before", "night",
    "candle", "over", "paper", "quiet", "thing", "moves",
]  # fmt: skip


def chain(seed: int, n: int = 250) -> str:
    """Words in one order, which is left for another place once in ten words."""
    rng = np.random.default_rng(seed)
    place, text = int(rng.integers(len(WORDS))), [f"number {seed}"]
    for jumps in rng.random(n) < 0.1:
        place = int(rng.integers(len(WORDS))) if jumps else (place + 1) % len(WORDS)
        text.append(WORDS[place])
    return " ".join(text)


def shuffled(seed: int) -> str:
    """The words of a chain in no order."""
    words = chain(seed).split()
    np.random.default_rng(seed).shuffle(words)
    return " ".join(words)


def silent(stage: str, share: float) -> None:
    del stage, share


@dataclass(frozen=True)
class Study:
    """A folder with texts, a prepared corpus and one finished run."""

    base: Path
    run: Path
    section: DataSection


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A run on chains of words; beside them a domain of as many new chains and shuffled ones."""
    base = tmp_path_factory.mktemp("scoring")
    for name, texts in (
        ("chains", {f"{i}": chain(i) for i in range(80)}),
        ("mixed", {f"good{i}": chain(1000 + i) for i in range(30)}
                  | {f"bad{i}": shuffled(2000 + i) for i in range(30)}),
    ):  # fmt: skip
        (base / name).mkdir()
        for key, text in texts.items():
            (base / name / f"{key}.txt").write_text(text)
    section = DataSection(
        domains=(DomainSection(name="chains", source="path:chains"),),
        vocab_size=300,
        validation_tokens=1500,
    )
    data = base / "study" / "data"
    card = prepare_corpus(section, data, base=base, seed=0, progress=silent)
    config = RunConfig(
        shape=ModelShape(
            vocab_size=300, width=32, depth=2, n_heads=2, ff_width=64, context=CONTEXT
        ),
        data=DataSpec(corpus_hash=card.corpus_hash, weights=(("chains", 1.0),), repeat=True),
        schedule=Schedule(kind="cosine", warmup_tokens=512, n_tokens=200 * 512),
        optimiser=Optimiser(lr=2e-2, batch_tokens=512),
        seed=0,
    )
    folder = RunFolder.create(base / "study" / "runs", config)
    train_run(data, folder, holds=[], wish=EXECUTION)
    return Study(base=base, run=folder.path, section=section)


@pytest.fixture(scope="module")
def scorer(study: Study) -> TextScorer:
    """Of the run, in this process."""
    return TextScorer.open(study.run, device="cpu")


def ids_of(study: Study, text: str) -> list[int]:
    """The end mark, then the tokens of a text."""
    tokenizer = load_tokenizer(study.run.parent.parent / "data")
    return [tokenizer.end_id, *tokenizer.encode(text)]


def in_nats(bits_per_byte: float, text: str, n_tokens: int) -> float:
    """Mean loss [nats/token]."""
    return bits_per_byte * len(text.encode()) * math.log(2) / n_tokens


def engine_of(study: Study) -> Engine:
    config = RunFolder(study.run).config()
    newest = checkpoints.latest(RunFolder(study.run).checkpoints, up_to=10**9)
    assert newest is not None
    state = checkpoints.load(newest, torch.device("cpu"))
    engine = Engine(config, EXECUTION)
    engine.load(state.model, state.optimiser)
    return engine


def test_a_score_is_the_loss_that_the_trainer_finds_on_the_same_windows(
    study: Study, scorer: TextScorer
) -> None:
    text = chain(5001, 300)
    ids = ids_of(study, text)
    while (len(ids) - 1) % CONTEXT:  # whole windows, as validation has
        text = text[:-1]
        ids = ids_of(study, text)
    windows = torch.tensor(ids).unfold(0, CONTEXT + 1, CONTEXT)
    assert 1 < len(windows) <= MOST_WINDOWS
    held_out = ValidationSet(names=("text",), windows=(windows,))
    expected = validation_losses(engine_of(study), held_out)["text"]
    (found,) = scorer.bits_per_byte([text])
    assert in_nats(found, text, len(ids) - 1) == pytest.approx(expected, rel=1e-5)


def test_held_out_documents_have_about_the_loss_that_the_run_reported(
    study: Study, scorer: TextScorer
) -> None:
    """Windows begin elsewhere, and end marks are not predicted: 4 % apart."""
    data = study.run.parent.parent / "data"
    tokenizer = load_tokenizer(data)
    ids = np.asarray(open_tokens(data, "val", "chains")).astype(np.int64)
    ends = np.flatnonzero(ids == tokenizer.end_id)
    rows = [row[row != tokenizer.end_id].tolist() for row in np.split(ids, ends)[:-1]]
    texts = tokenizer.decode_many(rows)
    counts = np.array([len(row) for row in rows])
    losses = [
        in_nats(score, text, int(n))
        for score, text, n in zip(scorer.bits_per_byte(texts), texts, counts, strict=True)
    ]
    point = RunFolder(study.run).final()
    assert point is not None
    assert np.average(losses, weights=counts) == pytest.approx(point.loss, rel=0.1)


@pytest.mark.parametrize("n", [1, 3, 250, 4000])
def test_a_score_is_the_mean_over_its_windows_by_hand(
    study: Study, scorer: TextScorer, n: int
) -> None:
    """Of one to more windows than are scored, each alone and without padding."""
    text = chain(n, n)
    ids = torch.tensor(ids_of(study, text))
    windows = windows_of(0, len(ids) - 1, CONTEXT)
    assert (len(windows) == MOST_WINDOWS) == (n == 4000)
    model, total, counted = engine_of(study).model, 0.0, 0
    with torch.no_grad():
        for _, start, length in windows:
            row = ids[None, start : start + length + 1]
            total += float(model(row[:, :-1], row[:, 1:])) * length
            counted += length
    (found,) = scorer.bits_per_byte([text])
    assert in_nats(found, text, len(ids) - 1) == pytest.approx(total / counted, rel=1e-5)


def test_windows_lie_side_by_side_or_are_spread_evenly() -> None:
    assert windows_of(7, 70, CONTEXT) == [(7, 0, 32), (7, 32, 32), (7, 64, 6)]
    assert windows_of(0, 0, CONTEXT) == []
    many = windows_of(0, 1000 * CONTEXT + 1, CONTEXT)
    starts = np.array([window.start for window in many])
    assert len(many) == MOST_WINDOWS
    assert (starts[0], many[-1]) == (0, (0, 1000 * CONTEXT, 1))
    gaps = np.diff(starts) // CONTEXT
    assert set(gaps) <= {1000 // 31, 1000 // 31 + 1}


def test_text_like_the_training_text_has_fewer_bits(scorer: TextScorer) -> None:
    """Every one of 30 chains below every one of their shuffles, though the words are the same."""
    good = scorer.bits_per_byte([chain(7000 + i) for i in range(30)])
    bad = scorer.bits_per_byte([shuffled(7000 + i) for i in range(30)])
    assert max(good) < min(bad)


def test_a_process_gives_the_same_whatever_stands_beside_a_text(
    study: Study, scorer: TextScorer
) -> None:
    texts = [chain(8000 + i, 20 * i + 1) for i in range(20)] + ["", "ß 𝄞 \u0000"]
    told: list[float] = []
    with Scorer(open_model(study.run)) as process:
        found = process.measure(texts, told.append)["model_bpb"]
        alone = [float(process.measure([text], told.append)["model_bpb"][0]) for text in texts]
    assert told[0] == 1.0
    np.testing.assert_allclose(found, scorer.bits_per_byte(texts), rtol=1e-6)
    np.testing.assert_allclose(found, alone, rtol=1e-6)
    assert found[-2] == 0


def test_the_process_ends_with_its_stdin(study: Study) -> None:
    """In the middle of its work, as when whoever asked was killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "isoflop.training.score", str(study.run)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    send(process.stdin, ["word"])
    assert len(receive(process.stdout)) == 1
    send(process.stdin, [chain(i, 2000) for i in range(3000)])
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    assert process.stdout.read() == b""
    process.stdout.close()


def judged(study: Study, quality: QualitySection | None) -> DataSection:
    """Chains, and the mixed domain under a quality section."""
    mixed = DomainSection(name="mixed", source="path:mixed", quality=quality)
    return replace(study.section, domains=(*study.section.domains, mixed))


def by_model(study: Study, **rules: Any) -> QualitySection:
    return QualitySection(model=f"path:{study.run.relative_to(study.base)}", **rules)


def prepare(study: Study, folder: Path, quality: QualitySection | None) -> DataCard:
    section = judged(study, quality)
    return prepare_corpus(section, folder, base=study.base, seed=0, progress=silent)


@pytest.fixture(scope="module")
def limit(scorer: TextScorer) -> float:
    """Between chains and shuffles."""
    return float(np.mean(scorer.bits_per_byte([chain(9000), shuffled(9000)])))


def test_a_filter_keeps_the_better_half(
    study: Study, limit: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quality = by_model(study, max_model_bpb=limit)
    card = prepare(study, tmp_path, quality)
    rows = parquet.read_table(tmp_path / "dropped.parquet").to_pylist()
    assert {row["name"] for row in rows} == {f"bad{i}.txt" for i in range(30)}
    assert {(row["first"], row["domain"]) for row in rows} == {("max_model_bpb", "mixed")}
    assert card.domains[1].filtered_documents == 30
    # A condition, or the other side, or other statistics beside it: nothing is scored again.
    monkeypatch.setattr(Scorer, "_start", lambda self: 1 / 0)
    monkeypatch.setattr(quality_store, "measure_batches", lambda *a, **k: 1 / 0)
    where = by_model(study, where=(f"model_bpb <= {limit}",))
    assert prepare(study, tmp_path, where).domains[1].filtered_documents == 30
    other = by_model(study, min_model_bpb=limit, min_words=10)
    prepare(study, tmp_path, other)
    rows = parquet.read_table(tmp_path / "dropped.parquet").to_pylist()
    assert {row["name"] for row in rows} == {f"good{i}.txt" for i in range(30)}
    assert prepare(study, tmp_path, quality) == card


def test_the_recipe_holds_the_run_that_judges(
    study: Study, limit: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = prepare(study, tmp_path / "a", by_model(study, max_model_bpb=limit))
    plain = prepare(study, tmp_path / "a", None)
    assert plain.recipe_hash != card.recipe_hash
    # The same run elsewhere is the same; a checkpoint of other content is another.
    moved = tmp_path / "moved"
    shutil.copytree(study.run.parent.parent, moved)
    run = moved / "runs" / study.run.name
    assert open_model(run).version == open_model(study.run).version
    (checkpoint,) = (run / "checkpoints").glob("*.pt")
    state = checkpoints.load(checkpoint, torch.device("cpu"))
    checkpoints.save(run / "checkpoints", replace(state, wall_s=1.0), keep=False)
    assert open_model(run).version != open_model(study.run).version


def test_a_killed_scoring_goes_on_where_it_was(
    study: Study, limit: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is killed at its third request: one error, and what was scored is kept."""
    quality = by_model(study, max_model_bpb=limit)
    whole = prepare(study, tmp_path / "whole", quality)
    monkeypatch.setattr(quality_store, "SCORED_BYTES", 10_000)
    ask, asked = Scorer._ask, []

    def dying(self: Scorer, texts: Sequence[str]) -> list[float]:
        asked.append(len(texts))
        if len(asked) == 3:
            assert self._process is not None
            self._process.kill()
            self._process.wait()
        return ask(self, texts)

    monkeypatch.setattr(Scorer, "_ask", dying)
    with pytest.raises(WorkerError, match=r"ended with -9 .*Run the command again; what was"):
        prepare(study, tmp_path / "cut", quality)
    kept = [
        path for path in (tmp_path / "cut" / "work" / "quality").glob("*.parquet")
        if "model_bpb" in parquet.read_schema(path).names
    ]  # fmt: skip
    assert [parquet.read_table(path).num_rows for path in kept] == [sum(asked[:2])]
    asked[2:] = [0]
    assert prepare(study, tmp_path / "cut", quality) == whole
    assert sum(asked) == 60


def test_percentiles_are_shown_where_a_model_is_named(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before a threshold is chosen; a corpus wants one."""
    place = tmp_path / "study.toml"
    place.write_text(f"""
[data]
vocab_size = 300
validation_tokens = 1500
[[data.domains]]
name = "mixed"
source = "path:{study.base.as_posix()}/mixed"
quality = {{ model = "path:{study.run.as_posix()}" }}
[ladder]
widths = [32]
tokens = [100000]
""")
    assert run_verb(["data", str(place), "--quality", "--json"]) == 0
    (domain,) = json.loads(capsys.readouterr().out)["result"]["domains"]
    scores = domain["percentiles"]["model_bpb"]
    assert scores == sorted(scores)
    assert scores[0] > 0
    assert not (tmp_path / "data" / "card.json").exists()
    assert run_verb(["data", str(place)]) == 2
    assert "no rule asks for model_bpb. Add max_model_bpb" in capsys.readouterr().err


def test_what_cannot_judge_is_refused(study: Study, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(study.run.parent.parent, other)
    folder = RunFolder(other / "runs" / study.run.name)
    quality = replace(by_model(study, max_model_bpb=1.0), model=f"path:{folder.path}")

    def refused(words: str, section: QualitySection = quality) -> None:
        key = r"^data\.domains\.quality\.model = 'path:.*' of 'mixed': .*"
        with pytest.raises(DataError, match=key + words):
            prepare(study, tmp_path / "corpus", section)

    refused("is no run folder", replace(quality, model="path:mixed"))
    status = folder.status()
    for state in ("running", "diverged"):
        folder.set_status(replace(status, state=state))
        refused(f"the run is {state}, not done")
    folder.set_status(status)
    (checkpoint,) = folder.checkpoints.glob("*.pt")
    checkpoint.rename(folder.checkpoints / "last_00000100.pt")
    refused("holds no checkpoint of the last step, 200")
    (folder.checkpoints / "last_00000100.pt").rename(checkpoint)
    tokenizer = other / "data" / "tokenizer.json"
    text = tokenizer.read_text()
    tokenizer.write_text(text + "\n")
    refused("is not the tokenizer that the run was trained with")
    tokenizer.write_text(text)
    card = json.loads((other / "data" / "card.json").read_text())
    for change, words in (({"vocab_size": 301}, "the model has 300 ids and the tokenizer"),
                          ({"corpus_hash": "x"}, "is not the corpus that run")):  # fmt: skip
        (other / "data" / "card.json").write_text(json.dumps({**card, **change}))
        refused(words)
    assert not (tmp_path / "corpus" / "card.json").exists()


def test_a_broken_checkpoint_is_one_error(study: Study, tmp_path: Path) -> None:
    """Seen by the process alone, which loads it."""
    shutil.copytree(study.run.parent.parent, tmp_path / "other")
    run = tmp_path / "other" / "runs" / study.run.name
    (checkpoint,) = (run / "checkpoints").glob("*.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    quality = replace(by_model(study, max_model_bpb=1.0), model=f"path:{run}")
    with pytest.raises(DataError, match=r"^data\.domains\.quality\.model: .*corrupt checkpoint"):
        prepare(study, tmp_path / "corpus", quality)


def test_no_corpus_is_judged_by_its_own_run(study: Study, tmp_path: Path) -> None:
    """Its tokenizer would go; an arm leaves the corpus as it is, and may be judged by its run."""
    shutil.copytree(study.run.parent.parent, tmp_path / "own")
    data = tmp_path / "own" / "data"
    quality = replace(
        by_model(study, max_model_bpb=1e9), model=f"path:{tmp_path}/own/runs/{study.run.name}"
    )
    section = replace(study.section, domains=(replace(study.section.domains[0], quality=quality),))
    before = (data / "card.json").read_bytes()
    with pytest.raises(DataError, match=r"which would be prepared anew\. Name a run of another"):
        prepare_corpus(section, data, base=study.base, seed=0, progress=silent)
    assert (data / "card.json").read_bytes() == before
    arm = data / "arms" / "judged"
    card = prepare_arm(section, data, arm, base=study.base, seed=0, progress=silent)
    assert card.domains[0].filtered_documents == 0
    assert (data / "card.json").read_bytes() == before


def test_torch_is_asked_for_before_any_document_is_read(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "torch" else find(name, *a)
    )
    with pytest.raises(MissingExtraError, match=r"pip install 'isoflop\[train\]'"):
        prepare(study, tmp_path, by_model(study, max_model_bpb=1.0))
    assert not (tmp_path / "work").exists()
    assert prepare(study, tmp_path, None).domains[1].documents == 60
