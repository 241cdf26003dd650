"""Packed shards: little-endian uint16 token ids, one file a split and domain."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isoflop._errors import DataError

Split = Literal["train", "val"]
DTYPE = np.dtype("<u2")


def shard_path(folder: Path, split: Split, domain: str) -> Path:
    """`<folder>/<split>/<domain>.bin`."""
    return folder / split / f"{domain}.bin"


def write_shard(path: Path, documents: Iterable[NDArray[np.uint16]]) -> tuple[int, str]:
    """Write the documents' tokens one after another, atomically; number of tokens and SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    n_tokens, digest = 0, hashlib.sha256()
    with temporary.open("wb") as stream:
        for tokens in documents:
            data = tokens.astype(DTYPE, copy=False).tobytes()
            stream.write(data)
            digest.update(data)
            n_tokens += len(tokens)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    return n_tokens, digest.hexdigest()


def write_text(path: Path, text: str) -> str:
    """Replace a text file atomically; its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    os.replace(temporary, path)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def open_tokens(
    folder: str | Path, split: Split, domain: str
) -> np.memmap[tuple[int], np.dtype[np.uint16]]:
    """Tokens of a shard as a read-only memory map (n_tokens,) of uint16.

    Raises:
        DataError: the shard is missing, empty or cut in the middle of a token.
    """
    path = shard_path(Path(folder), split, domain)
    if not path.is_file():
        raise DataError(
            f"{path}: the shard is missing. Prepare the corpus again with `isoflop data`."
        )
    size = path.stat().st_size
    if size == 0 or size % DTYPE.itemsize:
        raise DataError(
            f"{path}: the shard is corrupt ({size} bytes). Delete it and prepare the corpus "
            "again with `isoflop data`."
        )
    return np.memmap(path, dtype=DTYPE, mode="r")
