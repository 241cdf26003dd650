"""Law cards as files: Markdown that cannot be broken, places that are not written over."""

import re
from dataclasses import replace

import pytest

from isoflop._errors import InputError
from isoflop._types import Problem
from isoflop.fitting import law_card
from isoflop.reports import card_markdown, read_law_card, write_law_card

HOSTILE = "run</script><script>alert('1')</script>\"&"


@pytest.fixture(scope="module")
def card(report):
    return law_card(report.analysis)


def tables(text):
    blocks = re.findall(r"(?:^\|.*\|\n)+", text, re.M)
    return [block.splitlines() for block in blocks]


def cells(line):
    return re.split(r"(?<!\\)\|", line)[1:-1]


def test_files_read_back_and_the_same_card_gives_the_same_bytes(card, tmp_path):
    first = write_law_card(tmp_path / "a.json", card)
    assert [path.name for path in first] == ["a.json", "a.md"]
    again = read_law_card(first[0])
    assert again.problems == card.problems
    second = write_law_card(tmp_path / "b.json", again)
    for ours, theirs in zip(first, second, strict=True):
        assert ours.read_bytes() == theirs.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.md", "b.json", "b.md"]


def test_markdown_has_everything_that_an_appendix_needs(card):
    text = card_markdown(card).replace("\\", "")
    for law in card.laws:
        assert law.formula in text
        assert law.source in text
        for name, interval in law.constants.items():
            (line,) = re.findall(rf"^\| {name} \| .*$", text, re.M)
            printed = float(cells(line)[1])
            assert printed == pytest.approx(interval.value, rel=1e-7)
    for one in (*card.problems, *card.further_problems):
        assert one.code in text
        assert one.remedy in text
    for word in (
        card.record.data_sha256, "non_embedding_with_head", "6nd", "nats/token", "9 runs on 3",
        "robust", "90 %", card.isoflop,
    ):  # fmt: skip
        assert word in text


def test_words_from_files_cannot_break_the_page(card):
    nasty = f"{HOSTILE} | a|b\n\n# heading\n<b>*x*_y_`z`[l](http://e.org) $m$ \\"
    outliers = Problem(code="outliers", severity="note", text=nasty, remedy=nasty)
    bad = replace(
        card,
        target=nasty,
        n_params_convention=nasty,
        problems=(*card.problems, outliers),
        ranges={nasty: (1.0, 2.0)},
        record=replace(card.record, data_sha256=nasty, objective=nasty, prior=(nasty,)),
        laws=(replace(card.laws[0], formula=nasty, source=nasty, name=nasty),),
    )
    plain, hostile = card_markdown(card), card_markdown(bad)
    body = hostile.split("\n", 1)[1]
    assert not re.search(r"(?<!\\)[<>$*_\[\]]", body)
    assert body.count("`") - body.count("\\`") == 2  # around the fingerprint alone
    # One heading, table and row more or less would show that a line was broken.
    assert len(re.findall(r"^#", hostile, re.M)) == len(re.findall(r"^#", plain, re.M))
    assert len(tables(hostile)) == len(tables(plain))
    for block in tables(hostile):
        assert len({len(cells(line)) for line in block}) == 1


def test_a_file_that_is_no_law_card_is_kept(card, tmp_path):
    for name in ("a.json", "b.md"):
        (tmp_path / name).write_text("mine", encoding="utf-8")
    for place in ("a.json", "b.json"):
        with pytest.raises(InputError, match=f"{place[0]}.*no law card"):
            write_law_card(tmp_path / place, card)
    assert {path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == {"mine"}
    write_law_card(tmp_path / "c.json", card)
    write_law_card(tmp_path / "c.json", replace(card, n_runs=10))  # ours may be written over
    assert read_law_card(tmp_path / "c.json").n_runs == 10


def test_places_that_cannot_be(card, tmp_path):
    with pytest.raises(InputError, match=r"ends in \.json"):
        write_law_card(tmp_path / "card.md", card)
    with pytest.raises(InputError, match="no such folder"):
        write_law_card(tmp_path / "no" / "card.json", card)
    with pytest.raises(InputError, match=r"no\.json"):
        read_law_card(tmp_path / "no.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"bytes\.json"):
        read_law_card(tmp_path / "bytes.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InputError, match=r"folder\.json"):
        write_law_card(tmp_path / "folder.json", card)


def test_a_law_that_is_not_known_here_is_told_when_the_card_is_read(card, tmp_path):
    path, _ = write_law_card(
        tmp_path / "a.json", replace(card, laws=(replace(card.laws[0], name="mine"),))
    )
    with pytest.raises(InputError, match=r"a\.json.*mine"):
        read_law_card(path)
