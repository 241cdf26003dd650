"""Tokenizers that are not the corpus's own: a Hugging Face file, or one known by name."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from isoflop._errors import DataError
from isoflop.data.builtin import built_in_json
from isoflop.data.card import read_card
from isoflop.data.engine import Engine
from isoflop.data.tokenizer import END_OF_TEXT, Tokenizer, import_tokenizers
from isoflop.specs import DataSection
from isoflop.specs.tokenizer import BUILT_IN

END_TOKENS = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "[SEP]")
"""What ends a document where a vocabulary has it, the first of them first."""

_MAX_ID = 10**7
"""No vocabulary is larger: a file that says so is damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """A tokenizer that is there before the corpus; `version` is part of the recipe."""

    version: str
    load: Callable[[], Tokenizer]


def find_foreign(section: DataSection, *, base: Path) -> Foreign | None:
    """The tokenizer that a study names; None for one of the corpus's own.

    Raises:
        DataError: the file is missing or no tokenizer, has no end mark, or another vocabulary than
            data.vocab_size says.
    """
    name = section.tokenizer
    if name in BUILT_IN:
        return Foreign(version=name, load=partial(_load_built_in, name, section.engine))
    if not name.startswith("path:"):
        return None
    text, data = _read(section, base)
    end_token = _end_token(section, data)
    _check_size(section, 1 + max(vocabulary_of(data).values()))
    tokenizer = _load_file(section, base, data, end_token)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Foreign(version=f"sha256:{digest}", load=lambda: tokenizer)


def settle_vocabulary(section: DataSection, *, base: Path, folder: Path) -> DataSection:
    """The section with the vocabulary of its tokenizer file, where it names one.

    Args:
        section: what the study file says.
        base: what the file is relative to.
        folder: the corpus folder: its card answers where the file is gone, as in a copied study.

    Raises:
        DataError: the file is missing or no tokenizer, has no end mark, or another vocabulary than
            data.vocab_size says.
    """
    if not section.tokenizer.startswith("path:"):
        return section
    if not _path(section, base).exists() and (folder / "card.json").is_file():
        return replace(section, vocab_size=read_card(folder).vocab_size)
    _, data = _read(section, base)
    _end_token(section, data)
    size = 1 + max(vocabulary_of(data).values())
    _check_size(section, size)
    return replace(section, vocab_size=size)


def vocabulary_of(data: Mapping[str, Any]) -> dict[str, int]:
    """The id of every token of a `tokenizer.json`, those added to it too."""
    vocab = data["model"]["vocab"]
    if isinstance(vocab, list):  # Unigram: [piece, score], the id is the place
        vocab = {piece: place for place, (piece, _) in enumerate(vocab)}
    added = {token["content"]: token["id"] for token in data.get("added_tokens") or ()}
    return {**vocab, **added}


def _read(section: DataSection, base: Path) -> tuple[str, dict[str, Any]]:
    path = _path(section, base)
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text)
        ids = [int(token) for token in vocabulary_of(data).values()]
        if not 0 <= min(ids) <= max(ids) <= _MAX_ID:
            raise ValueError(f"ids from {min(ids)} to {max(ids)}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or repr(error)
        raise DataError(
            f"data.tokenizer = {section.tokenizer!r}: {path} is no tokenizer.json of Hugging Face "
            f"({reason}). Name one, relative to the study file."
        ) from error
    return text, data


def _path(section: DataSection, base: Path) -> Path:
    return base / Path(section.tokenizer.removeprefix("path:")).expanduser()


def _end_token(section: DataSection, data: Mapping[str, Any]) -> str:
    wanted = (section.end_token,) if section.end_token else END_TOKENS
    vocabulary = vocabulary_of(data)
    for token in wanted:
        if token in vocabulary:
            return token
    raise DataError(
        f"data.tokenizer = {section.tokenizer!r}: its vocabulary has no {' nor '.join(wanted)}, "
        "and documents need an end mark. Name a token that it has: data.end_token."
    )


def _check_size(section: DataSection, size: int) -> None:
    if section.vocab_size not in (None, size):
        raise DataError(
            f"data.vocab_size = {section.vocab_size}: the tokenizer {section.tokenizer!r} has "
            f"{size} ids. Leave data.vocab_size out."
        )


def _load_file(
    section: DataSection, base: Path, data: Mapping[str, Any], end_token: str
) -> Tokenizer:
    """The tokenizer as it is trained with: no marks around a text, nothing cut, no chance."""
    plain = {**data, "truncation": None, "padding": None, "post_processor": None}
    if data["model"].get("dropout") is not None:
        plain["model"] = {**data["model"], "dropout": None}
    path = _path(section, base)
    tokenizers = import_tokenizers()
    try:
        inner = tokenizers.Tokenizer.from_str(json.dumps(plain, ensure_ascii=False))
    except Exception as error:  # tokenizers raises nothing narrower
        raise DataError(
            f"data.tokenizer = {section.tokenizer!r}: {path} is no tokenizer ({error}). "
            "Name a tokenizer.json that the tokenizers library reads."
        ) from error
    return Tokenizer(inner, name=f"path:{path.name}", end_token=end_token)


def _load_built_in(name: str, engine: Engine) -> Tokenizer:
    inner = import_tokenizers().Tokenizer.from_str(built_in_json(name))
    return Tokenizer(inner, name=name, engine=engine)
