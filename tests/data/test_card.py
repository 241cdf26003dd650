"""A data card with an impossible value is refused by the name of its key."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isoflop._errors import DataError
from isoflop.data import corpus_problems
from isoflop.data.card import DataCard, DomainCard, read_card

DOMAIN = DomainCard(
    name="prose", source="path:prose", version="1", licence="CC0", weight=1.0, content_sha256="a",
    short_documents=0, unsampled_documents=0, replaced_documents=0, documents=3, bytes=900,
    exact_duplicates=0, near_duplicates=0, largest_cluster=1, train_documents=2, train_tokens=200,
    val_documents=1, val_tokens=100, bytes_per_token=3.0, train_sha256="b", val_sha256="c",
)  # fmt: skip
CARD = DataCard(
    recipe_hash="d", corpus_hash="e", vocab_size=300, domains=(DOMAIN,), tokenizer_sha256="f"
)


def _read(folder: Path, data: Any) -> DataCard:
    (folder / "card.json").write_text(json.dumps(data), encoding="utf-8")
    return read_card(folder)


def test_a_card_is_read_back(tmp_path: Path) -> None:
    assert _read(tmp_path, CARD.to_json()) == CARD


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("vocab_size", None), ("vocab_size", "abc"), ("vocab_size", 1.5), ("corpus_hash", 7),
        ("domains", None), ("domains", []),
    ],
)  # fmt: skip
def test_a_bad_value_is_named(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(DataError, match=rf"card\.json: not a data card: {key} = .*isoflop data"):
        _read(tmp_path, {**CARD.to_json(), key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train_tokens", None), ("train_tokens", -1), ("train_tokens", True), ("name", 3),
        ("bytes_per_token", 0.0), ("bytes_per_token", float("nan")), ("weight", "abc"),
    ],
)  # fmt: skip
def test_a_bad_value_of_a_domain_is_named(tmp_path: Path, key: str, value: Any) -> None:
    data = CARD.to_json()
    data["domains"] = [{**data["domains"][0], key: value}]
    with pytest.raises(DataError, match=rf"card\.json: not a data card: domain 1: {key} = "):
        _read(tmp_path, data)


def test_keys_are_exact(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the key 'mood' is unknown"):
        _read(tmp_path, {**CARD.to_json(), "mood": 1})
    short = CARD.to_json()
    del short["domains"][0]["bytes"]
    with pytest.raises(DataError, match="domain 1: the key 'bytes' is missing"):
        _read(tmp_path, short)


@pytest.mark.parametrize("data", [[], None, 3, "text"])
def test_another_shape_is_no_card(tmp_path: Path, data: Any) -> None:
    with pytest.raises(DataError, match="not a JSON object"):
        _read(tmp_path, data)


def test_a_card_of_before_duplicate_bytes_is_read(tmp_path: Path) -> None:
    data = CARD.to_json()
    data["domains"] = [{k: v for k, v in data["domains"][0].items() if k != "duplicate_bytes"}]
    assert _read(tmp_path, data) == CARD


def test_a_card_of_before_tokenizers_is_of_the_corpus_own(tmp_path: Path) -> None:
    later = ("tokenizer", "end_token", "end_id", "checked_documents", "inexact_documents",
             "unknown_tokens", "early_ends")  # fmt: skip
    card = _read(tmp_path, {k: v for k, v in CARD.to_json().items() if k not in later})
    assert card == CARD
    assert (card.end_id, card.tokenizer, card.dtype) == (0, "own", "<u2")
    assert replace(card, vocab_size=65_536).dtype == "<u2"
    assert replace(card, vocab_size=65_537).dtype == "<u4"


def test_an_end_mark_is_one_of_the_ids(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="end_id = 300 is not below vocab_size"):
        _read(tmp_path, {**CARD.to_json(), "end_id": 300})


def test_alarms_of_the_tokenizer() -> None:
    def codes(**changes: int) -> list[str]:
        return [problem.code for problem in corpus_problems(replace(CARD, **changes))]

    assert codes(checked_documents=3) == []
    assert codes(checked_documents=3, inexact_documents=1) == ["inexact_tokenizer"]
    assert codes(unknown_tokens=1, early_ends=2) == ["inexact_tokenizer", "early_ends"]
    (problem,) = corpus_problems(replace(CARD, unknown_tokens=3))
    assert "1.00% of all tokens" in problem.text  # of 200 + 100


def _codes(**changes: int) -> list[str]:
    plain = replace(DOMAIN, documents=3000, bytes=900_000)
    return [
        p.code for p in corpus_problems(replace(CARD, domains=(plain, replace(plain, **changes))))
    ]


def test_alarms_of_the_removal_of_duplicates() -> None:
    assert _codes() == []
    assert _codes(exact_duplicates=1000, near_duplicates=500) == []
    assert _codes(exact_duplicates=1000, near_duplicates=501) == ["mostly_duplicates"]
    assert _codes(duplicate_bytes=450_000) == []
    assert _codes(duplicate_bytes=450_001) == ["mostly_duplicates"]
    # 1 % of the 6,000 documents of both domains.
    assert _codes(largest_cluster=60) == []
    assert _codes(largest_cluster=61) == ["large_cluster"]
    small = replace(DOMAIN, documents=100, largest_cluster=20)
    assert corpus_problems(replace(CARD, domains=(small,))) == ()
    (problem,) = corpus_problems(replace(CARD, domains=(replace(small, largest_cluster=21),)))
    assert "21 of 100 documents" in problem.text
