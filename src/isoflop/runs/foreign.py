"""`ForeignRun`: a run as another tool recorded it, before any name or unit is understood."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop._types import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One logged metric: its values (P,) at the steps that the tool gave, in the order written."""

    step: NDArray[np.int64]
    value: Array
    """At full precision; NaN and infinities as they were logged."""
    wall_s: Array
    """Seconds since the epoch; NaN where the tool recorded no time."""

    def __post_init__(self) -> None:
        assert self.step.shape == self.value.shape == self.wall_s.shape
        assert self.step.ndim == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignRun:
    """What a tool recorded of one run (of one attempt, where attempts are apart)."""

    tool: str
    """wandb, mlflow, tensorboard, trainer_state, lm_eval, trackio, table."""
    place: str
    """File, folder or address it was read from."""
    run_id: str
    """The tool's own, unique within the tool; a path where it has none."""
    name: str = ""
    group: str = ""
    """What attempts of one training share, where the tool says so."""
    state: str = "unknown"
    """running, done, failed, or unknown."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Settings, flat, keys joined by dots; plain JSON values."""
    series: Mapping[str, Series] = field(default_factory=dict)
    summary: Mapping[str, float] = field(default_factory=dict)
    """Numbers given once, such as evaluation results."""
    problems: tuple[str, ...] = ()
    """What could not be read, one sentence each: a torn record, a key with text."""
