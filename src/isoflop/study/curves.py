"""The pilots' loss curves as the collapse check takes them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isoflop._errors import FitError
from isoflop._types import Problem
from isoflop.accounting import count_params
from isoflop.fitting import check_collapse, collapse_problems
from isoflop.ladders import Job, Ladder
from isoflop.runs import RunFolder
from isoflop.specs import RunConfig
from isoflop.study.folder import StudyFolder


def collapse_caveats(study: StudyFolder, ladder: Ladder) -> tuple[Problem, ...]:
    """`rung_off_collapse` for pilots whose curves are not like the others'; none of few rungs."""
    table = collapse_table(study.runs, ladder.pilots)
    if not table:
        return ()
    try:
        return collapse_problems(check_collapse(table))
    except FitError:  # fewer rungs than it takes, or none that was looked at on its way
        return ()


def collapse_table(runs: Path, jobs: Sequence[Job]) -> dict[str, np.ndarray]:
    """The points of the jobs' runs below `runs` as `check_collapse` takes them; {} of no point."""
    configs = dict.fromkeys(run for job in jobs for run in job.runs)
    rows = [row for run in configs for row in _rows(runs, run)]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}


def _rows(runs: Path, run: RunConfig) -> list[dict[str, Any]]:
    """The points of one run: of a trunk those on its way, of a branch those and its end."""
    folder = RunFolder(runs / run.run_id)
    if not folder.path.exists():
        return []
    schedule = run.schedule
    share = schedule.cooldown_tokens / schedule.n_tokens if schedule.n_tokens else 0.0
    same = {
        "run": run.run_id,
        "trunk": run.trunk or run.run_id,
        "n_params": float(count_params(run.shape).under("active")),
        "hold_tokens": float(schedule.hold_tokens) if schedule.n_tokens else np.inf,
        # Whole batches make shares differ a little between horizons.
        "schedule": f"{schedule.kind} {share:.1f}",
    }
    return [
        {**same, "kind": point.kind, "n_tokens": float(point.n_tokens), "loss": point.loss}
        for point in folder.points()
    ]
