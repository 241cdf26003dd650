"""Documents of the user's own files: text, source code and JSON lines."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from isoflop._errors import DataError

_CODE = "py pyi c h cc cpp hpp cu java js ts go rs rb jl r sh sql html css lua scala kt swift hs ml"
TEXT_SUFFIXES = frozenset(f".{suffix}" for suffix in ("txt", "md", "rst", "tex", *_CODE.split()))
JSONL_SUFFIXES = (".jsonl", ".jsonl.gz")


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


def list_files(source: Path, *, key: str) -> tuple[Path, ...]:
    """The readable files of a folder (recursive, hidden ones left out), sorted; or the one file.

    Raises:
        DataError: nothing there, or no file of a known kind.
    """
    if source.is_file():
        return (source,)
    if not source.is_dir():
        raise DataError(f"{key}: {source} does not exist. Correct the path of the source.")
    files = tuple(
        path
        for path in sorted(source.rglob("*"))
        if _is_readable(path.name)
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(source).parts)
    )
    if not files:
        raise DataError(
            f"{key}: {source} holds no text (.txt, .md, source code, .jsonl, .jsonl.gz). "
            "Point the source at a folder or file with documents."
        )
    return files


def hash_files(source: Path, files: tuple[Path, ...]) -> str:
    """SHA-256 over names and contents of the files: what tells whether a source has changed."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{_name(path, source)}\0{content}\n".encode())
    return total.hexdigest()


def read_files(source: Path, files: tuple[Path, ...]) -> Iterator[Document]:
    """The documents of the files: one a file, or one a line of a JSONL file (key `text`).

    Raises:
        DataError: a file cannot be read, or a line is not JSON with a text; names file and line.
    """
    for path in files:
        try:
            if path.name.endswith(JSONL_SUFFIXES):
                yield from _read_jsonl(path, _name(path, source))
            else:
                yield make_document(_name(path, source), path.read_bytes())
        except (OSError, EOFError, zlib.error) as error:  # gzip.BadGzipFile is an OSError
            raise DataError(f"{path}: cannot be read ({error}). Restore or remove it.") from error


def _read_jsonl(path: Path, name: str) -> Iterator[Document]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as stream:
        for number, raw in enumerate(stream, start=1):
            line = raw.decode("utf-8-sig", "replace")
            if not line.strip():
                continue
            try:
                text = json.loads(line)["text"]
            except (json.JSONDecodeError, KeyError, TypeError, RecursionError) as error:
                raise DataError(
                    f"{path}:{number}: not a JSON object with the key `text` "
                    f"({type(error).__name__}: {error}). Mend or remove the line."
                ) from error
            if not isinstance(text, str):
                raise DataError(
                    f"{path}:{number}: `text` must be a string, but got "
                    f"{type(text).__name__}. Mend or remove the line."
                )
            document = make_document(f"{name}:{number}", text)
            broken = "\ufffd" in line and b"\xef\xbf\xbd" not in raw
            yield replace(document, replaced=True) if broken else document


def _is_readable(name: str) -> bool:
    return name.endswith(JSONL_SUFFIXES) or Path(name).suffix.lower() in TEXT_SUFFIXES


def _name(path: Path, source: Path) -> str:
    return path.name if path == source else path.relative_to(source).as_posix()
