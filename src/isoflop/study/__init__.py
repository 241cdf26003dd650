"""The main job: corpus -> ladder -> fits -> forecast checked on a larger run -> plan -> report.

What to use when:
- `open_study`: a study file or folder -> `StudyFolder`, which all others take.
- `run_study`: the whole chain; called again, it goes on where it stopped.
- `compare_study_arms`: its data recipes beside each other. `base_runs`: the runs of its own.
- `study_quality`: what its documents are like, to choose thresholds by.
- `band_of_study`: the forecast of a run's whole curve, to watch it by.
- `fit_study`, `plan_study`, `write_study_report`: one link of the chain on what is there.
"""

from isoflop.study.arms import arm_problems, compare_study_arms
from isoflop.study.chain import Outcome, demo_line, extend_run, run_study
from isoflop.study.curves import collapse_table
from isoflop.study.folder import StudyFolder, open_study
from isoflop.study.links import (
    base_runs,
    fit_study,
    plan_study,
    prepare_data,
    shape_rule,
    study_quality,
    write_study_report,
)
from isoflop.study.pricing import DryRun, dry_run
from isoflop.study.state import RunStatusRow, study_status
from isoflop.study.watching import band_of_study

__all__ = [
    "DryRun",
    "Outcome",
    "RunStatusRow",
    "StudyFolder",
    "arm_problems",
    "band_of_study",
    "base_runs",
    "collapse_table",
    "compare_study_arms",
    "demo_line",
    "dry_run",
    "extend_run",
    "fit_study",
    "open_study",
    "plan_study",
    "prepare_data",
    "run_study",
    "shape_rule",
    "study_quality",
    "study_status",
    "write_study_report",
]
