"""The table of words gives what the library gives, and says where it cannot tell."""

import random
import unicodedata

import numpy as np
import pytest

from isoflop.data import word_cache
from isoflop.data.documents import make_document
from isoflop.data.tokenizer import Tokenizer, train_tokenizer
from isoflop.data.word_cache import WordCache, segments, splits_like_gpt2

PLAIN = (
    "the", "don't", "I'LL", "we'll", "they're", "it's", "'tis", "''", "'d'ye", "\t\n", "\r\n",
    "\n\n", "\x0b", "\x1c\x1f", "42", "4,200.5", "x1y2", "_under_score;", "!?!", "---",
    "<|endoftext|>",
)  # fmt: skip
OTHER = (
    "éclair", "Ünïted", "naïve", "數學", "½", "Ⅷ", "²", "\xa0", "\u2003", "\u200b\u3000", "\x85",
    "№", "°", "\ufeff",
)  # fmt: skip
WORDS = [*PLAIN * 5, *OTHER]


def library(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    texts = (" ".join(random.Random(seed).choices([*PLAIN, *OTHER], k=300)) for seed in range(20))
    return train_tokenizer([[make_document(str(i), text) for i, text in enumerate(texts)]], 450)


def cache_of(tokenizer: Tokenizer) -> WordCache:
    assert tokenizer._words is not None
    return tokenizer._words


def test_equal_to_the_library_on_texts_of_all_kinds(tokenizer: Tokenizer) -> None:
    rng, told = random.Random(0), 0
    for _ in range(500):
        text = "".join(rng.choice(["", " ", "  ", "\n", " \n "]) + word
                       for word in rng.choices(WORDS, k=rng.randrange(60)))  # fmt: skip
        ids = cache_of(tokenizer).ids(text)
        told += ids is not None
        assert ids is None or ids.tolist() == library(tokenizer, text), text
    assert told > 250


def test_equal_to_the_library_on_every_character_that_it_knows(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between letters, digits, blanks and marks: each class of characters parts them otherwise."""
    monkeypatch.setattr(word_cache, "MOSTLY_ASCII", 9.0)
    cache, known = cache_of(tokenizer), 0
    for code in [*range(0xD800), *range(0xE000, 0x10000), 0x1F600, 0x20000]:
        character = chr(code)
        marked = "a_b 1_2 _ __\n_._"
        text = marked.replace("_", character)
        ids = cache.ids(text)
        known += ids is not None
        assert ids is None or ids.tolist() == library(tokenizer, text), f"U+{code:04X}"
        if unicodedata.category(character) == "Cn" or code > 0xFFFF:
            assert ids is None
    assert known > 40_000


def test_packed_documents_are_equal_whatever_finds_their_tokens(tokenizer: Tokenizer) -> None:
    texts = [
        "plain words " * 50,
        "數學數學 " * 30,
        "",
        "new sign \U0001fae8",
        "über alles",
        "x" * 500,
    ]
    packed = tokenizer.encode_documents(texts)
    assert [ids.tolist() for ids in packed] == [[*library(tokenizer, text), 0] for text in texts]


def test_a_long_text_in_segments_is_the_same_text(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_cache, "SEGMENT_CHARS", 50)
    rng = random.Random(1)
    for _ in range(50):
        text = "".join(
            rng.choices(["word", " ", "\n", "\n\n", "  \n", "7", "'s", "\t", "數"], k=400)
        )
        parts = list(segments(text))
        assert "".join(parts) == text
        assert len(parts) >= 3
        assert [i for part in parts for i in library(tokenizer, part)] == library(tokenizer, text)
        (packed,) = tokenizer.encode_documents([text])
        assert packed[:-1].tolist() == library(tokenizer, text)


def test_a_full_table_starts_anew(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_cache, "MOST_WORDS", 10)
    cache = WordCache(tokenizer._inner, np.dtype("<u2"))
    text = " ".join(f"w{i} common" for i in range(200)) + "y" * 100
    ids = cache.ids(text)
    assert ids is not None
    assert ids.tolist() == library(tokenizer, text)
    assert len(cache) <= 10


def test_another_kind_of_tokenizer_is_left_to_the_library() -> None:
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers

    def made(**parts: object) -> tokenizers.Tokenizer:
        inner = tokenizers.Tokenizer(models.BPE())
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        for name, part in parts.items():
            setattr(inner, name, part)
        return inner

    assert splits_like_gpt2(made())
    for other in (
        {"pre_tokenizer": pre_tokenizers.ByteLevel(add_prefix_space=True)},
        {"pre_tokenizer": pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)},
        {"pre_tokenizer": pre_tokenizers.Whitespace()},
        {"normalizer": normalizers.NFC()},
        {"model": models.BPE(dropout=0.1)},
        {"model": models.BPE(ignore_merges=True)},
        {"model": models.Unigram()},
    ):
        assert not splits_like_gpt2(made(**other)), other
    spelt = made()
    spelt.add_tokens(["word"])
    assert not splits_like_gpt2(spelt)
