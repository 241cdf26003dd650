"""The pilots' loss curves as the collapse check takes them."""

from typing import Any

import numpy as np

from isoflop._errors import FitError
from isoflop._types import Problem
from isoflop.accounting import count_params
from isoflop.fitting import check_collapse, collapse_problems
from isoflop.ladders import Ladder
from isoflop.runs import RunFolder
from isoflop.specs import RunConfig
from isoflop.study.folder import StudyFolder


def collapse_caveats(study: StudyFolder, ladder: Ladder) -> tuple[Problem, ...]:
    """`rung_off_collapse` for pilots whose curves are not like the others'; none of few rungs."""
    rows = [row for job in ladder.pilots for run in job.runs for row in _rows(study, run)]
    if not rows:
        return ()
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    try:
        return collapse_problems(check_collapse(table))
    except FitError:  # fewer rungs than it takes, or none that was looked at on its way
        return ()


def _rows(study: StudyFolder, run: RunConfig) -> list[dict[str, Any]]:
    """The points of one run: of a trunk those on its way, of a branch those and its end."""
    folder = RunFolder(study.runs / run.run_id)
    if not folder.path.exists():
        return []
    schedule = run.schedule
    ends = schedule.n_tokens is not None
    share = schedule.cooldown_tokens / schedule.n_tokens if schedule.n_tokens else 0.0
    same = {
        "run": run.run_id,
        "trunk": run.trunk or run.run_id,
        "n_params": float(count_params(run.shape).under()),
        "hold_tokens": float(schedule.hold_tokens) if ends else np.inf,
        # Whole batches make shares differ a little between horizons.
        "schedule": f"{schedule.kind} {share:.1f}",
    }
    return [
        {**same, "kind": point.kind, "n_tokens": float(point.n_tokens), "loss": point.loss}
        for point in folder.points()
    ]
