"""Packed shards: little-endian token ids of 2 or 4 bytes, one file a split and domain."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "val"]
Tokens = NDArray[np.unsignedinteger[Any]]


def dtype_of(vocab_size: int) -> np.dtype[np.unsignedinteger[Any]]:
    """What a shard's ids are packed as: 2 bytes where they fit, else 4."""
    return np.dtype("<u2") if vocab_size <= 2**16 else np.dtype("<u4")


def shard_path(folder: Path, split: Split, domain: str) -> Path:
    """`<folder>/<split>/<domain>.bin`."""
    return folder / split / f"{domain}.bin"


def write_shard(path: Path, documents: Iterable[Tokens]) -> tuple[int, str]:
    """Write the documents' tokens one after another, atomically; number of tokens and SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    n_tokens, digest = 0, hashlib.sha256()
    with temporary.open("wb") as stream:
        for tokens in documents:
            data = tokens.astype(tokens.dtype.newbyteorder("<"), copy=False).tobytes()
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
