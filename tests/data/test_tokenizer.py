"""Byte-level BPE is exact in both directions and the same every time."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoflop._errors import DataError
from isoflop.data.documents import Document, make_document
from isoflop.data.tokenizer import END_ID, Tokenizer, load_tokenizer, train_tokenizer


def documents() -> list[Document]:
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefgh"), 4)) for _ in range(300)]
    return [make_document(str(i), " ".join(rng.choice(words, 200))) for i in range(50)]


TOKENIZER = train_tokenizer([documents()], 400)


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_round_trip_is_exact(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_a_document_that_spells_the_end_mark_does_not_end() -> None:
    text = "before <|endoftext|> after"
    ids = TOKENIZER.encode(text)
    assert END_ID not in ids
    assert TOKENIZER.decode(ids) == text
    (packed,) = TOKENIZER.encode_documents([text])
    assert packed.tolist() == [*ids, END_ID]


def test_vocabulary_and_files_survive(tmp_path: Path) -> None:
    assert TOKENIZER.vocab_size == 400
    (tmp_path / "tokenizer.json").write_text(TOKENIZER.to_json(), encoding="utf-8")
    again = load_tokenizer(tmp_path)
    text = "abcd efgh <|endoftext|> é"
    assert again.encode(text) == TOKENIZER.encode(text)


def test_training_is_deterministic_and_ignores_order() -> None:
    again: Tokenizer = train_tokenizer([documents()[::-1]], 400)
    assert again.to_json() == TOKENIZER.to_json()


def test_batches_do_not_change_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [document.text for document in documents()]
    whole = TOKENIZER.encode_documents(texts)
    monkeypatch.setattr("isoflop.data.tokenizer._BATCH_CHARS", 3000)
    shares: list[float] = []
    parts = TOKENIZER.encode_documents(texts, shares.append)
    assert all(np.array_equal(a, b) for a, b in zip(whole, parts, strict=True))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_too_little_text_for_the_vocabulary() -> None:
    with pytest.raises(DataError, match=r"data\.vocab_size = 5000: .* Lower data\.vocab_size"):
        train_tokenizer([[make_document("a", "too little text")]], 5000)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"tokenizer\.json: not a tokenizer"):
        load_tokenizer(tmp_path)
