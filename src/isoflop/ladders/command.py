"""The command of a job: our trainer, or one of the user's own."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from isoflop.runs import RunFolder
from isoflop.specs import LaunchSection, TrainerSection


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTrainer:
    """A training program of one's own, and the folder that its relative paths mean."""

    section: TrainerSection
    base: Path


def training_command(
    corpus: Path, runs: Sequence[Path], *, threads: int, context: int, launch: LaunchSection
) -> list[str]:
    """The command that trains run folders in order in one process.

    Args:
        corpus: the folder of the prepared corpus.
        runs: the run folders, a trunk before its branches.
        threads: of the process.
        context: tokens of a sequence.
        launch: how it is executed.
    """
    micro = launch.micro_batch_tokens // context  # the trainer counts in sequences; 0: all
    command = [sys.executable, "-m", "isoflop.training", str(corpus), *map(str, runs)]
    command += ["--threads", str(threads), "--device", launch.device, "--dtype", launch.dtype]
    command += ["--micro-batch", str(micro)]
    command += ["--checkpoint-seconds", str(launch.checkpoint_seconds)]
    return [*command, "--compile"] if launch.compile else command


def own_command(
    corpus: Path,
    runs: Sequence[Path],
    own: OwnTrainer,
    *,
    threads: int,
    context: int,
    launch: LaunchSection,
) -> list[str]:
    """The command that runs a trainer of one's own on run folders in order."""
    micro = launch.micro_batch_tokens // context
    command = [sys.executable, "-m", "isoflop.ladders.own_trainer", str(corpus), *map(str, runs)]
    command += ["--base", str(own.base.resolve()), "--threads", str(threads)]
    return [*command, "--micro-batch", str(micro), "--trainer", json.dumps(asdict(own.section))]


def command_of(
    corpus: Path,
    folders: Sequence[RunFolder],
    launch: LaunchSection,
    own: OwnTrainer | None,
    *,
    threads: int,
    context: int,
) -> list[str]:
    """The command of a job; paths are absolute, as it may start anywhere."""
    place, runs = corpus.resolve(), [folder.path.resolve() for folder in folders]
    if own is not None:
        return own_command(place, runs, own, threads=threads, context=context, launch=launch)
    return training_command(place, runs, threads=threads, context=context, launch=launch)
