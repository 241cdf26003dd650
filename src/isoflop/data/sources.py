"""A domain's source, resolved: which documents it gives, and what tells that it has changed."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from isoflop._errors import DataError
from isoflop.data.documents import Document
from isoflop.data.hub import read_hub, resolve_hub
from isoflop.data.kinds import Reading
from isoflop.data.readers import hash_files, list_files, read_files
from isoflop.data.recipes import find_recipe, read_recipe
from isoflop.data.scoring_model import ScoringModel, find_model
from isoflop.data.shards import write_text
from isoflop.data.store import DocumentStore, StoreWriter, TextFile
from isoflop.specs import DomainSection

BYTES_PER_MB = 1_000_000
TEXTS, ROWS, FACTS = "texts.bin", "rows.npy", "facts.json"
"""Files of a domain that was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a domain's documents come from; `version` is known before any is read."""

    section: DomainSection
    version: str
    licence: str
    read: Callable[[], Iterable[Document]]
    model: ScoringModel | None = None
    """By whose loss its documents are judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """The documents of one domain that go into the removal of duplicates, by content hash."""

    source: Source
    documents: DocumentStore
    content_sha256: str
    short: int
    unsampled: int

    @property
    def replaced(self) -> int:
        """Documents with bytes that were not UTF-8."""
        return int(self.documents.rows["replaced"].sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What a source held beside the documents taken."""

    content_sha256: str
    short: int
    unsampled: int


def resolve_source(section: DomainSection, *, base: Path, cache: Path) -> Source:
    """The source of a domain; paths are relative to `base`, downloads go into `cache`.

    Raises:
        DataError: unknown recipe; nothing at the path; a data set that is not to be had; a model
            that cannot judge.
    """
    model = find_model(section, base=base)
    return replace(_resolve(section, base, cache), model=model)


def _resolve(section: DomainSection, base: Path, cache: Path) -> Source:
    kind, _, place = section.source.partition(":")
    if kind == "package":
        recipe = find_recipe(place)
        licence = recipe.licence if section.licence == "unknown" else section.licence
        read = partial(read_recipe, recipe, cache=cache)
        return Source(section=section, version=recipe.version, licence=licence, read=read)
    if kind == "hf":
        version, revision = resolve_hub(section, base=base)
        read_rows = partial(read_hub, section, base=base, revision=revision)
        return Source(section=section, version=version, licence=section.licence, read=read_rows)
    reading = Reading.of(section)
    path = base / Path(place).expanduser()
    key = f"data.domains.source = {section.source!r} of {section.name!r}"
    files = list_files(path, key=key, reading=reading)
    version = f"sha256:{hash_files(path, files)}"
    return Source(
        section=section,
        version=version,
        licence=section.licence,
        read=partial(read_files, path, files, reading),
    )


def read_documents(source: Source, *, min_chars: int, folder: Path | None = None) -> Documents:
    """Read a domain: short documents out, then those within `max_mb` in order of content hash.

    Their texts lie in a file without a name, which goes with the documents.

    Args:
        source: of the domain.
        min_chars: shorter texts are left out.
        folder: where that file lies; None: where the system keeps temporary files.

    Raises:
        DataError: a file cannot be read, or nothing remains.
    """
    with tempfile.TemporaryFile(dir=folder) as stream:
        found = _read(source, min_chars, stream)
        return _documents(source, TextFile.of(stream, folder), *found)


def write_documents(source: Source, folder: Path, *, min_chars: int) -> None:
    """Read a domain into the files of a folder that `open_documents` takes.

    Raises:
        DataError: as `read_documents`.
    """
    with (folder / TEXTS).open("wb") as stream:
        rows, facts = _read(source, min_chars, stream)
    np.save(folder / ROWS, rows, allow_pickle=False)
    write_text(folder / FACTS, json.dumps(asdict(facts)))


def open_documents(source: Source, folder: Path) -> Documents:
    """The documents that `write_documents` wrote."""
    facts = _Facts(**json.loads((folder / FACTS).read_text(encoding="utf-8")))
    rows = np.load(folder / ROWS, allow_pickle=False)
    return _documents(source, TextFile.open(folder / TEXTS), rows, facts)


def _documents(source: Source, file: TextFile, rows: NDArray[Any], facts: _Facts) -> Documents:
    return Documents(source=source, documents=DocumentStore((file,), rows), **asdict(facts))


def _read(source: Source, min_chars: int, stream: IO[bytes]) -> tuple[NDArray[Any], _Facts]:
    """Texts into the stream as they come; what is sorted and chosen is names and hashes."""
    marks: list[tuple[bytes, bytes]] = []
    kept: list[int] = []
    writer = StoreWriter(stream)
    for document in source.read():
        text = document.text
        # In UTF-8 with surrogates, bytes sort as the characters of the name do.
        marks.append((document.name.encode("utf-8", "surrogatepass"), document.digest))
        if text and len(text) >= min_chars:
            kept.append(len(marks) - 1)
            writer.add(document)
    long = writer.rows
    order = sorted(range(len(kept)), key=lambda i: marks[kept[i]][::-1])
    long = long[order]
    rows = long[_within(long["n_bytes"], source.section.max_mb)]
    if not len(rows):
        raise DataError(
            f"data.domains {source.section.name!r}: {source.section.source} gives no document "
            f"({len(marks)} read, {len(long)} of at least min_chars = {min_chars} characters, "
            f"max_mb = {source.section.max_mb}). Point it at more text, lower data.min_chars or "
            "raise max_mb."
        )
    return rows, _Facts(
        content_sha256=_hash_content(marks),
        short=len(marks) - len(long),
        unsampled=len(long) - len(rows),
    )


def _hash_content(marks: list[tuple[bytes, bytes]]) -> str:
    """Over the (name, digest) of all documents, sorted here."""
    marks.sort()
    total = hashlib.sha256()
    for name, digest in marks:
        plain = name.decode("utf-8", "surrogatepass").encode("utf-8", "surrogateescape")
        total.update(plain + b"\0" + digest)
    return total.hexdigest()


def _within(n_bytes: NDArray[np.int64], max_mb: float | None) -> NDArray[np.int64]:
    """Which documents to take, in order, as long as there is room; a long one is passed over."""
    if max_mb is None:
        return np.arange(len(n_bytes))
    room = max_mb * BYTES_PER_MB
    taken = []
    for number, size in enumerate(n_bytes.tolist()):
        if size <= room:
            room -= size
            taken.append(number)
    return np.array(taken, dtype=np.int64)
