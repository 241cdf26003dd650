"""`TrainerSection`: a training program of one's own, run as the rungs of a ladder."""

import shlex
import string
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

from isoflop._errors import StudyError
from isoflop.specs.run import DataSpec, Optimiser, RunConfig
from isoflop.specs.schedule import Schedule
from isoflop.specs.section import Section, require
from isoflop.specs.shape import ModelShape

_SCIENTIFIC: Mapping[str, type] = {
    "shape": ModelShape,
    "schedule": Schedule,
    "optimiser": Optimiser,
}
_ALSO = (
    "corpus", "corpus_hash", "micro_batch", "n_params", "python", "run_dir", "run_id", "seed",
    "steps", "study_dir", "threads", "trunk_dir",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerColumns(Section):
    """Names that the trainer's metrics file has for what a point holds; empty: not there."""

    step: str = "step"
    n_tokens: str = "n_tokens"
    """Where there is none, step · batch_tokens."""
    loss: str = "loss"
    """Validation loss [nats/token]; a row without it is no point."""
    lr: str = "lr"
    wall_s: str = "wall_s"
    bpb: str = "bpb"
    n_params: str = "n_params"
    """Compared with what the run's shape counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerSection(Section):
    """A training program of one's own: its command, and the file of its measurements."""

    command: str
    """Run once a training, without a shell; `{width}`, `{lr}`, `{n_tokens}`, `{run_dir}` and the
    like are filled in (docs/launchers.md lists them). Relative paths are against the study file."""
    metrics: str = "metrics.jsonl"
    """The file of measurements, relative to `{run_dir}`."""
    format: Literal["jsonl", "csv", "hf"] = "jsonl"
    """`hf`: the trainer_state.json that Hugging Face's Trainer writes."""
    columns: TrainerColumns = field(default_factory=TrainerColumns)

    def __post_init__(self) -> None:
        known = placeholders()
        try:
            words = shlex.split(self.command)
        except ValueError as error:
            raise StudyError(
                f"trainer.command = {self.command!r}: not a command ({error}). Close the quotes."
            ) from error
        require(bool(words), "trainer.command", self.command, "a command", "Name the program.")
        for name in [name for word in words for name in _names(word)]:
            require(
                name in known,
                "trainer.command",
                f"{{{name}}}",
                "a known placeholder",
                f"Use one of: {', '.join(known)}; write a brace as {{{{ or }}}}.",
            )
        plain = not self.metrics.startswith("/") and ".." not in self.metrics.split("/")
        require(
            bool(self.metrics) and plain,
            "trainer.metrics",
            self.metrics,
            "a path below {run_dir}",
            "Let the trainer write there.",
        )

    @property
    def uses_trunk(self) -> bool:
        """Whether branches start from their trunk's checkpoint, so that it is trained first."""
        return any("trunk_dir" in _names(word) for word in shlex.split(self.command))

    def words(self, values: Mapping[str, object]) -> list[str]:
        """The command with its placeholders filled in, one word an argument whatever is in it."""
        try:
            return [word.format_map(values) for word in shlex.split(self.command)]
        except (ValueError, TypeError) as error:
            raise StudyError(
                f"trainer.command: {error}. Correct the format behind the colon."
            ) from error


def placeholders() -> tuple[str, ...]:
    """Every placeholder that `trainer.command` may use."""
    fields_ = [one.name for section in _SCIENTIFIC.values() for one in fields(section)]
    return tuple(sorted({*fields_, *_ALSO}))


def placeholders_of(config: RunConfig) -> dict[str, object]:
    """The values that a run's configuration gives to placeholders: all its scientific fields.

    `n_tokens` of a trunk is None: it ends where its last branch begins.
    """
    found: dict[str, object] = {"seed": config.seed, "run_id": config.run_id}
    for section, kind in _SCIENTIFIC.items():
        owner = getattr(config, section)
        found |= {one.name: getattr(owner, one.name) for one in fields(kind)}
    data: DataSpec = config.data
    return found | {"corpus_hash": data.corpus_hash}


def _names(word: str) -> list[str]:
    """The placeholders of one word; StudyError where its braces do not match."""
    try:
        parts = list(string.Formatter().parse(word))
    except ValueError as error:
        raise StudyError(
            f"trainer.command: {word!r}: {error}. Write a brace that is text as {{{{ or }}}}."
        ) from error
    if any(spec and "{" in spec for _, _, spec, _ in parts):
        raise StudyError(f"trainer.command: {word!r}: no placeholder within another. Use one.")
    return [name for _, name, _, _ in parts if name is not None]
