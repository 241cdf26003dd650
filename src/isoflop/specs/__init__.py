"""Specifications: complete, frozen, torch-free descriptions of what is to be done.

What to use when:
- `ModelShape`: the sizes of a decoder-only transformer. Its counts live in `accounting`.
- `Parametrisation`: how initial weights, rates and multipliers follow width and depth.
- `Schedule`: learning-rate factor as a function of tokens seen.
- `RunConfig`: one complete training; its hash over the scientific fields is the run id.
- `WatchedRun`: a run recorded by another tool, as planned; `read_watched` reads its TOML file.
- `StudyConfig`: one `study.toml`, read strictly by `read_study`.
"""

from isoflop.specs.arm import BASE_ARM, ArmSection, ProposeSection, arm_section
from isoflop.specs.ladder import LadderSection
from isoflop.specs.launch import LaunchSection, RaySection, SlurmSection
from isoflop.specs.model import ModelSection
from isoflop.specs.parametrisation import Parametrisation
from isoflop.specs.quality import QualitySection
from isoflop.specs.reading import LANGUAGES, DecontaminateSection, Format
from isoflop.specs.run import DataSpec, Optimiser, RunConfig
from isoflop.specs.schedule import Schedule
from isoflop.specs.shape import ModelShape
from isoflop.specs.study import (
    DataSection,
    DomainSection,
    EvalSection,
    FitSection,
    HoldoutSection,
    PlanSection,
    StudyConfig,
)
from isoflop.specs.toml import read_study, study_from_mapping, study_place
from isoflop.specs.train import TrainSection
from isoflop.specs.trainer import TrainerColumns, TrainerSection, placeholders_of
from isoflop.specs.tune import TuneSection
from isoflop.specs.watched import WatchedRun, WatchedSchedule, read_watched

__all__ = [
    "BASE_ARM",
    "LANGUAGES",
    "ArmSection",
    "DataSection",
    "DataSpec",
    "DecontaminateSection",
    "DomainSection",
    "EvalSection",
    "FitSection",
    "Format",
    "HoldoutSection",
    "LadderSection",
    "LaunchSection",
    "ModelSection",
    "ModelShape",
    "Optimiser",
    "Parametrisation",
    "PlanSection",
    "ProposeSection",
    "QualitySection",
    "RaySection",
    "RunConfig",
    "Schedule",
    "SlurmSection",
    "StudyConfig",
    "TrainSection",
    "TrainerColumns",
    "TrainerSection",
    "TuneSection",
    "WatchedRun",
    "WatchedSchedule",
    "arm_section",
    "placeholders_of",
    "read_study",
    "read_watched",
    "study_from_mapping",
    "study_place",
]
