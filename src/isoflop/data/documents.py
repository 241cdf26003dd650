"""`Document`: one text with its name and content hash; and taking many of them part by part."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document: its name within the source and its text with `\\n` line ends."""

    name: str
    text: str
    digest: bytes
    """SHA-256 of the text in UTF-8: every choice among documents goes by it, never by order."""
    n_bytes: int
    replaced: bool = False
    """Whether bytes that are not UTF-8 were replaced by U+FFFD."""


def make_document(name: str, content: str | bytes) -> Document:
    """A document from raw content: UTF-8 decoded, line ends `\\n`, stripped."""
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    try:
        text, replaced = raw.decode("utf-8-sig"), False
    except UnicodeDecodeError:
        text, replaced = raw.decode("utf-8-sig", "replace"), True
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    data = text.encode()
    digest = hashlib.sha256(data).digest()
    return Document(name=name, text=text, digest=digest, n_bytes=len(data), replaced=replaced)


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
