"""`Document`: one text with its name and content hash; and taking many of them part by part."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")


class Document(Protocol):
    """One document: its name within the source and its text with `\\n` line ends."""

    @property
    def name(self) -> str:
        """Its name within the source."""

    @property
    def text(self) -> str:
        """All of it; read anew each time where it lies in a file (`store.StoredDocument`)."""

    @property
    def digest(self) -> bytes:
        """SHA-256 of the text in UTF-8: every choice among documents goes by it, never by order."""

    @property
    def n_bytes(self) -> int:
        """Bytes of the text in UTF-8."""

    @property
    def replaced(self) -> bool:
        """Whether bytes that are not UTF-8 were replaced by U+FFFD."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldDocument:
    """A document whose text is in memory."""

    name: str
    text: str
    digest: bytes
    n_bytes: int
    replaced: bool = False


def make_document(name: str, content: str | bytes) -> HeldDocument:
    """A document from raw content: UTF-8 decoded, line ends `\\n`, stripped."""
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    try:
        text, replaced = raw.decode("utf-8-sig"), False
    except UnicodeDecodeError:
        text, replaced = raw.decode("utf-8-sig", "replace"), True
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    data = text.encode()
    digest = hashlib.sha256(data).digest()
    return HeldDocument(name=name, text=text, digest=digest, n_bytes=len(data), replaced=replaced)


def in_parts(items: Iterable[T], size: Callable[[T], int], *, least: int) -> Iterator[list[T]]:
    """The items in order, in lists whose sizes add up to `least` or just more; the last to less."""
    part: list[T] = []
    total = 0
    for item in items:
        part.append(item)
        total += size(item)
        if total >= least:
            yield part
            part, total = [], 0
    if part:
        yield part
