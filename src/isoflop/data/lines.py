"""JSON lines, plain or compressed: one object a line, read without ever holding the file."""

import gzip
import io
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from isoflop._errors import DataError, MissingExtraError
from isoflop.data.documents import Document, make_document
from isoflop.data.kinds import Reading


def read_jsonl(path: Path, name: str, reading: Reading) -> Iterator[Document]:
    """One document a line: the string under the key `reading.text_column`; null is empty text.

    Raises:
        DataError: a line is no JSON object with such a string, or longer than allowed.
    """
    key = reading.text_column
    with closing(_open(path)) as stream:
        for number, raw in bounded_lines(stream, path, reading.max_bytes):
            line = raw.decode("utf-8-sig", "replace")
            if not line.strip():
                continue
            try:
                text = json.loads(line)[key]
            # Of the errors of JSON, a number of more digits than Python reads is a ValueError only.
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise DataError(
                    f"{path}:{number}: not a JSON object with the key `{key}` "
                    f"({type(error).__name__}: {error}). Mend or remove the line"
                    f"{_other_keys(line)}."
                ) from error
            if not isinstance(text, str | None):
                raise DataError(
                    f"{path}:{number}: `{key}` must be a string, but got "
                    f"{type(text).__name__}. Mend or remove the line."
                )
            document = make_document(f"{name}:{number}", text or "")
            broken = "\ufffd" in line and b"\xef\xbf\xbd" not in raw
            yield replace(document, replaced=True) if broken else document


def bounded_lines(stream: IO[bytes], path: Path, max_bytes: int) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line with its end); a line longer than `max_bytes` is never held whole.

    Raises:
        DataError: such a line.
    """
    number = 0
    while line := stream.readline(max_bytes + 1):
        number += 1
        if len(line) > max_bytes and not line.endswith(b"\n"):
            raise DataError(
                f"{path}:{number}: a line of more than max_document_mb = {max_bytes / 1e6:g} MB. "
                "Split it into documents, one a line, or raise max_document_mb of the domain."
            )
        yield number, line


def _open(path: Path) -> IO[bytes]:
    if path.name.lower().endswith(".gz"):
        return io.BufferedReader(gzip.GzipFile(path, "rb"))
    if path.name.lower().endswith(".zst"):
        try:
            import pyarrow
        except ImportError as error:
            raise MissingExtraError("pyarrow", extra="data", needed_for="reading .zst") from error
        unpacked: Any = pyarrow.input_stream(str(path), compression="zstd")
        return io.BufferedReader(unpacked)
    return path.open("rb")


def _other_keys(line: str) -> str:
    """The remedy for lines that are fine but use another key."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    texts = [key for key, value in row.items() if isinstance(value, str)] if (
        isinstance(row, dict)) else []  # fmt: skip
    return f", or set text_column to one of {', '.join(texts[:8])}" if texts else ""
