"""`Report`: all that a page shows, and `write_report`, which writes it as one file."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop._types import Problem, Table
from isoflop.reports.figures import Curve

if TYPE_CHECKING:
    from isoflop.fitting import Analysis, Forecast
    from isoflop.planning import Plan
    from isoflop.specs import StudyConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One study as it stands; parts that do not exist yet are None and their sections say so."""

    title: str
    study: "StudyConfig"
    table: Table
    """Final points of the pilots (no held-out run)."""
    card: dict[str, Any] | None = None
    curves: Sequence[Curve] = ()
    analysis: "Analysis | None" = None
    forecast: "Forecast | None" = None
    actual: float | None = None
    """Measured loss of the held-out run [nats/token]."""
    plan: "Plan | None" = None
    arms: dict[str, Any] | None = None
    """The comparison of data recipes, as `ArmComparison.to_json` writes it."""
    proposal: dict[str, Any] | None = None
    """The mixture that they propose (`proposal`) and the loss of its run (`measured`)."""
    problems: tuple[Problem, ...] = ()
    version: str = ""

    def column(self, name: str) -> np.ndarray:
        """A column of the table as an array; empty if it has none of that name."""
        return np.asarray(self.table[name]) if name in self.table else np.empty(0)


def collect_problems(report: Report) -> tuple[tuple[Problem, tuple[str, ...]], ...]:
    """Every distinct problem with the places it comes from, the gravest first."""
    analysis = report.analysis
    sources: list[tuple[str, Sequence[Problem]]] = [("study", report.problems)]
    if analysis is not None:
        sources += [
            ("analysis", analysis.problems),
            ("law", analysis.fit.problems),
            ("frontier", analysis.frontier.problems),
            ("Kaplan's law", analysis.kaplan.problems),
            *((f"allocation by {a.approach}", a.problems) for a in analysis.allocations),
        ]
    if report.forecast is not None:
        sources.append(("forecast", report.forecast.problems))
    if report.plan is not None:
        sources.append(("plan", report.plan.problems))
    found: dict[Problem, dict[str, None]] = {}
    for place, problems in sources:
        for problem in problems:
            found.setdefault(problem, {})[place] = None
    rank = {"disqualifying": 0, "warning": 1, "note": 2}
    ordered = sorted(found.items(), key=lambda item: rank[item[0].severity])
    return tuple((problem, tuple(places)) for problem, places in ordered)


def write_report(path: str | Path, report: Report) -> None:
    """Write the report as one self-contained HTML file, replaced atomically.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    from isoflop.reports.sections import render  # figures only when a page is written

    path = Path(path)
    text = render(report)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)  # mkstemp's 0600 would hide the page from a web server
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
