"""`DataCard`: what a corpus is made of, with the hash of every file."""

import json
import sys
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from isoflop._errors import DataError
from isoflop.data.shards import Split, dtype_of, hash_file, shard_path

CARD_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCount:
    """Documents that one quality rule drops."""

    rule: str
    first: int
    """Those that fail no rule before it: these add up to all that were dropped."""
    all: int
    """All that fail it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainCard:
    """One domain: documents = exact_ + near_duplicates + contaminated_ + withheld_ + train_ +
    val_documents."""

    name: str
    source: str
    version: str
    """Version of the package; of a path, `sha256:` and the hash of its files."""
    licence: str
    weight: float
    content_sha256: str
    """Over the (name, content) of every document that the source holds, sorted."""
    short_documents: int
    """Left out: shorter than `min_chars`, or empty."""
    unsampled_documents: int
    """Left out: beyond `max_mb`."""
    replaced_documents: int
    """Kept, with bytes that were not UTF-8 replaced by U+FFFD."""
    documents: int
    """Documents that went into the removal of duplicates."""
    bytes: int
    """Bytes of their text in UTF-8."""
    exact_duplicates: int
    near_duplicates: int
    duplicate_bytes: int = 0
    """Bytes of the text of the duplicates that were removed (0 in cards of before this key)."""
    largest_cluster: int
    """Documents, of any domain, in the largest duplicate cluster that this domain has part in."""
    train_documents: int
    train_tokens: int
    val_documents: int
    val_tokens: int
    bytes_per_token: float
    """Validation bytes per token, end marks counted: bpb = loss / (ln 2 · bytes_per_token)."""
    train_sha256: str
    val_sha256: str
    filtered_documents: int = 0
    """Left out before duplicates were looked for: they fail a quality rule."""
    filtered_bytes: int = 0
    filtered_by: tuple[RuleCount, ...] = ()
    contaminated_documents: int = 0
    """Left out of train: they share too many 13-grams with protected text."""
    contaminated_tokens: int = 0
    withheld_documents: int = 0
    """Of an arm, left out of train: what shares a duplicate cluster with held-out text."""
    duplicate_tokens: int = 0
    """Train tokens of documents that are duplicates of others in train: of `duplicates = "exact"`
    and `"keep"`."""
    touched_documents: int = 0
    """Train documents, left out or not, that share a 13-gram with protected text."""

    @property
    def contaminated_share(self) -> float:
        """Share of the train tokens that decontamination took."""
        return self.contaminated_tokens / max(1, self.contaminated_tokens + self.train_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataCard:
    """A prepared corpus; `corpus_hash` names its exact tokens, `recipe_hash` what was asked for."""

    version: int = CARD_VERSION
    recipe_hash: str
    corpus_hash: str
    vocab_size: int
    domains: tuple[DomainCard, ...]
    tokenizer_sha256: str
    protected: tuple[str, ...] = ()
    """What train was decontaminated against: `validation:DOMAIN` and benchmarks; empty: nothing."""
    short_passages: int = 0
    """Passages of it with fewer than 8 words: they were not looked for."""
    tokenizer: str = "own"
    """As data.tokenizer names it; of a file without the folder."""
    end_token: str = "<|endoftext|>"
    """What ends every document."""
    end_id: int = 0
    checked_documents: int = 0
    """Documents that were decoded to see whether their text comes back; 0 where that is sure."""
    inexact_documents: int = 0
    """Those of them whose text does not."""
    unknown_tokens: int = 0
    """Tokens of all documents that stand for text which the tokenizer does not know."""
    early_ends: int = 0
    """End marks of all documents that their own text spells."""

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """What the shards' ids are packed as."""
        return dtype_of(self.vocab_size)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data: what `card.json` holds."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any], *, place: str) -> "DataCard":
        """The card that `to_json` wrote; raises DataError naming `place` otherwise."""
        remedy = "Delete it and prepare the corpus again with `isoflop data`."
        if isinstance(data, dict) and data.get("version", CARD_VERSION) != CARD_VERSION:
            raise DataError(
                f"{place}: version {data['version']!r} is not known. "
                "Read it with a newer isoflop, or delete it and prepare the corpus again."
            )
        try:
            _check(DataCard, data, "")
            for number, domain in enumerate(data["domains"], start=1):
                _check(DomainCard, domain, f"domain {number}: ")
            domains = tuple(_domain(domain) for domain in data["domains"])
            protected = tuple(data.get("protected", ()))
            card = DataCard(**{**data, "domains": domains, "protected": protected})
            if card.end_id >= card.vocab_size:
                raise ValueError(f"end_id = {card.end_id!r} is not below vocab_size")
            return card
        except ValueError as error:
            raise DataError(f"{place}: not a data card: {error}. {remedy}") from error


def _domain(data: Mapping[str, Any]) -> DomainCard:
    counts = data.get("filtered_by", [])
    for count in counts:
        _check(RuleCount, count, "filtered_by: ")
    return DomainCard(**{**data, "filtered_by": tuple(RuleCount(**count) for count in counts)})


def _check(record: type, data: Any, where: str) -> None:
    """ValueError naming the key unless `data` has the keys of a record and no others, well typed.

    Fields with a default were added later: an older card has none of them.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{where}not a JSON object")
    wanted = {
        field.name: field.type
        for field in fields(record)
        if field.name in data or field.default is MISSING
    }
    for key in sorted(wanted.keys() ^ data.keys()):
        raise ValueError(f"{where}the key {key!r} is {'missing' if key in wanted else 'unknown'}")
    for key, kind in wanted.items():
        value = data[key]
        if kind is str:
            good, rule = isinstance(value, str), "text"
        elif kind is int:
            good, rule = type(value) is int and value >= 0, "a whole number, at least 0"
        elif kind is float:
            good = type(value) in (int, float) and 0 <= value <= sys.float_info.max
            rule = "a finite number, at least 0"
            if key != "weight":
                good, rule = good and value > 0, "a finite number above 0"
        elif key == "protected":
            good = isinstance(value, list) and all(isinstance(name, str) for name in value)
            rule = "a list of names"
        elif key == "domains":
            good, rule = isinstance(value, list) and len(value) > 0, "a list of domains"
        else:
            good, rule = isinstance(value, list), "a list"
        if not good:
            raise ValueError(f"{where}{key} = {value!r} is not {rule}")


def read_card(folder: str | Path) -> DataCard:
    """The data card of a corpus folder.

    Raises:
        DataError: there is none, or it is not a card.
    """
    path = Path(folder) / "card.json"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError(
            f"{path} does not exist: the corpus is not prepared. Run `isoflop data` on the study."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}). Restore or delete it.") from error
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}: not JSON ({error}). Delete it and prepare the corpus again "
            "with `isoflop data`."
        ) from error
    return DataCard.from_json(data, place=str(path))


def open_tokens(
    folder: str | Path, split: Split, domain: str
) -> np.memmap[tuple[int], np.dtype[np.unsignedinteger[Any]]]:
    """Tokens of a shard as a read-only memory map (n_tokens,), of the dtype that the card tells.

    Raises:
        DataError: the shard is missing, empty or cut in the middle of a token; or there is no card.
    """
    path = shard_path(Path(folder), split, domain)
    if not path.is_file():
        raise DataError(
            f"{path}: the shard is missing. Prepare the corpus again with `isoflop data`."
        )
    size, dtype = path.stat().st_size, read_card(folder).dtype
    if size == 0 or size % dtype.itemsize:
        raise DataError(
            f"{path}: the shard is corrupt ({size} bytes). Delete it and prepare the corpus "
            "again with `isoflop data`."
        )
    return np.memmap(path, dtype=dtype, mode="r")


def corpus_of_run(run: str | Path, corpus_hash: str) -> tuple[Path, DataCard] | None:
    """The corpus beside a run folder, or its arm, with this hash; None where there is none."""
    data = Path(run).resolve().parent.parent / "data"
    for place in (data, *sorted(data.glob("arms/*"))):
        if (place / "card.json").is_file() and (place / "tokenizer.json").is_file():
            card = read_card(place)
            if card.corpus_hash == corpus_hash:
                return place, card
    return None


def check_corpus(folder: str | Path) -> DataCard:
    """The card, after the size and hash of every file of the corpus were compared with it.

    Raises:
        DataError: a file is missing or corrupt; names it.
    """
    folder = Path(folder)
    card = read_card(folder)
    for domain in card.domains:
        _check_shard(folder, "train", domain, card.dtype.itemsize)
        _check_shard(folder, "val", domain, card.dtype.itemsize)
    _check_hash(folder / "tokenizer.json", card.tokenizer_sha256)
    return card


def _check_shard(folder: Path, split: Split, domain: DomainCard, itemsize: int) -> None:
    n_tokens = domain.train_tokens if split == "train" else domain.val_tokens
    sha256 = domain.train_sha256 if split == "train" else domain.val_sha256
    path = shard_path(folder, split, domain.name)
    expected = n_tokens * itemsize
    if path.is_file() and path.stat().st_size != expected:
        raise DataError(
            f"{path}: corrupt: {path.stat().st_size} bytes where the card says {expected}. "
            "Delete it and prepare the corpus again with `isoflop data`."
        )
    _check_hash(path, sha256)


def _check_hash(path: Path, sha256: str) -> None:
    try:
        found = hash_file(path)
    except OSError as error:
        raise DataError(
            f"{path}: missing ({error.strerror}). Prepare the corpus again with `isoflop data`."
        ) from error
    if found != sha256:
        raise DataError(
            f"{path}: corrupt: its SHA-256 {found[:12]}… is not the card's {sha256[:12]}…. "
            "Delete it and prepare the corpus again with `isoflop data`."
        )
