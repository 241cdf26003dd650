"""A corpus with a Hugging Face tokenizer: its end mark, what it loses, bytes of its tokens."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer as Inner
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from isoflop._errors import DataError, StudyError
from isoflop.data import (
    DataCard,
    check_corpus,
    corpus_problems,
    load_tokenizer,
    open_choices,
    open_tokens,
    prepare_corpus,
)
from isoflop.data.foreign import find_foreign, settle_vocabulary
from isoflop.data.token_lengths import byte_lengths
from isoflop.data.tokenizer import Tokenizer
from isoflop.data.tokenizer_check import CHECKED, measure_fidelity
from isoflop.specs import DataSection, DomainSection

TEXTS = [
    "the run of a small model tells how large models do if laws hold, größer und kleiner",
    "a law of loss: 3 sizes and 12 horizons (of tokens) are enough. Ça suffit!",
    "日本語の文書 and a few words beside it; the end is near",
] * 40


def byte_level() -> Inner:
    """Byte-level BPE with other specials, a template that adds marks, and truncation."""
    inner = Inner(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(
            vocab_size=400, special_tokens=["<pad>", "<s>", "<eos>"], show_progress=False,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        ),
    )  # fmt: skip
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A <eos>", special_tokens=[("<s>", 1), ("<eos>", 2)]
    )
    inner.enable_truncation(5)
    inner.enable_padding()
    return inner


def word_piece() -> Inner:
    """Lower case, pieces of words, [UNK] for letters it has not seen."""
    inner = Inner(models.WordPiece(unk_token="[UNK]"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=["[UNK]", "[SEP]"], show_progress=False
    )
    inner.train_from_iterator([text[:60] for text in TEXTS[:2]] * 40, trainer)
    return inner


def unigram() -> Inner:
    """SentencePiece's kind: spaces are "▁"."""
    inner = Inner(models.Unigram())
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    inner.train_from_iterator(TEXTS, trainer)
    return inner


def byte_fallback() -> Inner:
    """Llama's kind: BPE over "▁", and bytes for what has no token."""
    inner = Inner(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<unk>", "</s>", *bytes_], show_progress=False
    )
    inner.train_from_iterator([text[:60] for text in TEXTS[:2]] * 40, trainer)
    data = json.loads(inner.to_str())
    data["added_tokens"] = data["added_tokens"][:2]
    data["model"] |= {"byte_fallback": True, "unk_token": "<unk>", "fuse_unk": True}
    whole = Inner.from_str(json.dumps(data))
    whole.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)]
    )  # fmt: skip
    return whole


KINDS: dict[str, Callable[[], Inner]] = {
    "byte_level": byte_level,
    "word_piece": word_piece,
    "unigram": unigram,
    "byte_fallback": byte_fallback,
}
ENDS = {"byte_level": "<eos>", "word_piece": "[SEP]", "unigram": "</s>", "byte_fallback": "</s>"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text, and a tokenizer of each kind beside it."""
    root = tmp_path_factory.mktemp("foreign")
    for kind, make in KINDS.items():
        (root / f"{kind}.json").write_text(make().to_str(), encoding="utf-8")
    rng = np.random.default_rng(0)
    (root / "text").mkdir()
    words = "\n".join(TEXTS[:2]).split()
    for i in range(120):
        text = f"{i} " + " ".join(rng.choice(words, 120))
        (root / "text" / f"{i:03d}.txt").write_text(text, encoding="utf-8")
    (root / "text" / "other.txt").write_text("日本語の文書 " * 40 + "größer", encoding="utf-8")
    return root


def section(tokenizer: str, **changes: Any) -> DataSection:
    domain = DomainSection(name="text", source="path:text")
    return DataSection(domains=(domain,), tokenizer=tokenizer, validation_tokens=1500, **changes)


def prepare(base: Path, folder: Path, asked: DataSection) -> DataCard:
    return prepare_corpus(asked, folder, base=base, seed=0, progress=lambda stage, share: None)


@pytest.fixture(scope="module")
def corpora(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A corpus by each kind of tokenizer."""
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in KINDS}
    for kind, folder in folders.items():
        prepare(base, folder, section(f"path:{kind}.json"))
    return folders


@pytest.mark.parametrize("kind", KINDS)
def test_the_shards_hold_the_documents_between_end_marks(
    base: Path, corpora: dict[str, Path], kind: str
) -> None:
    card = check_corpus(corpora[kind])
    inner = Inner.from_file(str(base / f"{kind}.json"))
    assert (card.tokenizer, card.end_token) == (f"path:{kind}.json", ENDS[kind])
    assert card.end_id == inner.token_to_id(ENDS[kind])
    assert card.vocab_size == inner.get_vocab_size()
    (domain,) = card.domains
    tokens = open_tokens(corpora[kind], "train", "text")
    assert tokens[-1] == card.end_id
    assert np.count_nonzero(tokens == card.end_id) == domain.train_documents
    inner.no_truncation()
    inner.no_padding()
    texts = [path.read_text(encoding="utf-8") for path in (base / "text").iterdir()]
    given = {tuple(inner.encode(text, add_special_tokens=False).ids) for text in texts}
    rows = np.split(tokens, np.flatnonzero(tokens == card.end_id) + 1)[:-1]
    assert len(rows) == domain.train_documents
    assert all(tuple(row[:-1].tolist()) in given for row in rows)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_tokenizer_loses_is_told(corpora: dict[str, Path], kind: str) -> None:
    card = check_corpus(corpora[kind])
    assert card.checked_documents == 121
    codes = [problem.code for problem in corpus_problems(card)]
    if kind == "byte_level":
        assert (card.inexact_documents, card.unknown_tokens, codes) == (0, 0, [])
    if kind == "byte_fallback":
        assert (card.inexact_documents, card.unknown_tokens) == (0, 0)
    if kind == "word_piece":  # lower case everywhere; one document of letters it has not seen
        assert card.inexact_documents == 121
        assert card.unknown_tokens >= 40
        assert codes == ["inexact_tokenizer"]


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_of_tokens_add_up_to_the_text(corpora: dict[str, Path], kind: str) -> None:
    tokenizer = load_tokenizer(corpora[kind])
    lengths = byte_lengths(corpora[kind], tokenizer.vocab_size)
    for text in TEXTS[:2]:
        ids = tokenizer.encode(text)
        start = len(tokenizer.decode(ids[:1]).encode())
        expected = len(tokenizer.decode(ids).encode()) - start
        if kind == "word_piece" and not text.isascii():
            continue
        if kind == "word_piece":  # a decoder that joins "(" and "do" over spaces of its own
            assert lengths[ids[1:]].sum() == pytest.approx(expected, abs=4)
        else:
            assert lengths[ids[1:]].sum() == expected
    if kind in ("byte_level", "byte_fallback"):
        text = "x日本語 é"  # the other kind puts a space before it
        before = 1 if kind == "byte_fallback" else 0
        assert lengths[tokenizer.encode(text)].sum() == before + len(text.encode())


@pytest.mark.parametrize("kind", KINDS)
def test_multiple_choice_holds_no_end_mark(corpora: dict[str, Path], kind: str) -> None:
    card = check_corpus(corpora[kind])
    made = open_choices(corpora[kind], "text", context=8)
    assert card.end_id not in made.prompt
    assert card.end_id not in made.choices
    assert np.all(made.answer_bytes > 0)
    tokenizer = load_tokenizer(corpora[kind])
    if kind == "byte_level":
        for choices, answer, size in zip(made.choices, made.answer, made.answer_bytes, strict=True):
            assert len(tokenizer.decode(choices[answer].tolist()).encode()) == size


def test_a_text_that_spells_the_end_mark_is_told(base: Path, tmp_path: Path) -> None:
    """A Unigram model may take the piece "</s>" for what it spells; byte-level BPE never does."""
    source = tmp_path / "in"
    source.mkdir()
    for i in range(40):
        text = f"{i} {i * i} a</s>b <eos> " + " ".join(TEXTS[i % 2].split()[i % 5 :]) * 3
        (source / f"{i}.txt").write_text(text, encoding="utf-8")
    for kind, ends in (("byte_level", 0), ("unigram", 1)):
        domain = DomainSection(name="text", source="path:in")
        asked = DataSection(
            domains=(domain,), tokenizer=f"path:{base / kind}.json", validation_tokens=100,
            jaccard=1.0,
        )  # fmt: skip
        card = prepare(tmp_path, tmp_path / kind, asked)
        (kept,) = card.domains
        assert card.early_ends == ends * (kept.train_documents + kept.val_documents)
        codes = [problem.code for problem in corpus_problems(card)]
        assert ("early_ends" in codes) == (ends > 0)


def test_the_file_and_its_end_mark_are_part_of_the_recipe(base: Path, tmp_path: Path) -> None:
    asked = section("path:byte_level.json")
    card = prepare(base, tmp_path / "a", asked)
    (tmp_path / "moved.json").write_bytes((base / "byte_level.json").read_bytes())
    moved = prepare(base, tmp_path / "b", section(f"path:{tmp_path / 'moved.json'}"))
    assert (moved.recipe_hash, moved.corpus_hash) == (card.recipe_hash, card.corpus_hash)
    settled = settle_vocabulary(asked, base=base, folder=tmp_path / "none")
    assert settled.n_ids == card.vocab_size
    assert prepare(base, tmp_path / "a", settled) == card
    other = prepare(base, tmp_path / "c", replace(asked, end_token="<pad>"))
    assert other.end_id == 0
    assert other.recipe_hash != card.recipe_hash
    assert other.corpus_hash != card.corpus_hash
    own = prepare(base, tmp_path / "d", section("own", vocab_size=300))
    assert (own.tokenizer, own.end_id, own.checked_documents) == ("own", 0, 0)


def test_what_is_wrong_with_a_file_is_said(base: Path, tmp_path: Path) -> None:
    def refuse(text: str, words: str, **changes: Any) -> None:
        (tmp_path / "t.json").write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=words):
            find_foreign(section("path:t.json", **changes), base=tmp_path)

    whole = (base / "byte_level.json").read_text(encoding="utf-8")
    with pytest.raises(DataError, match=r"data\.tokenizer = 'path:gone\.json'.*No such file"):
        find_foreign(section("path:gone.json"), base=tmp_path)
    for text in ("{", "[]", "3", '{"model": {"vocab": []}}', '{"model": {"vocab": {"a": -1}}}'):
        refuse(text, "no tokenizer.json of Hugging Face")
    refuse(whole.replace('"<eos>"', '"<fin>"'), r"no <\|endoftext\|> nor .*\[SEP\]")
    refuse(whole, r"no <fin>.*data\.end_token", end_token="<fin>")
    refuse(whole, r"data\.vocab_size = 999: .* has 390 ids", vocab_size=999)
    refuse(whole.replace('"ByteLevel"', '"Alien"'), "is no tokenizer")


def test_a_copied_study_knows_its_vocabulary_without_the_file(
    base: Path, corpora: dict[str, Path], tmp_path: Path
) -> None:
    asked = section("path:byte_level.json")
    found = settle_vocabulary(asked, base=tmp_path, folder=corpora["byte_level"])
    assert found.n_ids == 390
    with pytest.raises(DataError, match="No such file"):
        settle_vocabulary(asked, base=tmp_path, folder=tmp_path)
    with pytest.raises(StudyError, match="its file was not read"):
        _ = asked.n_ids


def test_dropout_and_marks_around_a_text_are_left_out(base: Path, tmp_path: Path) -> None:
    data = json.loads((base / "byte_level.json").read_text(encoding="utf-8"))
    data["model"]["dropout"] = 0.5
    (tmp_path / "t.json").write_text(json.dumps(data), encoding="utf-8")
    foreign = find_foreign(section("path:t.json"), base=tmp_path)
    plain = find_foreign(section("path:byte_level.json"), base=base)
    assert foreign is not None
    assert plain is not None
    assert foreign.version != plain.version
    assert foreign.load().encode(TEXTS[0]) == plain.load().encode(TEXTS[0])
    assert foreign.load().to_json() == plain.load().to_json()


def test_ids_beyond_two_bytes_are_kept_whole(base: Path, tmp_path: Path) -> None:
    """The byte-level tokenizer with every id raised by 70,000: the same tokens, four bytes each."""
    data = json.loads((base / "byte_level.json").read_text(encoding="utf-8"))
    data["model"]["vocab"] = {t: i + 70_000 for t, i in data["model"]["vocab"].items()}
    for token in data["added_tokens"]:
        token["id"] += 70_000
    (tmp_path / "high.json").write_text(json.dumps(data), encoding="utf-8")
    high = prepare(base, tmp_path / "a", section(f"path:{tmp_path / 'high.json'}"))
    low = prepare(base, tmp_path / "b", section("path:byte_level.json"))
    assert (high.end_id, high.vocab_size) == (low.end_id + 70_000, low.vocab_size + 70_000)
    for split in ("train", "val"):
        found, expected = (open_tokens(tmp_path / name, split, "text") for name in "ab")
        assert np.array_equal(found.astype(np.int64), expected.astype(np.int64) + 70_000)
    assert check_corpus(tmp_path / "a").inexact_documents == 0


def test_the_documents_that_are_compared_are_spread_over_all() -> None:
    tokenizer = Tokenizer(byte_level(), name="path:tokenizer.json", end_token="<eos>")
    asked: list[int] = []

    def text_of(place: int) -> str:
        asked.append(place)
        return "a"

    ids = np.array([*tokenizer.encode("a"), tokenizer.end_id], dtype=np.uint16)
    measure_fidelity(tokenizer, 399, lambda place: ids, text_of)
    assert len(set(asked)) == CHECKED
    assert asked[0] == 0
    assert asked[-1] >= 397
    assert max(np.diff(asked)) == 2
