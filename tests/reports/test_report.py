"""The page: safe, self-contained, complete, the same bytes for the same report."""

import base64
import hashlib
import html
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from isoflop._errors import MissingExtraError
from isoflop.reports import Report, collect_problems, write_report
from isoflop.reports.html import text
from isoflop.reports.sections import SECTIONS, headline, render
from isoflop.reports.style import LIGHT, styled


class Elements(HTMLParser):
    """All tags with their attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_no_script_and_every_hostile_name_is_escaped(page: str, report: Report) -> None:
    hostile = str(report.column("run")[0])
    assert "</script>" in hostile
    assert "script" not in {tag for tag, _ in Elements(page).tags}
    assert hostile not in page
    assert html.escape(hostile) in page
    assert not any(name.startswith("on") for _, attrs in Elements(page).tags for name in attrs)


def test_policy_forbids_everything_but_own_style_and_data_images(page: str) -> None:
    (policy,) = (
        attrs["content"]
        for tag, attrs in Elements(page).tags
        if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy"
    )
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert policy is not None
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy.split("; ")[:3] == [
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "img-src data:",
    ]
    assert "style" not in {name for _, attrs in Elements(page).tags for name in attrs}


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    for _, attrs in Elements(page).tags:
        for name in ("src", "srcset", "href", "action", "data"):
            value = attrs.get(name)
            assert value is None or value.startswith(("#", "data:image/svg+xml;base64,"))
    for svg in figures_of(page):
        assert not re.search(r'(href|src)="(?!#)', svg)
        assert "@import" not in svg
        assert "<script" not in svg


def test_every_figure_has_both_themes_and_words(page: str) -> None:
    tags = Elements(page).tags
    images = [attrs for tag, attrs in tags if tag == "img"]
    assert len(images) == 7
    assert all(attrs["alt"] for attrs in images)
    assert sum(tag == "source" for tag, _ in tags) == len(images)


def test_same_report_same_bytes(page: str, report: Report) -> None:
    assert render(report) == page


def test_every_problem_appears_with_text_and_remedy(page: str, report: Report) -> None:
    found = collect_problems(report)
    codes = {
        "diverged_runs",
        "repeated_data",
        "pre_asymptotic",
        "ill_conditioned",
        "few_runs",
        "outliers",
        "edge_minimum",
        "extrapolation",
    }
    assert codes <= {problem.code for problem, _ in found}
    for problem, _ in found:
        for part in (problem.code, problem.severity, problem.text, problem.remedy):
            assert html.escape(part) in page
    assert found[0][0].severity == "disqualifying"


def test_a_problem_of_two_places_is_listed_once_with_both(report: Report) -> None:
    shared = report.problems[0]
    forecast = report.forecast
    assert forecast is not None
    double = replace(report, forecast=replace(forecast, problems=(shared,)))
    places = dict(collect_problems(double))[shared]
    assert places == ("study", "forecast")


@pytest.mark.parametrize("missing", ["card", "forecast", "actual", "plan", "analysis"])
def test_a_part_that_does_not_exist_yet_is_no_obstacle(report: Report, missing: str) -> None:
    assert_sections(render(replace(report, curves=(), **{missing: None})))


def test_every_section_is_there_even_before_the_first_fit(page: str, bare: Report) -> None:
    assert_sections(page)
    assert_sections(render(bare))


def test_headline_says_whether_the_interval_held(page: str, report: Report) -> None:
    assert "2.180 nats/token; the forecast was 2.200 [2.150, 2.250]" in page
    assert "0.92 % off and inside the 90 % interval" in page
    assert "outside the 90 % interval" in text(headline(replace(report, actual=2.4)))


def test_tables_hold_every_run_and_parameter(page: str, report: Report) -> None:
    texts = Elements(page).texts
    for name in report.column("run"):
        assert str(name) in texts
    assert {"131.5k", "16M", "alpha", "N_c", "12,345"} <= set(texts)


def test_written_whole_or_not_at_all(
    tmp_path: Path, report: Report, bare: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    write_report(path, bare)
    before = path.read_text(encoding="utf-8")
    assert before == render(bare)
    monkeypatch.setattr("os.fsync", _fail)
    with pytest.raises(OSError, match="disk"):
        write_report(path, report)
    assert path.read_text(encoding="utf-8") == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_missing_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"isoflop\[plot\]"), styled(LIGHT):
        pass


def figures_of(page: str) -> list[str]:
    found = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", page)
    return [base64.b64decode(one).decode() for one in found]


def assert_sections(page: str) -> None:
    ids = [attrs.get("id") for tag, attrs in Elements(page).tags if tag == "section"]
    assert ids == [name for name, _, _ in SECTIONS]


def _fail(_: int) -> None:
    raise OSError("disk full")
