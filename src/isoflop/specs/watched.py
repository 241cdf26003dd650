"""`WatchedRun`: a run that another tool records, as a TOML file plans it for `isoflop watch`."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from isoflop._errors import InputError, StudyError
from isoflop.specs.schedule import Schedule
from isoflop.specs.section import MAX_TOKENS, Section, require, require_positive, require_within
from isoflop.specs.toml import validated


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedSchedule(Section):
    """The learning rate as planned: `Schedule` by its keys."""

    kind: Literal["wsd", "cosine"]
    n_tokens: int
    """Tokens at the planned end."""
    warmup_tokens: int = 0
    cooldown_tokens: int = 0
    """Of a wsd: the last tokens, over which the rate falls as 1 - sqrt."""
    final_factor: float = 0.1
    """Where a cosine ends, as a share of the peak."""

    def schedule(self) -> Schedule:
        """The schedule; InputError where the counts contradict each other."""
        return Schedule(
            kind=self.kind,
            warmup_tokens=self.warmup_tokens,
            n_tokens=self.n_tokens,
            cooldown_tokens=self.cooldown_tokens,
            final_factor=self.final_factor,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedRun(Section):
    """Where a run is recorded, which series to read, and what was planned."""

    source: str
    """File or folder of a tracker, relative to this file; or `wandb:ENTITY/PROJECT/RUN`,
    `mlflow:ADDRESS`."""
    n_params: float
    """Size [parameters], counted as the pilots' sizes are."""
    batch_tokens: int
    """Tokens a step."""
    loss: str
    """Name of the series of losses [nats/token]."""
    run: str = ""
    """Name or id of the run, where the source holds several."""
    tokens: str = ""
    """Name of the series of tokens seen; left out, step times batch_tokens."""
    lr: str = ""
    """Name of the series of learning rates; left out, a wrong rate cannot be named."""
    peak_lr: float = 1.0
    """Planned peak, as it is logged."""
    schedule: WatchedSchedule | None = None
    lr_path: tuple[tuple[float, float], ...] = ()
    """Instead of a schedule: [tokens, rate] pairs from the first token to the end, straight lines
    between."""

    def __post_init__(self) -> None:
        require_positive("watched", self, "n_params", "batch_tokens", "peak_lr")
        require_within("watched", self, "batch_tokens", 1, MAX_TOKENS)
        require(
            (self.schedule is None) != (not self.lr_path),
            "watched.schedule",
            None if self.schedule is None else self.schedule.kind,
            "one of [schedule] and lr_path",
            "Give the planned learning rate in one of the two ways.",
        )


def read_watched(path: Path) -> WatchedRun:
    """The planned run of a TOML file, read strictly.

    Raises:
        InputError: file missing or not TOML; unknown key; wrong type; impossible value.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}). See docs/watch.md.") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}. Mend the line.") from error
    try:
        found = validated(WatchedRun, data, place=str(path), whole="run", page="docs/watch.md")
        if found.schedule is not None:
            found.schedule.schedule()
    except StudyError:
        raise
    except InputError as error:
        raise InputError(f"{path}: schedule: {error}") from error
    return found
