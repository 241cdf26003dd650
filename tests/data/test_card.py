"""A data card with an impossible value is refused by the name of its key."""

import json
from pathlib import Path
from typing import Any

import pytest

from isoflop._errors import DataError
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
