"""Specifications: complete, frozen, torch-free descriptions of what is to be done.

What to use when:
- `ModelShape`: the sizes of a decoder-only transformer. Its counts live in `accounting`.
- `Schedule`: learning-rate factor as a function of tokens seen.
- `RunConfig`: one complete training; its hash over the scientific fields is the run id.
- `StudyConfig`: one `study.toml`, read strictly by `read_study`.
"""

from isoflop.specs.ladder import LadderSection
from isoflop.specs.run import DataSpec, Optimiser, RunConfig
from isoflop.specs.schedule import Schedule
from isoflop.specs.shape import ModelShape
from isoflop.specs.study import (
    DataSection,
    DomainSection,
    FitSection,
    HoldoutSection,
    LaunchSection,
    ModelSection,
    PlanSection,
    StudyConfig,
    TrainSection,
)
from isoflop.specs.toml import read_study, study_from_mapping, study_place
from isoflop.specs.tune import TuneSection

__all__ = [
    "DataSection",
    "DataSpec",
    "DomainSection",
    "FitSection",
    "HoldoutSection",
    "LadderSection",
    "LaunchSection",
    "ModelSection",
    "ModelShape",
    "Optimiser",
    "PlanSection",
    "RunConfig",
    "Schedule",
    "StudyConfig",
    "TrainSection",
    "TuneSection",
    "read_study",
    "study_from_mapping",
    "study_place",
]
