"""`Document`: one text with its name and content hash."""

import hashlib
from dataclasses import dataclass


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
