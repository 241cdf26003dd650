"""The terminal shows the same words as the page; names are never console markup."""

from dataclasses import replace
from io import StringIO

from rich.console import Console, RenderableType

from isoflop.reports import (
    Report,
    analysis_table,
    forecast_table,
    ladder_table,
    plan_table,
    problem_lines,
)
from isoflop.reports.tables import allocation_rows


def shown(*parts: RenderableType) -> str:
    console = Console(file=StringIO(), width=200, no_color=True)
    console.print(*parts)
    stream = console.file
    assert isinstance(stream, StringIO)
    return stream.getvalue()


def test_analysis_names_law_exponents_and_ceilings(report: Report) -> None:
    assert report.analysis is not None
    text = shown(analysis_table(report.analysis))
    assert report.analysis.fit.law.formula in text
    assert "a = 0.490 [0." in text
    assert "ceiling at N = 131.5k" in text


def test_forecast_with_and_without_truth(report: Report) -> None:
    assert report.forecast is not None
    assert "measured" not in shown(forecast_table(report.forecast))
    assert "2.180, inside the interval" in shown(forecast_table(report.forecast, 2.18))


def test_plan_and_ladder(report: Report) -> None:
    assert report.plan is not None
    assert "Training compute" in shown(plan_table(report.plan))
    text = shown(ladder_table({**report.table, "run": ["[red]x[/red]"] * 9}))
    assert "[red]x[/red]" in text
    assert "tokens/param" in text


def test_problems_gravest_first_and_once(report: Report) -> None:
    assert report.analysis is not None
    grave = report.analysis.allocations[1].problems[0]
    lines = problem_lines([*report.problems, grave, grave])
    assert len(lines) == 3
    assert lines[0].plain.startswith("disqualifying edge_minimum: ")
    assert lines[0].plain.endswith(grave.remedy)


def test_a_problem_of_one_approach_refuses_it_and_one_of_the_table_refuses_all(
    report: Report,
) -> None:
    analysis = report.analysis
    assert analysis is not None
    grave = analysis.allocations[1].problems[0]
    verdicts = [row[-1] for row in allocation_rows(analysis).rows]
    assert verdicts == ["usable", "refused", "usable"]
    ray = replace(grave, code="one_ray")
    shared = replace(analysis, problems=(grave, ray))
    assert {row[-1] for row in allocation_rows(shared).rows} == {"refused"}
