"""Rich renderables of the same tables, for the command line; nothing is printed here."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from isoflop._types import Problem, Table
from isoflop.reports import explanation, panel, tables
from isoflop.reports.rows import Rows

if TYPE_CHECKING:
    from rich.table import Table as RichTable
    from rich.text import Text

    from isoflop.fitting import Analysis, Forecast, Sensitivity
    from isoflop.planning import Explanation, Plan, Revealed

_COLOURS = {"disqualifying": "bold red", "warning": "yellow", "note": "cyan"}
_WIDE = 5
"""Columns up to which intervals find room beside each other."""
_RANK = {"disqualifying": 0, "warning": 1, "note": 2}


def analysis_table(analysis: "Analysis") -> "RichTable":
    """The law, its parameters, allocations and ceilings."""
    return rich_table(tables.analysis_rows(analysis))


def sensitivity_table(sensitivity: "Sensitivity") -> "RichTable":
    """How the key answers move with choices; what the table does not allow stands below."""
    table = rich_table(panel.sensitivity_rows(sensitivity))
    table.caption = panel.impossible_lines(sensitivity) or None
    table.caption_justify = "left"
    return table


def forecast_table(forecast: "Forecast", actual: float | None = None) -> "RichTable":
    """The forecast beside the straight line and, where known, the measured loss."""
    return rich_table(tables.forecast_rows(forecast, actual))


def plan_table(plan: "Plan") -> "RichTable":
    """The planned run."""
    return rich_table(tables.plan_rows(plan))


def explanation_tables(made: "Explanation") -> "list[RichTable]":
    """Every rule at one budget: by our law, by its paper, our own counts, and why they differ."""
    return [rich_table(rows) for rows in explanation.explanation_tables(made)]


def revealed_table(made: "Revealed") -> "RichTable":
    """The demand that a run's size reveals."""
    return rich_table(explanation.revealed_rows(made))


def ladder_table(table: Table) -> "RichTable":
    """Every run: N, D, FLOPs, loss, tokens per parameter."""
    return rich_table(tables.ladder_rows(table))


def problem_lines(problems: Iterable[Problem]) -> "list[Text]":
    """One line a problem, the gravest first: severity, code, text, remedy."""
    from rich.text import Text

    ordered = sorted(dict.fromkeys(problems), key=lambda problem: _RANK[problem.severity])
    return [
        Text.assemble(
            (problem.severity, _COLOURS[problem.severity]),
            f" {problem.code}: {problem.text} ",
            (problem.remedy, "dim"),
        )
        for problem in ordered
    ]


def rich_table(rows: Rows) -> "RichTable":
    """A table of strings as a Rich table; names are text, never console markup."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(
        title=Text(rows.title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for index, name in enumerate(rows.header):
        words = index < rows.text_columns
        # Numbers stay on one line, unless there are so many that the end would be cut off.
        whole = not words and len(rows.header) <= _WIDE
        table.add_column(
            Text(name), justify="left" if words else "right", overflow="fold", no_wrap=whole
        )
    for row in rows.rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
