"""Documents of the user's own files: text, source code, HTML, JSON lines and tables."""

import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path

from isoflop._errors import DataError
from isoflop.data.documents import Document, make_document
from isoflop.data.kinds import Reading, choose_files, kind_of
from isoflop.data.lines import read_jsonl
from isoflop.data.pages import read_page
from isoflop.data.tables import read_arrow, read_csv, read_parquet

PLAIN = Reading()


def list_files(source: Path, *, key: str, reading: Reading = PLAIN) -> tuple[Path, ...]:
    """The readable files of a folder (recursive, hidden ones left out), sorted; or the one file.

    Raises:
        DataError: nothing there, no file of a kind asked for, or a folder of two minds.
    """
    if source.is_file():
        asked = {"formats": list(reading.formats), "languages": list(reading.languages)}
        told = " and ".join(f"{name} = {value}" for name, value in asked.items() if value)
        if told and kind_of(source.name, reading) is None:
            raise DataError(
                f"{key}: {source} is none of {told}. Leave them out or name the kind of the file."
            )
        return (source,)
    if not source.is_dir():
        raise DataError(f"{key}: {source} does not exist. Correct the path of the source.")
    visible = [
        path
        for path in sorted(source.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(source).parts)
    ]
    files = tuple(choose_files(visible, reading, place=f"{key}: {source}"))
    if not files:
        wanted = ", ".join([*reading.formats, *reading.languages]) or (
            ".txt, .md, source code, .jsonl, .csv, .tsv, .parquet, .arrow"
        )
        raise DataError(
            f"{key}: {source} holds no text ({wanted}). "
            "Point the source at a folder or file with documents."
        )
    return files


def hash_files(source: Path, files: tuple[Path, ...]) -> str:
    """SHA-256 over names and contents of the files: what tells whether a source has changed.

    Raises:
        DataError: a file cannot be read, or is gone since it was listed.
    """
    total = hashlib.sha256()
    for path in files:
        try:
            with path.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise _unreadable(path, error) from error
        total.update(f"{_name(path, source)}\0{content}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def read_files(
    source: Path, files: tuple[Path, ...], reading: Reading = PLAIN
) -> Iterator[Document]:
    """The documents of the files: one a file, or one a line or row of JSONL and tables.

    Raises:
        DataError: a file cannot be read, is gone since it was listed, holds no such column, or a
            document is longer than `reading.max_bytes`; names file and line or row.
    """
    for path in files:
        name = _name(path, source)
        kind = kind_of(path.name, reading)
        try:
            if kind == "jsonl":
                yield from read_jsonl(path, name, reading)
            elif kind in ("csv", "tsv"):
                yield from read_csv(path, name, reading, "," if kind == "csv" else "\t")
            elif kind == "parquet":
                yield from read_parquet(path, name, reading)
            elif kind == "arrow":
                yield from read_arrow(path, name, reading)
            else:
                content = _read_whole(path, reading.max_bytes)
                if kind is None:  # a single file, whatever its suffix
                    _check_text(path, content)
                yield read_page(name, content) if kind == "html" else make_document(name, content)
        except (OSError, EOFError, zlib.error) as error:  # gzip.BadGzipFile is an OSError
            raise _unreadable(path, error) from error


def _read_whole(path: Path, max_bytes: int) -> bytes:
    """One byte more than allowed is read at most, so a file that grows does no harm either."""
    with path.open("rb") as stream:
        content = stream.read(max_bytes + 1)
        if len(content) > max_bytes:
            size = path.stat().st_size
            raise DataError(
                f"{path}: one document of {size / 1e6:.1f} MB, and max_document_mb = "
                f"{max_bytes / 1e6:g}. Split the file into documents (one JSONL line each), or "
                "raise max_document_mb of the domain."
            )
    return content


def _check_text(path: Path, content: bytes) -> None:
    """Raise unless the file is text: an archive would be one document of noise."""
    try:
        content.decode()
    except UnicodeDecodeError:
        good = False
    else:
        good = b"\0" not in content
    if not good:
        raise DataError(
            f"{path}: neither text in UTF-8 nor of a kind that its suffix tells. Unpack it, or "
            "turn it into .txt or .jsonl."
        )


def _unreadable(path: Path, error: Exception) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: gone since the folder was listed. Restore it, or run again.")
    return DataError(f"{path}: cannot be read ({error}). Restore or remove it.")


def _name(path: Path, source: Path) -> str:
    return path.name if path == source else path.relative_to(source).as_posix()
