"""A vocabulary beyond 65,536 ids: 4-byte shards are trained on, asked about and exported."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isoflop.data import check_corpus, open_choices, open_tokens, prepare_corpus
from isoflop.data.engine import encode_texts
from isoflop.runs import RunFolder
from isoflop.specs import DataSection, DataSpec, DomainSection, ModelShape, RunConfig, Schedule
from isoflop.specs.shape import PRESETS
from isoflop.training import train_run
from isoflop.training.export import export_run
from optional import need_package

WISH = {
    "threads": 1, "micro_batch": 0, "device": "cpu", "dtype": "float32", "compile": False,
    "checkpoint_seconds": 1e9, "multiple_choice": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory, tiny_text: Path) -> Path:
    """The tiny text in cl100k's ids."""
    folder = tmp_path_factory.mktemp("wide")
    section = DataSection(
        domains=(DomainSection(name="prose", source="path:prose"),),
        tokenizer="cl100k_base",
        validation_tokens=1500,
    )
    prepare_corpus(section, folder, base=tiny_text, seed=0, progress=lambda _label, _share: None)
    return folder


@pytest.fixture
def run(wide: Path, tiny_trunk: RunConfig, tiny_shape: ModelShape) -> RunConfig:
    """60 steps."""
    card = check_corpus(wide)
    return replace(
        tiny_trunk,
        shape=replace(tiny_shape, vocab_size=card.vocab_size, **PRESETS["llama"]),
        data=DataSpec(corpus_hash=card.corpus_hash, weights=(("prose", 1.0),)),
        schedule=Schedule(kind="cosine", warmup_tokens=256, n_tokens=60 * 64),
    )


def test_shards_hold_four_bytes_a_token(wide: Path, tiny_text: Path) -> None:
    card = check_corpus(wide)
    assert (card.vocab_size, card.end_id, card.dtype) == (100_277, 100_257, np.dtype("<u4"))
    assert (card.inexact_documents, card.unknown_tokens, card.early_ends) == (0, 0, 0)
    assert card.checked_documents == 60
    paths = sorted((tiny_text / "prose").iterdir())
    texts = [path.read_text(encoding="utf-8").strip() for path in paths]
    expected = sorted([*ids.tolist(), 100_257] for ids in encode_texts(texts, "cl100k_base"))
    found = []
    for split in ("train", "val"):
        tokens = open_tokens(wide, split, "prose")
        assert tokens.dtype == np.uint32
        rows = np.split(tokens, np.flatnonzero(tokens == card.end_id) + 1)[:-1]
        found += [row.tolist() for row in rows]
    assert sorted(found) == expected


def test_it_is_trained_asked_and_exported(wide: Path, tmp_path: Path, run: RunConfig) -> None:
    folder = RunFolder.create(tmp_path / "runs", run)
    train_run(wide, folder, holds=[], wish=WISH)
    final = folder.final()
    assert final is not None
    assert final.loss < math.log(run.shape.vocab_size) - 0.5  # a guess among all ids, and better
    card = check_corpus(wide)
    bpb = final.loss / math.log(2) / card.domains[0].bytes_per_token
    assert final.bpb == pytest.approx(bpb, rel=1e-6)
    questions = open_choices(wide, "prose", context=16)
    assert questions.choices.dtype == np.uint32
    assert np.array_equal(open_choices(wide, "prose", context=16).choices, questions.choices)
    assert 0 <= final.acc_by_domain["prose"] <= 1

    need_package("transformers", "hf")
    from transformers import AutoTokenizer

    assert export_run(folder.path, tmp_path / "hf", wide)["tokenizer"]
    config = json.loads((tmp_path / "hf" / "config.json").read_text(encoding="utf-8"))
    assert (config["vocab_size"], config["eos_token_id"]) == (100_277, 100_257)
    theirs = AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert (theirs.eos_token, theirs.eos_token_id) == ("<|endoftext|>", 100_257)
    text = "Größe, 12345 laws don't  lie;\n\n日本語 😀"
    (ids,) = encode_texts([text], "cl100k_base")
    assert theirs(text, add_special_tokens=False)["input_ids"] == ids.tolist()
    assert theirs.decode(ids.tolist()) == text
