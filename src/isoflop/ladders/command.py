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
    corpus: Path,
    runs: Sequence[Path],
    *,
    threads: int,
    micro_batch: int,
    device: str,
    dtype: str,
    compile_: bool,
    checkpoint_seconds: float,
) -> list[str]:
    """The command that trains run folders in order in one process.

    `micro_batch`: sequences that are in memory at once; 0 for the whole batch.
    """
    command = [sys.executable, "-m", "isoflop.training", str(corpus), *map(str, runs)]
    command += ["--threads", str(threads), "--device", device, "--dtype", dtype]
    command += ["--micro-batch", str(micro_batch)]
    command += ["--checkpoint-seconds", str(checkpoint_seconds)]
    return [*command, "--compile"] if compile_ else command


def own_command(
    corpus: Path, runs: Sequence[Path], own: OwnTrainer, *, threads: int, micro_batch: int
) -> list[str]:
    """The command that runs a trainer of one's own on run folders in order."""
    command = [sys.executable, "-m", "isoflop.ladders.own_trainer", str(corpus), *map(str, runs)]
    command += ["--base", str(own.base.resolve()), "--threads", str(threads)]
    return [
        *command,
        "--micro-batch",
        str(micro_batch),
        "--trainer",
        json.dumps(asdict(own.section)),
    ]


def command_of(
    corpus: Path,
    folders: Sequence[RunFolder],
    launch: LaunchSection,
    own: OwnTrainer | None,
    *,
    threads: int,
    micro_batch: int,
) -> list[str]:
    """The command of a job; paths are absolute, as it may start anywhere."""
    place, runs = corpus.resolve(), [folder.path.resolve() for folder in folders]
    if own is not None:
        return own_command(place, runs, own, threads=threads, micro_batch=micro_batch)
    return training_command(
        place,
        runs,
        threads=threads,
        micro_batch=micro_batch,
        device=launch.device,
        dtype=launch.dtype,
        compile_=launch.compile,
        checkpoint_seconds=launch.checkpoint_seconds,
    )
