"""Reports: one set of tables and figures for the page and the terminal. Computes nothing new.

What to use when:
- `write_report`: one self-contained HTML file of a `Report` (needs the extra `plot`).
- `write_law_card`, `read_law_card`: the law card of a fit as JSON and Markdown, and back.
- `terminal`: the same tables as Rich renderables, for the command line.
- `figures`: single figures as matplotlib objects; `style.svg` turns one into bytes.
"""

from isoflop.reports.figures import Curve
from isoflop.reports.law_card import card_markdown, read_law_card, write_law_card
from isoflop.reports.report import Report, collect_problems, write_report
from isoflop.reports.terminal import (
    analysis_table,
    forecast_table,
    ladder_table,
    plan_table,
    problem_lines,
    sensitivity_table,
)

__all__ = [
    "Curve",
    "Report",
    "analysis_table",
    "card_markdown",
    "collect_problems",
    "forecast_table",
    "ladder_table",
    "plan_table",
    "problem_lines",
    "read_law_card",
    "sensitivity_table",
    "write_law_card",
    "write_report",
]
