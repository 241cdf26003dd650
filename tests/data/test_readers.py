"""Files become documents; what is wrong is named with file and line."""

import gzip
import json
from pathlib import Path

import pytest

from isoflop._errors import DataError
from isoflop.data.documents import Document, make_document
from isoflop.data.readers import list_files, read_files


def read(source: Path) -> list[Document]:
    return list(read_files(source, list_files(source, key="data.domains.source")))


def test_folder_is_read_recursively_in_order_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b.md", "a/x.txt", "a/code.py", ".git/config.txt", "picture.png", "B.TXT"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"text of {name}", encoding="utf-8")
    assert [document.name for document in read(tmp_path)] == [
        "B.TXT", "a/code.py", "a/x.txt", "b.md",
    ]  # fmt: skip


def test_json_lines_plain_and_compressed(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps({"text": f"document {i}\r\nend "}) for i in range(3)) + "\n\n"
    (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    documents = read(tmp_path)
    assert [d.name for d in documents][:2] == ["a.jsonl:1", "a.jsonl:2"]
    assert [d.text for d in documents] == [f"document {i}\nend" for i in range(3)] * 2
    assert len({d.digest for d in documents}) == 3


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "JSONDecodeError"),
        ('{"body": "x"}', "KeyError"),
        ("[1]", "TypeError"),
        ('{"text": 3}', "must be a string, but got int"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"a\.jsonl:2: .*{complaint}.*Mend or remove the line"):
        read(tmp_path)


def test_a_cut_gzip_file_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(b'{"text": "x"}\n' * 1000)
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a\.jsonl\.gz: cannot be read"):
        read(tmp_path)


def test_bytes_that_are_not_utf8_are_replaced_and_marked(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    (tmp_path / "b.txt").write_bytes("\ufeffcafé".encode())
    (tmp_path / "c.jsonl").write_bytes(b'{"text": "caf\xe9"}\n{"text": "lone \\ud800 half"}\n')
    documents = read(tmp_path)
    assert [d.replaced for d in documents] == [True, False, True, True]
    assert documents[0].text == documents[2].text == "caf\ufffd"
    assert documents[1].text == "café"
    assert all(d.n_bytes == len(d.text.encode()) for d in documents)


def test_a_replacement_character_of_the_author_is_no_damage() -> None:
    assert not make_document("a", "kept \ufffd as it is".encode()).replaced


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.domains\.source: .*nowhere does not exist"):
        read(tmp_path / "nowhere")
    (tmp_path / "picture.png").write_bytes(b"")
    with pytest.raises(DataError, match="holds no text"):
        read(tmp_path)
