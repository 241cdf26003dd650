"""A domain's source, resolved: which documents it gives, and what tells that it has changed."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from isoflop._errors import DataError
from isoflop.data.documents import Document
from isoflop.data.hub import read_hub, resolve_hub
from isoflop.data.kinds import Reading
from isoflop.data.readers import hash_files, list_files, read_files
from isoflop.data.recipes import find_recipe, read_recipe
from isoflop.specs import DomainSection

BYTES_PER_MB = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a domain's documents come from; `version` is known before any is read."""

    section: DomainSection
    version: str
    licence: str
    read: Callable[[], Iterable[Document]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """The documents of one domain that go into the removal of duplicates, by content hash."""

    source: Source
    documents: tuple[Document, ...]
    content_sha256: str
    short: int
    unsampled: int

    @property
    def replaced(self) -> int:
        """Documents with bytes that were not UTF-8."""
        return sum(document.replaced for document in self.documents)


def resolve_source(section: DomainSection, *, base: Path, cache: Path) -> Source:
    """The source of a domain; paths are relative to `base`, downloads go into `cache`.

    Raises:
        DataError: unknown recipe; nothing at the path; a data set that is not to be had.
    """
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


def read_documents(source: Source, *, min_chars: int) -> Documents:
    """Read a domain: short documents out, then those within `max_mb` in order of content hash.

    Raises:
        DataError: a file cannot be read, or nothing remains.
    """
    everything = sorted(source.read(), key=lambda document: (document.name, document.digest))
    total = hashlib.sha256()
    for document in everything:
        total.update(document.name.encode("utf-8", "surrogateescape") + b"\0" + document.digest)
    long = [doc for doc in everything if doc.text and len(doc.text) >= min_chars]
    long.sort(key=lambda document: (document.digest, document.name))
    taken = _within(long, source.section.max_mb)
    if not taken:
        raise DataError(
            f"data.domains {source.section.name!r}: {source.section.source} gives no document "
            f"({len(everything)} read, {len(long)} of at least min_chars = {min_chars} characters, "
            f"max_mb = {source.section.max_mb}). Point it at more text, lower data.min_chars or "
            "raise max_mb."
        )
    return Documents(
        source=source,
        documents=tuple(taken),
        content_sha256=total.hexdigest(),
        short=len(everything) - len(long),
        unsampled=len(long) - len(taken),
    )


def _within(documents: list[Document], max_mb: float | None) -> list[Document]:
    if max_mb is None:
        return documents
    room = max_mb * BYTES_PER_MB
    taken = []
    for document in documents:
        if document.n_bytes <= room:
            room -= document.n_bytes
            taken.append(document)
    return taken
