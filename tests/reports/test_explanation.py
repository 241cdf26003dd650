"""Tables of explanations: every number is there, and names are never markup."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from isoflop._types import Interval
from isoflop.laws import find_published
from isoflop.planning import explain, overhead_of_size, revealed_demand
from isoflop.reports.explanation import (
    advice_rows,
    counted_rows,
    explanation_rows,
    overhead_rows,
    reason_rows,
    revealed_rows,
)
from isoflop.reports.rows import Rows
from isoflop.reports.terminal import explanation_tables

LAW = find_published("besiroglu").estimate
MADE = explain(LAW, 5.76e23)


def row(rows: Rows, name: str) -> dict[str, str]:
    (found,) = [one for one in rows.rows if one[0] == name]
    return dict(zip(rows.header, found, strict=True))


def test_every_rule_has_a_row_in_both_tables() -> None:
    names = ["this law", *(one.title for one in MADE.others)]
    assert len(set(names)) == 11
    for rows in (explanation_rows(MADE), advice_rows(MADE)):
        assert [one[0] for one in rows.rows] == names
    printed = row(explanation_rows(MADE), "Chinchilla, approach 3, as printed")
    assert printed["N"] == "32.2B"
    assert printed["D/N"] == "92.6"
    assert printed["wasted"] == "21 %"
    assert row(explanation_rows(MADE), "this law")["wasted"] == "0.00 %"


def test_papers_counts_are_told() -> None:
    rows = advice_rows(MADE)
    assert row(rows, "Kaplan")["N counts"] == "blocks"
    assert row(rows, "DeepSeek")["N counts"] == "blocks, scores"
    assert row(rows, "Llama 3")["N counts"] == "not told"
    assert row(rows, "Kaplan")["a"] == "0.73"
    assert {one[-1] for one in rows.rows} == {"no"}  # 5.76e23 is beyond all runs
    inside = advice_rows(explain(LAW, 1e20))
    assert row(inside, "Llama 3")["runs reach it"] == "yes"
    unknown = advice_rows(explain(replace(LAW, ranges={}), 1e20))
    assert row(unknown, "this law")["runs reach it"] == "–"


def test_what_is_not_known_is_a_dash() -> None:
    rows = explanation_rows(explain(LAW, 1e27))
    lost = row(rows, "Porian, RefinedWeb, head not counted")
    assert list(lost.values())[1:] == ["–"] * 6


def test_intervals_of_waste_are_shown_where_there_are_draws() -> None:
    wide = Interval(value=0.1, low=0.05, high=0.2)
    made = replace(MADE, ours=replace(MADE.ours, wasted=wide))
    assert row(explanation_rows(made), "this law")["wasted"] == "10 % [5.0 %, 20 %]"


def test_counts_of_a_dense_model_are_three_by_three() -> None:
    rows = counted_rows(MADE)
    assert len(rows.rows) == 9
    assert len({one[:2] for one in rows.rows}) == 9
    assert ("all weights", "6nd", "72.4B", "1.33T", "18.3", "5.76e23") in rows.rows


def test_reasons_are_whole_sentences() -> None:
    rows = reason_rows(MADE)
    assert [one[0] for one in rows.rows] == [one.code for one in MADE.reasons]
    assert all(one[1].endswith(".") for one in rows.rows)


def test_titles_are_never_markup() -> None:
    made = replace(MADE, ours=replace(MADE.ours, title="[red]mine[/red]"), target="loss_[b]x")
    console = Console(file=StringIO(), width=160, no_color=True)
    console.print(*explanation_tables(made))
    stream = console.file
    assert isinstance(stream, StringIO)
    text = stream.getvalue()
    assert "[red]mine[/red]" in text
    assert "loss_[b]x by our law" in text


@pytest.mark.parametrize(
    ("n_params", "n_tokens", "served"),
    [(8.03e9, 15e12, "189.8T"), (174.6e9, 300e9, "none")],  # Llama-3-8B, GPT-3
)
def test_revealed_demand_in_a_table(n_params: float, n_tokens: float, served: str) -> None:
    rows = revealed_rows(revealed_demand(LAW, n_params, n_tokens))
    assert row(rows, "tokens served")["value"] == served


def test_overheads_in_a_table() -> None:
    rows = overhead_rows(tuple(overhead_of_size(LAW, share) for share in (0.75, 0.5)))
    assert rows.rows == (("0.750", "1.38", "3.4 %"), ("0.500", "2.52", "26 %"))
