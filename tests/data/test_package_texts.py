"""Texts of unpacked packages, each read from a folder laid out as its package is."""

import gzip
import json
from pathlib import Path

import pytest

from isoflop._errors import DataError
from isoflop.data.package_texts import (
    POEMS,
    read_dictionary,
    read_go,
    read_handbook,
    read_licences,
    read_markdown_gz,
    read_moby_dick,
    read_poems,
)
from isoflop.data.recipes import fetch_recipe, find_recipe, read_recipe


def put(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def test_a_dictionary_gives_each_entry_once(tmp_path: Path) -> None:
    """dictd: headword, offset and length in its base 64 (A = 0, BA = 64, / = 63)."""
    parts = [b"about the dictionary ", b"abacus: beads " + b"." * 60, b"abaft: behind"]
    place = tmp_path / "usr" / "share" / "dictd" / "tiny"
    put(place.with_suffix(".dict.dz"), gzip.compress(b"".join(parts)))
    # 21 = V, 74 = BK, 95 = Bf, 13 = N
    index = "00-database-info\tA\tV\nabacus\tV\tBK\nabaci\tV\tBK\nabaft\tBf\tN\n"
    put(place.with_suffix(".index"), index)
    found = list(read_dictionary(tmp_path))
    assert [document.text.encode() for document in found] == parts[1:]
    assert found[1].name == "abaft@95"
    put(place.with_suffix(".dict.dz"), gzip.compress(b"x" * 1000)[:-12])
    with pytest.raises(DataError, match="its dictionary is cut"):
        list(read_dictionary(tmp_path))
    place.with_suffix(".index").unlink()
    with pytest.raises(DataError, match=r"0 dictionaries where there is one\. Delete the folder"):
        list(read_dictionary(tmp_path))


def test_a_damaged_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = find_recipe("chinese_poetry")
    monkeypatch.setattr(type(recipe), "locate", lambda self, cache: cache)
    put(tmp_path / "package" / "dist" / "a.json", "[{")
    with pytest.raises(DataError, match=r"package:chinese_poetry: its folder .* is damaged"):
        list(read_recipe(recipe, cache=tmp_path))
    with pytest.raises(DataError, match=r"package:chinese_poetry: its folder .* is damaged"):
        fetch_recipe(find_recipe("chinese_poetry"), cache=tmp_path)


def test_licences_lose_their_front_matter_only(tmp_path: Path) -> None:
    put(tmp_path / "data/licenses/a.LICENSE", "---\nkey: a\n---\n\nYou may.\n---\nOr not.\n")
    put(tmp_path / "data/rules/b.RULE", "no front matter")
    assert [document.text for document in read_licences(tmp_path)] == [
        "You may.\n---\nOr not.", "no front matter",
    ]  # fmt: skip


def test_poems_are_joined_and_tables_of_tones_left_out(tmp_path: Path) -> None:
    dist = tmp_path / "package" / "dist"
    many = [{"title": f"t{i}", "author": "a", "paragraphs": [f"l{i}。"]} for i in range(POEMS + 1)]
    put(dist / "tang" / "a.json", json.dumps(many))
    put(dist / "book.json", json.dumps({"title": "b", "content": [{"para": ["x", "y"]}]}))
    put(dist / "strains" / "a.json", json.dumps([{"title": "t", "paragraphs": ["平平仄"]}]))
    put(dist / "authors.json", json.dumps([{"name": "n", "desc": "d"}]))
    found = {document.name: document.text for document in read_poems(tmp_path)}
    assert list(found) == ["book.json:1", "tang/a.json:1", f"tang/a.json:{POEMS + 1}"]
    assert found["book.json:1"] == "x\ny"
    assert found[f"tang/a.json:{POEMS + 1}"] == f"t{POEMS}\na\nl{POEMS}。"


def test_books_and_sources(tmp_path: Path) -> None:
    put(tmp_path / "package/moby-dick/data/chapter_1.txt", "Call me Ishmael.")
    put(tmp_path / "package/moby-dick/data/data.txt", "all chapters again")
    assert [d.text for d in read_moby_dick(tmp_path)] == ["Call me Ishmael."]
    source = tmp_path / "usr/share/go-1.19/src"
    for name in ("fmt/print.go", "fmt/print_test.go", "fmt/testdata/a.go", "vendor/x/y.go"):
        put(source / name, f"package {name}")
    put(source / "syscall/tables.go", "x" * 200_001)
    assert [d.name for d in read_go(tmp_path)] == ["fmt/print.go"]
    page = "<html><head><title>T</title></head><body><p>One &amp; two</p></body></html>"
    put(tmp_path / "usr/share/doc/debian-handbook/html/zh-CN/a.html", page)
    assert [d.text for d in read_handbook(tmp_path, "zh-CN")] == ["One & two"]
    assert list(read_handbook(tmp_path, "en-US")) == []
    put(tmp_path / "usr/share/doc/tiny/a.md.gz", gzip.compress(b"# Title"))
    assert [d.text for d in read_markdown_gz(tmp_path)] == ["# Title"]


@pytest.mark.slow
def test_a_recipe_from_the_package_index(tmp_path: Path) -> None:
    """26 MB through pip, hash checked; the counts are those of the pinned file."""
    found = fetch_recipe(find_recipe("licences"), cache=tmp_path)
    assert (found.documents, found.bytes) == (37_163, 37_409_283)
