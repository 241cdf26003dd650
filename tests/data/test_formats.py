"""Every kind of file gives the same documents; what is wrong is named with file, row and remedy."""

import csv
import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from isoflop._errors import DataError
from isoflop.data.documents import Document
from isoflop.data.hub import read_hub, resolve_hub
from isoflop.data.kinds import Reading
from isoflop.data.readers import hash_files, list_files, read_files
from isoflop.data.sources import resolve_source
from isoflop.specs import DomainSection
from optional import need_package

TEXTS = ["first, with a comma", 'a "quoted" word\nand two lines', "", "café 中文", "x" * 200_000]


MEMORY = """
import sys
from pathlib import Path
from isoflop._errors import DataError
from isoflop.data.kinds import Reading
from isoflop.data.readers import list_files, read_files
path, reading = Path(sys.argv[1]), Reading(max_bytes=1_000_000)
try:
    for document in read_files(path, list_files(path, key="k"), reading):
        pass
except DataError as error:
    status = Path("/proc/self/status").read_text()
    sys.stdout.write(f"{int(status.split('VmHWM:')[1].split()[0]) // 1000} {error}")
"""


def read(source: Path, **options: Any) -> list[Document]:
    reading = Reading(**options)
    return list(read_files(source, list_files(source, key="source", reading=reading), reading))


def texts(source: Path, **options: Any) -> list[str]:
    return [document.text for document in read(source, **options)]


def write_parquet(path: Path, column: Sequence[Any], name: str = "text", **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table({"id": range(len(column)), name: column})
    pyarrow.parquet.write_table(table, path, **options)
    return path


def write_csv(path: Path, column: Sequence[str], delimiter: str) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=delimiter)
        writer.writerows([("id", "text"), *enumerate(column)])
    return path


def write_zst(path: Path, *frames: bytes) -> Path:
    with path.open("wb") as stream:
        for frame in frames:
            sink = pyarrow.BufferOutputStream()
            with pyarrow.CompressedOutputStream(sink, "zstd") as packed:
                packed.write(frame)
            stream.write(sink.getvalue().to_pybytes())
    return path


def jsonl(rows: Sequence[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def test_all_kinds_give_the_same_documents(tmp_path: Path) -> None:
    lines = jsonl([{"text": text} for text in TEXTS])
    (tmp_path / "a.jsonl").write_bytes(lines)
    write_zst(tmp_path / "a.jsonl.zst", lines[:50], lines[50:])
    write_csv(tmp_path / "a.csv", TEXTS, ",")
    write_csv(tmp_path / "a.tsv", TEXTS, "\t")
    write_parquet(tmp_path / "a.parquet", TEXTS, row_group_size=2)
    table = pyarrow.table({"text": pyarrow.array(TEXTS).dictionary_encode(), "n": range(5)})
    with pyarrow.ipc.new_stream(tmp_path / "s.arrow", table.schema) as stream:
        stream.write_table(table)
    with pyarrow.ipc.new_file(tmp_path / "f.arrow", table.schema) as file:
        file.write_table(table, max_chunksize=3)
    for name in ("a.jsonl", "a.jsonl.zst", "a.csv", "a.tsv", "a.parquet", "s.arrow", "f.arrow"):
        found = read(tmp_path / name)
        assert [document.text for document in found] == TEXTS, name
        assert found[3].name == f"{name}:4"


def test_rows_beyond_one_batch_keep_their_order(tmp_path: Path) -> None:
    many = [f"document {i}" for i in range(1000)]
    assert texts(write_parquet(tmp_path / "a.parquet", many)) == many
    table = pyarrow.table({"text": many})
    with pyarrow.ipc.new_stream(tmp_path / "a.arrow", table.schema) as stream:
        stream.write_table(table)
    assert texts(tmp_path / "a.arrow") == many


def test_null_is_an_empty_document(tmp_path: Path) -> None:
    assert texts(write_parquet(tmp_path / "a.parquet", ["x", None])) == ["x", ""]
    (tmp_path / "a.jsonl").write_bytes(jsonl([{"text": None}]))
    assert texts(tmp_path / "a.jsonl") == [""]


def test_another_column(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", ["x"], "body")
    (tmp_path / "b.jsonl").write_bytes(jsonl([{"body": "y", "text": "no"}]))
    assert texts(tmp_path, text_column="body", formats=("parquet", "jsonl")) == ["x", "y"]


def test_a_folder_of_tables_is_read_as_tables(tmp_path: Path) -> None:
    write_parquet(tmp_path / "data" / "train-0.parquet", ["x"])
    write_csv(tmp_path / "b.csv", ["y"], ",")
    assert texts(tmp_path) == ["y", "x"]


def test_a_stray_csv_beside_text_is_left_alone_and_a_data_set_is_asked_about(
    tmp_path: Path,
) -> None:
    (tmp_path / "README.md").write_text("read me", encoding="utf-8")
    write_csv(tmp_path / "b.csv", ["y"], ",")
    assert texts(tmp_path) == ["read me"]
    write_parquet(tmp_path / "data.parquet", ["x"])
    with pytest.raises(DataError, match=r"README\.md beside data\.parquet.* Say formats ="):
        read(tmp_path)
    assert texts(tmp_path, formats=("parquet",)) == ["x"]
    assert texts(tmp_path, formats=("text",)) == ["read me"]


def test_languages_by_suffix(tmp_path: Path) -> None:
    for name in ("a.py", "b.pyi", "c.RS", "d.c", "e.md", "f.html"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    assert texts(tmp_path, languages=("python", "rust")) == ["a.py", "b.pyi", "c.RS"]
    assert texts(tmp_path, languages=("c",), formats=("code", "text")) == ["d.c", "e.md"]
    with pytest.raises(DataError, match=r"holds no text \(go\)"):
        read(tmp_path, languages=("go",))


def test_a_file_of_another_kind_than_asked_for(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", ["x"])
    with pytest.raises(DataError, match=r"a\.parquet is none of formats = \['csv'\]"):
        read(path, formats=("csv",))
    code = tmp_path / "a.py"
    code.write_text("x = 1", encoding="utf-8")
    assert texts(code, languages=("python",)) == ["x = 1"]
    with pytest.raises(DataError, match=r"a\.py is none of languages = \['go'\]"):
        read(code, languages=("go",))


def test_suffixes_in_capitals(tmp_path: Path) -> None:
    (tmp_path / "A.JSONL").write_bytes(jsonl([{"text": "x"}]))
    (tmp_path / "b.txt").write_text("y", encoding="utf-8")
    assert texts(tmp_path) == ["x", "y"]


def test_a_single_file_of_unknown_kind_is_text_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.unknown"
    path.write_bytes("\ufeffcaf\u00e9".encode())
    assert texts(path) == ["caf\u00e9"]
    for content in (gzip.compress(b"some text"), b"a\0b", b"caf\xe9"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"notes\.unknown: neither text .* Unpack it"):
            read(path)


# ---- HTML

PAGE = """<html><head><title>T</title><script>track()</script></head><body>
<nav><a href="/">Home</a><a href="/b">Blog</a></nav>
<main><h1>Scaling</h1><p>Losses fall as a power of compute, &amp; the caf\u00e9 is open. This page
has enough words in its paragraphs for it to be told from its frame.</p></main>
<footer>All rights reserved</footer></body></html>"""


def test_html_is_source_code_until_its_text_is_asked_for(tmp_path: Path) -> None:
    need_package("resiliparse", "html")
    (tmp_path / "a.html").write_text(PAGE, encoding="utf-8")
    declared = PAGE.replace("<head>", '<head><meta charset="latin-1">')
    (tmp_path / "b.htm").write_bytes(declared.encode("latin-1"))
    assert texts(tmp_path) == [PAGE]
    one, two = read(tmp_path, formats=("html",))
    assert one.text == two.text
    assert not one.replaced
    assert not two.replaced
    assert "Losses fall as a power of compute, & the caf\u00e9 is open." in one.text
    for frame in ("track", "Home", "Blog", "rights", "<p>"):
        assert frame not in one.text


def test_html_in_unknown_bytes_is_marked(tmp_path: Path) -> None:
    need_package("resiliparse", "html")
    (tmp_path / "a.html").write_bytes(PAGE.encode("latin-1"))
    (document,) = read(tmp_path, formats=("html",))
    assert document.replaced
    assert "caf\ufffd" in document.text


@pytest.mark.parametrize("declared", ["undefined", "utf-16", "UTF-16LE", "hex", "no-such-thing"])
def test_html_that_declares_what_it_cannot_be_in_is_utf8(tmp_path: Path, declared: str) -> None:
    need_package("resiliparse", "html")
    page = PAGE.replace("<head>", f'<head><meta charset="{declared}">')
    (tmp_path / "a.html").write_bytes(page.encode("latin-1"))
    (document,) = read(tmp_path, formats=("html",))
    assert document.replaced
    assert "caf\ufffd is open." in document.text


# ---- what is wrong is named


def test_a_number_of_more_digits_than_python_reads_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x", "n": %s}\n' % ("9" * 5000), encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl:1: not a JSON object .*Mend or remove the line"):
        read(tmp_path)


def test_a_cut_parquet_file_is_named(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [f"document {i}" for i in range(1000)])
    whole = path.read_bytes()
    damaged = bytearray(whole)
    chunk = pyarrow.parquet.ParquetFile(path).metadata.row_group(0).column(1)
    begin = chunk.dictionary_page_offset or chunk.data_page_offset
    damaged[begin : begin + 26] = b"\xff" * 26  # the header of the column's first page
    for broken in (whole[: len(whole) // 2], whole[:-1], b"", b"PAR1", bytes(damaged)):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"a\.parquet: cut or not Parquet.*Restore or remove"):
            read(path)


def test_a_cut_arrow_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    table = pyarrow.table({"text": ["some text"] * 500})
    with pyarrow.ipc.new_stream(path, table.schema) as stream:
        stream.write_table(table)
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], whole[:100], b"", b"ARROW1"):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"a\.arrow: cut or not Arrow"):
            read(path)


@pytest.mark.parametrize("dictionary", [False, True])
def test_a_damaged_offset_of_an_arrow_file_is_named(tmp_path: Path, dictionary: bool) -> None:
    """In a process of its own: unchecked, the memory map is read where there is no file."""
    path = tmp_path / "a.arrow"
    column = pyarrow.array([f"number {i:05d}" for i in range(500)])
    table = pyarrow.table({"text": column.dictionary_encode() if dictionary else column})
    with pyarrow.ipc.new_stream(path, table.schema) as stream:
        stream.write_table(table)
    whole = path.read_bytes()
    at = whole.index((12 * 100).to_bytes(4, "little") + (12 * 101).to_bytes(4, "little"))
    for offset in (2_000_000_000, -2_000_000_000, 12 * 90):
        path.write_bytes(whole[:at] + offset.to_bytes(4, "little", signed=True) + whole[at + 4 :])
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(path)], check=True, capture_output=True, text=True
        )
        assert "a.arrow: cut or not Arrow" in done.stdout


def test_an_index_outside_an_arrow_dictionary_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    for index in (5, -1):
        wrong = pyarrow.DictionaryArray.from_arrays([0, index], ["x", "y"], safe=False)
        table = pyarrow.table({"text": wrong})
        with pyarrow.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table)
        with pytest.raises(DataError, match=r"a\.arrow: cut or not Arrow"):
            read(path)


def test_an_arrow_stream_cut_between_batches_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    # The last bytes of a batch can look like the mark: numbers -1 and 0.
    table = pyarrow.table({"text": ["some text"] * 6, "n": pyarrow.array([-1, 0] * 3, "int32")})
    ends = []
    with path.open("wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as stream:
        for batch in table.to_batches(max_chunksize=2):
            ends.append(sink.tell())
            stream.write_batch(batch)
        ends.append(sink.tell())
    whole = path.read_bytes()
    assert texts(path) == ["some text"] * 6
    for end in (*ends, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(DataError, match=r"a\.arrow: cut or not Arrow"):
            read(path)


def test_a_cut_zst_file_is_named(tmp_path: Path) -> None:
    path = write_zst(tmp_path / "a.jsonl.zst", jsonl([{"text": f"number {i}"} for i in range(999)]))
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], whole[:-2], b"no zstd at all"):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"a\.jsonl\.zst: cannot be read"):
            read(path)


def test_mixed_schemas_in_one_folder_are_named(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", ["x"])
    write_parquet(tmp_path / "b.parquet", ["y"], "body")
    documents = read_files(tmp_path, list_files(tmp_path, key="k"))
    assert next(documents).text == "x"
    with pytest.raises(DataError, match=r"b\.parquet: the column 'text' is nowhere among id, body"):
        next(documents)
    write_parquet(tmp_path / "b.parquet", [1, 2])
    with pytest.raises(DataError, match=r"b\.parquet: the column 'text' holds int64, not text"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("id,body\n1,x\n", r"a\.csv: the column 'text' is nowhere among id, body"),
        ("text,text\nx,y\n", r"a\.csv: the column 'text' is twice among"),
        ("", r"a\.csv: the column 'text' is nowhere among none"),
        ("id,text\n1,fine\n\n2\n", r"a\.csv:4: a row of 1 fields under a header of 2"),
        ("id,text\n1,fine\n2,one, two\n", r"a\.csv:3: a row of 3 fields under .*2\. Quote the"),
        ('id,text\n1,fine\n2,"open\nfor ever\n', r"a\.csv:3: not a row of a table"),
        ('id,text\n1,"a"b\n', r"a\.csv:2: not a row of a table"),
    ],
)
def test_a_bad_csv_is_named(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "a.csv").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=complaint):
        read(tmp_path)


def test_invalid_utf8_is_replaced_and_marked_in_every_kind(tmp_path: Path) -> None:
    broken = b"caf\xe9"
    (tmp_path / "a.txt").write_bytes(broken)
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "%b"}\n' % broken)
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbftext\n%b\n" % broken)
    # Arrow does not check what it is told to be a string.
    column = pyarrow.array([broken]).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"text": column}), tmp_path / "a.parquet")
    for name in ("a.txt", "a.jsonl", "a.csv", "a.parquet"):
        (document,) = read(tmp_path / name)
        assert (document.text, document.replaced) == ("caf\ufffd", True), name


def test_a_document_beyond_the_limit_is_refused_in_every_kind(tmp_path: Path) -> None:
    text = "y" * 3000
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    (tmp_path / "a.jsonl").write_bytes(jsonl([{"text": "ok"}, {"text": text}]))
    write_zst(tmp_path / "a.jsonl.zst", jsonl([{"text": "ok"}, {"text": text}]))
    write_csv(tmp_path / "a.csv", ["ok", text], ",")
    write_parquet(tmp_path / "a.parquet", ["ok", text])
    places = {
        "a.txt": "", "a.jsonl": ":2", "a.jsonl.zst": ":2", "a.csv": ":3", "a.parquet": ", row 2",
    }  # fmt: skip
    for name, place in places.items():
        with pytest.raises(DataError, match=rf"{name}{place}: .*max_document_mb"):
            read(tmp_path / name, max_bytes=2000)
        assert texts(tmp_path / name, max_bytes=4000)[-1] == text


@pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's")
@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.csv"])
def test_one_endless_line_does_not_fill_the_memory(tmp_path: Path, name: str) -> None:
    """300 MB without a line end and a limit of 1 MB: the interpreter itself takes about 100 MB."""
    path = tmp_path / name
    with path.open("wb") as stream:
        stream.write(b"text\n" if name == "a.csv" else b'{"text": "')
        stream.seek(300_000_000)  # a hole of zeros on disk
        stream.write(b"x")
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path)], check=True, capture_output=True, text=True
    )
    peak, error = done.stdout.split(" ", 1)
    assert int(peak) < 200
    assert "max_document_mb" in error


@pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's")
def test_long_rows_of_parquet_do_not_fill_the_memory(tmp_path: Path) -> None:
    """200 rows of 3 MB and a limit of 1 MB: the first is refused, not 200 of them held."""
    column = [f"{i}" + "y" * 3_000_000 for i in range(200)]
    path = write_parquet(tmp_path / "a.parquet", column, write_batch_size=1)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path)], check=True, capture_output=True, text=True
    )
    peak, error = done.stdout.split(" ", 1)
    assert int(peak) < 250
    assert "row 1: a document of 3.0 MB" in error


def test_a_file_that_vanishes_is_named(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", ["x"])
    write_parquet(tmp_path / "b.parquet", ["y"])
    files = list_files(tmp_path, key="k")
    documents = read_files(tmp_path, files)
    assert next(documents).text == "x"
    (tmp_path / "b.parquet").unlink()
    with pytest.raises(DataError, match=r"b\.parquet: gone since the folder was listed"):
        list(documents)
    with pytest.raises(DataError, match=r"b\.parquet: gone since"):
        hash_files(tmp_path, files)


# ---- the datasets library


def test_data_sets_saved_to_disk_and_those_it_loads(tmp_path: Path) -> None:
    need_package("datasets", "hub")
    script = (
        "import sys, datasets; datasets.disable_progress_bars()\n"
        "rows = datasets.Dataset.from_dict({'text': [f'row {i}' for i in range(600)]})\n"
        "datasets.DatasetDict({'train': rows}).save_to_disk(sys.argv[1] + '/saved')\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, capture_output=True)
    want = [f"row {i}" for i in range(600)]
    assert texts(tmp_path / "saved") == want
    # What the library derives (map, filter, sort) and keeps beside its data is no data.
    (saved,) = (tmp_path / "saved").rglob("*.arrow")
    assert saved.read_bytes().endswith(b"\xff\xff\xff\xff\0\0\0\0")  # the mark that is asked for
    (saved.parent / "cache-1234.arrow").write_bytes(saved.read_bytes())
    assert texts(tmp_path / "saved") == want

    write_parquet(tmp_path / "set" / "data" / "train-0.parquet", want)
    write_parquet(tmp_path / "set" / "data" / "test-0.parquet", ["held out"])
    section = DomainSection(name="a", source="hf:set")
    version = resolve_hub(section, base=tmp_path)
    assert version == resolve_hub(section, base=tmp_path)
    assert [document.text for document in read_hub(section, base=tmp_path)] == want
    other = DomainSection(name="a", source="hf:set", split="test")
    assert resolve_hub(other, base=tmp_path) != version
    assert [document.text for document in read_hub(other, base=tmp_path)] == ["held out"]
    with pytest.raises(DataError, match="has no split 'dev' but"):
        resolve_hub(DomainSection(name="a", source="hf:set", split="dev"), base=tmp_path)
    # The version goes by content: not by place or time, but by what says how it is read.
    moved = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "set", moved / "set")
    (parquet,) = moved.rglob("train-0.parquet")
    os.utime(parquet, (1, 1))
    assert resolve_hub(section, base=moved) == version
    write_parquet(parquet, ["row X", *want[1:]])
    os.utime(parquet, (1, 1))
    changed = resolve_hub(section, base=moved)
    assert changed != version
    (moved / "set" / "README.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    assert resolve_hub(section, base=moved) != changed

    wrong = DomainSection(name="a", source="hf:set", text_column="body")
    with pytest.raises(DataError, match="row 1: no text in the column 'body' among id, text"):
        list(read_hub(wrong, base=tmp_path))


def test_rows_are_those_of_the_revision_that_the_version_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub is played: between the version and the reading it may have moved on."""
    asked = []

    def load_dataset(*place: str | None, **options: Any) -> list[dict[str, str]]:
        asked.append(options["revision"])
        return [{"text": "x"}]

    commit = "0a" * 20
    files = {"train": [f"hf://datasets/some/set@{commit}/a.parquet"]}
    builder = SimpleNamespace(hash=commit, config=SimpleNamespace(name="default", data_files=files))
    hub = SimpleNamespace(load_dataset=load_dataset, load_dataset_builder=lambda *_: builder)
    monkeypatch.setattr("isoflop.data.hub._import", lambda: hub)
    section = DomainSection(name="a", source="hf:some/set")
    (document,) = resolve_source(section, base=tmp_path, cache=tmp_path).read()
    assert (document.text, asked) == ("x", [commit])


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_gzip_behind_the_datasets_library_is_named(tmp_path: Path, damage: str) -> None:
    need_package("datasets", "hub")
    rows = jsonl([{"text": f"{i} {i * i}"} for i in range(100_000)])
    whole = bytearray(gzip.compress(rows))
    if damage == "cut":
        del whole[len(whole) // 2 :]
    else:
        whole[len(whole) // 2 : len(whole) // 2 + 200] = b"\xff" * 200
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl.gz").write_bytes(whole)
    with pytest.raises(DataError, match="hf:set cannot be read"):
        list(read_hub(DomainSection(name="a", source="hf:set"), base=tmp_path))
