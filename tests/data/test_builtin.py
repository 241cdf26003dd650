"""The built-in tokenizers give the published ids, alone and as a `tokenizer.json`."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoflop._errors import DataError
from isoflop.data.builtin import BUILT_INS, built_in_json
from isoflop.data.engine import encode_texts
from isoflop.data.foreign import find_foreign
from isoflop.data.tokenizer import Tokenizer
from isoflop.specs import DataSection, DomainSection
from isoflop.specs.tokenizer import BUILT_IN


def load(name: str) -> Tokenizer:
    section = DataSection(domains=(DomainSection(name="a", source="path:a"),), tokenizer=name)
    foreign = find_foreign(section, base=Path())
    assert foreign is not None
    assert foreign.version == name
    return foreign.load()


TOKENIZERS = {name: load(name) for name in BUILT_IN}
NAMES = pytest.mark.parametrize("name", BUILT_IN)


@pytest.mark.parametrize(
    ("name", "ids"),
    # OpenAI's cookbook, "How to count tokens with tiktoken": the same text in each encoding.
    [
        ("r50k_base", [15496, 995]),
        ("cl100k_base", [9906, 1917]),
        ("o200k_base", [13225, 2375]),
    ],
)
def test_published_ids(name: str, ids: list[int]) -> None:
    tokenizer = TOKENIZERS[name]
    assert tokenizer.encode("Hello world") == ids
    (packed,) = tokenizer.encode_documents(["Hello world"])
    assert packed.tolist() == [*ids, tokenizer.end_id]


@NAMES
def test_the_vocabulary_is_the_published_one(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    ends = {"r50k_base": 50_256, "cl100k_base": 100_257, "o200k_base": 199_999}
    assert (tokenizer.end_id, tokenizer.vocab_size) == (ends[name], BUILT_IN[name])
    assert max(BUILT_INS[name].special.values()) + 1 == BUILT_IN[name]
    wide = name != "r50k_base"
    (packed,) = tokenizer.encode_documents([""])
    assert packed.dtype == (np.uint32 if wide else np.uint16)


@NAMES
@settings(max_examples=12, deadline=None)
@given(texts=st.lists(st.text(max_size=80), min_size=10, max_size=40))
def test_daft_and_the_file_agree_and_the_text_comes_back(name: str, texts: list[str]) -> None:
    tokenizer = TOKENIZERS[name]
    for text, ids in zip(texts, tokenizer.encode_documents(texts), strict=True):
        assert ids[:-1].tolist() == tokenizer.encode(text)
        assert tokenizer.decode(ids[:-1].tolist()) == text


@NAMES
def test_every_script_gives_the_same_ids_in_both(name: str) -> None:
    """What a letter is follows Unicode tables that the two libraries bring along, each its own."""
    codes = [*range(0x20, 0xD800, 3), *range(0xE000, 0x20000, 5)]
    texts = [f"a{chr(c)}b {chr(c)}{chr(c)} {chr(c)}1\n{chr(c)}" for c in codes]
    tokenizer = TOKENIZERS[name]
    found = encode_texts(texts, name)
    assert all(
        ids.tolist() == tokenizer.encode(text) for text, ids in zip(texts, found, strict=True)
    )


@NAMES
def test_special_tokens_in_a_text_are_text(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    special = BUILT_INS[name].special
    text = "before " + " ".join(special) + "".join(special) + "after"
    (ids,) = tokenizer.encode_documents([text])
    assert not set(ids[:-1].tolist()) & set(special.values())
    assert tokenizer.decode(ids[:-1].tolist()) == text


def test_order_does_not_depend_on_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isoflop.data.engine.PART_CHARS", 500)
    texts = [f"document {i} " * (i % 7) for i in range(300)]
    found = encode_texts(texts, "r50k_base")
    tokenizer = TOKENIZERS["r50k_base"]
    assert [ids.tolist() for ids in found] == [tokenizer.encode(text) for text in texts]
    assert encode_texts([], "r50k_base") == []


def test_another_daft_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isoflop.data.builtin.carried_table", lambda *_: None)
    with pytest.raises(DataError, match=r"data\.tokenizer = 'r50k_base'.*path:tokenizer\.json"):
        built_in_json("r50k_base")
