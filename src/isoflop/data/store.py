"""`DocumentStore`: documents whose texts lie in files and are read when they are asked for.

A document takes 57 bytes of memory, whatever its length. Texts are read with `pread`, not mapped:
mapped pages count as memory of the process.
"""

import os
import struct
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, overload

import numpy as np
from numpy.typing import NDArray

from isoflop._errors import DataError
from isoflop.data.documents import Document

ROW = np.dtype(
    [
        ("file", "<u4"),
        ("start", "<i8"),
        ("name_bytes", "<u4"),
        ("n_bytes", "<i8"),
        ("replaced", "?"),
        ("digest", "u1", (32,)),
    ]
)
"""Where a document lies: its name from `start` on in UTF-8, its text behind it."""
_PACK = struct.Struct("<IqIq?32s")
assert _PACK.size == ROW.itemsize


class TextFile:
    """A file of names and texts, open for reading as long as anything refers to it."""

    __slots__ = ("__weakref__", "_descriptor", "path")

    def __init__(self, descriptor: int, path: Path) -> None:
        """Of an open file that is closed with this object; `path` is for errors."""
        self.path = path
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    @staticmethod
    def open(path: Path) -> "TextFile":
        """The file at a path."""
        return TextFile(os.open(path, os.O_RDONLY), path)

    @staticmethod
    def of(stream: IO[bytes], folder: Path | None) -> "TextFile":
        """What was written to a stream, which may have no name and may be closed."""
        stream.flush()
        return TextFile(os.dup(stream.fileno()), folder or Path(tempfile.gettempdir()))

    def read(self, start: int, size: int) -> bytes:
        """`size` bytes from `start` on.

        Raises:
            DataError: the file was cut after it was opened.
        """
        data = os.pread(self._descriptor, size, start)
        while len(data) < size:  # a single call gives 2 GB at most
            more = os.pread(self._descriptor, size - len(data), start + len(data))
            if not more:
                raise DataError(
                    f"{self.path}: cut to less than {start + size} bytes while it was used. "
                    "Run the command again: what is missing is made again."
                )
            data += more
        return data


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document of a store."""

    store: "DocumentStore"
    number: int

    @property
    def name(self) -> str:
        """Its name within the source."""
        file, start, size, *_ = self.store.rows[self.number].item()
        data: bytes = self.store.files[file].read(start, size)
        return data.decode("utf-8", "surrogatepass")

    @property
    def text(self) -> str:
        """All of it, read from the file."""
        return self.store.text(self.number)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the text in UTF-8."""
        return bytes(self.store.rows["digest"][self.number])

    @property
    def n_bytes(self) -> int:
        """Bytes of the text in UTF-8."""
        return int(self.store.rows["n_bytes"][self.number])

    @property
    def replaced(self) -> bool:
        """Whether bytes that are not UTF-8 were replaced by U+FFFD."""
        return bool(self.store.rows["replaced"][self.number])


@dataclass(frozen=True, slots=True, eq=False)
class DocumentStore(Sequence[Document]):
    """Documents in files, in the order of `rows`; any choice or order of them is a store too."""

    files: tuple[TextFile, ...]
    rows: NDArray[Any]
    """(n,) of ROW; `file` counts in `files`."""

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, at: int) -> Document: ...
    @overload
    def __getitem__(self, at: slice) -> "DocumentStore": ...
    def __getitem__(self, at: int | slice) -> "Document | DocumentStore":
        if isinstance(at, slice):
            return DocumentStore(self.files, self.rows[at])
        return StoredDocument(self, range(len(self))[at])

    def text(self, number: int) -> str:
        """The text of one document."""
        file, start, name_bytes, size, *_ = self.rows[number].item()
        data: bytes = self.files[file].read(start + name_bytes, size)
        return data.decode()

    @property
    def texts(self) -> "Texts":
        """The texts in order, each read when its turn comes."""
        return Texts(self)

    @property
    def digests(self) -> list[bytes]:
        """SHA-256 of each text."""
        data = self.rows["digest"].tobytes()
        return [data[at : at + 32] for at in range(0, len(data), 32)]

    @property
    def n_bytes(self) -> NDArray[np.int64]:
        """(n,) bytes of each text."""
        return np.asarray(self.rows["n_bytes"], dtype=np.int64)

    def take(self, numbers: NDArray[np.integer] | NDArray[np.bool_]) -> "DocumentStore":
        """The documents of these numbers, in their order; or those where a mask is true."""
        return DocumentStore(self.files, self.rows[numbers])


@dataclass(frozen=True, slots=True, eq=False)
class Texts(Iterable[str]):
    """The texts of a store; they can be gone through again and again."""

    store: DocumentStore

    def __iter__(self) -> Iterator[str]:
        return map(self.store.text, range(len(self.store)))


class StoreWriter:
    """Appends documents to a stream."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._rows = bytearray()
        self._end = 0

    def add(self, document: Document) -> None:
        """Write one document."""
        name = document.name.encode("utf-8", "surrogatepass")
        text = document.text.encode()
        self._stream.write(name)
        self._stream.write(text)
        self._rows += _PACK.pack(
            0, self._end, len(name), len(text), document.replaced, document.digest
        )
        self._end += len(name) + len(text)

    @property
    def rows(self) -> NDArray[Any]:
        """(n,) of ROW: what was written."""
        return np.frombuffer(bytes(self._rows), dtype=ROW)


def store_documents(documents: Iterable[Document], *, folder: Path | None = None) -> DocumentStore:
    """The documents in a file without a name, which goes with the store.

    Args:
        documents: taken one by one.
        folder: where the file lies; None: where the system keeps temporary files.
    """
    with tempfile.TemporaryFile(dir=folder) as stream:
        writer = StoreWriter(stream)
        for document in documents:
            writer.add(document)
        return DocumentStore((TextFile.of(stream, folder),), writer.rows)


def pool_stores(stores: Sequence[DocumentStore]) -> DocumentStore:
    """All documents of several stores, one store behind the other."""
    files: list[TextFile] = []
    parts = []
    for store in stores:
        rows = store.rows.copy()
        rows["file"] += len(files)
        parts.append(rows)
        files += store.files
    return DocumentStore(tuple(files), np.concatenate(parts))
