"""The terminal shows the same words as the page; names are never console markup."""

from dataclasses import replace
from io import StringIO

import numpy as np
from rich.console import Console, RenderableType

from isoflop._types import Interval
from isoflop.cli.render import all_problems
from isoflop.fitting import Answer, Sensitivity
from isoflop.reports import (
    Report,
    analysis_table,
    forecast_table,
    ladder_table,
    plan_table,
    problem_lines,
    sections,
    sensitivity_table,
)
from isoflop.reports.tables import allocation_rows, analysis_rows

PANEL = Sensitivity(
    flops=1e15,
    answers=(
        Answer(
            name="level_ls", change="", n_runs=25, rms=0.004, alpha=0.35, beta=0.39, entropy=1.8,
            a=0.524, n_params=3.67e10, n_tokens=5.9e11, tokens_per_param=16.0,
            loss=Interval(value=2.1, low=2.0, high=2.2),
        ),
        Answer(name="N total", change="", missing="no such column"),
        Answer(name="N non_embedding", change="", missing="no such column"),
    ),
)  # fmt: skip


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


def test_analysis_names_the_frontier_and_kaplans_law_with_intervals(report: Report) -> None:
    analysis = report.analysis
    assert analysis is not None
    rows = analysis_rows(analysis).rows
    cells = [tuple(cell.strip() for cell in row) for row in rows]
    start = cells.index(("loss frontier", "L(C) = E + (C0/C)^alpha"))
    assert cells[start + 1 : start + 4] == [
        ("E", "1.200 [1.140, 1.260]"),
        ("C0 [FLOPs]", "1e12 [9.5e11, 1.05e12]"),
        ("alpha", "0.2000 [0.1900, 0.2100]"),
    ]
    what, formula = cells[start + 4]
    assert what == "Kaplan's joint law"
    assert analysis.kaplan.law.formula in formula
    assert [name for name, _ in cells[start + 5 : start + 9]] == list(analysis.kaplan.law.names)


def test_problems_of_the_laws_beside_the_forecasts_are_told_with_their_law(report: Report) -> None:
    analysis = report.analysis
    assert analysis is not None
    texts = {problem.code: problem.text for problem in all_problems(analysis)}
    assert texts["few_runs"] == "Frontier L(C): About few_runs."
    assert texts["outliers"] == "Kaplan's law: About outliers."
    assert texts["ill_conditioned"] == "About ill_conditioned."
    double = replace(analysis, kaplan=replace(analysis.kaplan, problems=analysis.problems))
    assert [p.code for p in all_problems(double)].count("pre_asymptotic") == 1


def test_panel_shows_possible_lines_and_says_which_are_not() -> None:
    text = shown(sensitivity_table(PANEL))
    assert "at C = 1e+15 FLOPs" in text
    (line,) = (line for line in text.splitlines() if line.strip().startswith("level_ls"))
    assert line.split()[1:4] == ["25", "0.40", "%"]
    assert "2.100 [2.000, 2.200]" in line
    assert "Not possible: N total, N non_embedding (no such column)." in text
    assert "Not possible" not in shown(sensitivity_table(replace(PANEL, answers=PANEL.answers[:1])))


def test_page_has_the_panel(report: Report) -> None:
    assert report.analysis is not None
    full = replace(report, analysis=replace(report.analysis, sensitivity=PANEL))
    section = str(sections.sensitivity(full))
    for word in ("level_ls", "0.524", "36.7B", "Not possible: N total"):
        assert word in section
    assert "allow no allocation" in str(sections.sensitivity(report))


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
    endless = replace(analysis.allocations[0].a, low=-np.inf, high=np.inf)
    first = replace(analysis.allocations[0], a=endless)
    unknown = replace(analysis, allocations=(first, *analysis.allocations[1:]))
    assert [row[-1] for row in allocation_rows(unknown).rows] == ["unknown", "refused", "usable"]
