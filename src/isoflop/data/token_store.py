"""Tokens of documents on their way to shards: written in blocks, so that a kill loses one."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from isoflop.data.documents import in_parts
from isoflop.data.shards import Tokens, write_text
from isoflop.data.store import DocumentStore, TextFile

BLOCK_BYTES = 16_000_000
"""Text of a block: its tokens take some 50 MB while they are made."""
IDS, LENGTHS, JOURNAL, KEY = "ids.bin", "lengths.bin", "blocks.jsonl", "key"
_LENGTH = np.dtype("<i8")
Encode = Callable[[Sequence[str]], Iterable[NDArray[Any]]]


@dataclass(frozen=True, slots=True, eq=False)
class TokenStore:
    """The tokens of n documents in a file, one behind the other."""

    file: TextFile
    lengths: NDArray[np.int64]
    """(n,) tokens of each document, its end mark counted."""
    starts: NDArray[np.int64]
    """(n,) where its first one is."""
    dtype: np.dtype[np.unsignedinteger[Any]]

    def tokens(self, number: int) -> Tokens:
        """The tokens of one document."""
        start, length = int(self.starts[number]), int(self.lengths[number])
        data = self.file.read(start * self.dtype.itemsize, length * self.dtype.itemsize)
        return np.frombuffer(data, dtype=self.dtype)


@dataclass(frozen=True, slots=True)
class _Block:
    """A line of the journal: documents, and where the two files end behind them."""

    documents: int
    ids_end: int
    lengths_end: int
    sha256: str


def write_tokens(
    folder: Path,
    key: str,
    documents: DocumentStore,
    encode: Encode,
    *,
    dtype: np.dtype[np.unsignedinteger[Any]],
    tell: Callable[[int], None],
    at_once: int = 0,
) -> TokenStore:
    """The tokens of all documents; blocks that an earlier call has written are used again.

    Args:
        folder: where the files lie; what another key left there goes.
        key: what decides the tokens.
        documents: n documents.
        encode: gives the tokens of each of some texts.
        dtype: what they are written as.
        at_once: bytes that `encode` wants to see at least, where that is more than a block.
        tell: told the number of documents done, at first that of those found.
    """
    _open_folder(folder, key)
    blocks = _sound_blocks(folder)
    done = sum(block.documents for block in blocks)
    tell(done)
    with (
        (folder / IDS).open("r+b") as ids,
        (folder / LENGTHS).open("r+b") as lengths,
        (folder / JOURNAL).open("a", encoding="utf-8", newline="\n") as journal,
    ):
        ids.seek(blocks[-1].ids_end if blocks else 0)
        lengths.seek(blocks[-1].lengths_end if blocks else 0)
        sizes, least = documents.n_bytes, max(BLOCK_BYTES, at_once)
        for part in in_parts(range(done, len(documents)), sizes.__getitem__, least=least):
            found = list(encode([documents.text(i) for i in part]))
            block = _append(ids, lengths, found, dtype)
            journal.write(json.dumps(asdict(block)) + "\n")
            journal.flush()
            done += len(part)
            tell(done)
        ids.truncate()
        lengths.truncate()
    counts = np.fromfile(folder / LENGTHS, dtype=_LENGTH)
    return TokenStore(TextFile.open(folder / IDS), counts, np.cumsum(counts) - counts, dtype)


def _append(
    ids: BinaryIO, lengths: BinaryIO, found: Sequence[NDArray[Any]], dtype: np.dtype[Any]
) -> _Block:
    """Write the tokens of some documents; what the journal says of them, once they are out."""
    data = b"".join(tokens.astype(dtype, copy=False).tobytes() for tokens in found)
    sizes = np.array([len(tokens) for tokens in found], dtype=_LENGTH).tobytes()
    for stream, content in ((ids, data), (lengths, sizes)):
        stream.write(content)
        stream.flush()
    return _Block(len(found), ids.tell(), lengths.tell(), _hash(data, sizes))


def _open_folder(folder: Path, key: str) -> None:
    """Empty files, unless those there are of this key."""
    mark = folder / KEY
    if not mark.is_file() or mark.read_text(encoding="utf-8", errors="replace") != key:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for name in (IDS, LENGTHS, JOURNAL):
        (folder / name).touch()
    write_text(mark, key)


def _sound_blocks(folder: Path) -> list[_Block]:
    """The blocks from the first one on that are just as they were written; the journal of them."""
    blocks: list[_Block] = []
    with (folder / IDS).open("rb") as ids, (folder / LENGTHS).open("rb") as lengths:
        for block in _journal(folder / JOURNAL):
            data = ids.read(max(0, block.ids_end - ids.tell()))
            sizes = lengths.read(max(0, block.lengths_end - lengths.tell()))
            ends = (block.ids_end, block.lengths_end)
            if (ids.tell(), lengths.tell()) != ends or _hash(data, sizes) != block.sha256:
                break
            blocks.append(block)
    lines = (json.dumps(asdict(block)) + "\n" for block in blocks)
    write_text(folder / JOURNAL, "".join(lines))
    return blocks


def _journal(path: Path) -> Iterator[_Block]:
    """The lines of the journal up to one that is torn."""
    done = 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            block = _Block(**json.loads(line))
            numbers = (block.documents, block.ids_end, block.lengths_end)
        except (ValueError, TypeError):
            return
        if not all(type(number) is int and number >= 0 for number in numbers):
            return
        done += block.documents
        if block.lengths_end != done * _LENGTH.itemsize:
            return
        yield block


def _hash(data: bytes, sizes: bytes) -> str:
    return hashlib.sha256(sizes + data).hexdigest()
