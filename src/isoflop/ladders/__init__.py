"""Ladders of pilot trainings: resolve a study to complete RunConfigs, launch them, follow them.

What to use when:
- `design_ladder`: study + data card -> jobs (a trunk and its branches), all numbers decided.
- `find_launcher` + `run_jobs`: trainings here, on Slurm or on Ray, resumable, with progress.
- `OwnTrainer`: the same with a training program of one's own.
- `export_run`: a trained run as Hugging Face files.
- `estimate_seconds`, `planned_runs`: what `--dry-run` prints before anything starts.
"""

from isoflop.ladders.command import OwnTrainer
from isoflop.ladders.design import Job, Ladder, design_ladder, extend_job
from isoflop.ladders.estimate import PlannedRun, estimate_seconds, planned_runs, priced
from isoflop.ladders.export import export_run
from isoflop.ladders.launchers import Launcher, LocalLauncher, find_launcher
from isoflop.ladders.supervise import run_jobs

__all__ = [
    "Job",
    "Ladder",
    "Launcher",
    "LocalLauncher",
    "OwnTrainer",
    "PlannedRun",
    "design_ladder",
    "estimate_seconds",
    "export_run",
    "extend_job",
    "find_launcher",
    "planned_runs",
    "priced",
    "run_jobs",
]
