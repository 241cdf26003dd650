"""Ladders of pilot trainings: resolve a study to complete RunConfigs, launch them, follow them.

What to use when:
- `design_ladder`: study + data card -> jobs (a trunk and its branches), all numbers decided.
- `LocalLauncher` + `run_jobs`: processes on this machine, resumable, with progress.
- `export_run`: a trained run as Hugging Face files.
- `estimate_seconds`, `planned_runs`: what `--dry-run` prints before anything starts.
"""

from isoflop.ladders.design import Job, Ladder, design_ladder, extend_job
from isoflop.ladders.estimate import PlannedRun, estimate_seconds, planned_runs, priced
from isoflop.ladders.export import export_run
from isoflop.ladders.launcher import Launcher, LocalLauncher
from isoflop.ladders.supervise import run_jobs

__all__ = [
    "Job",
    "Ladder",
    "Launcher",
    "LocalLauncher",
    "PlannedRun",
    "design_ladder",
    "estimate_seconds",
    "export_run",
    "extend_job",
    "planned_runs",
    "priced",
    "run_jobs",
]
