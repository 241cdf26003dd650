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
    context: int,
    launch: LaunchSection,
    multiple_choice: bool = False,
) -> list[str]:
    """The command that trains run folders in order, in `launch.processes` processes a node.

    Args:
        corpus: the folder of the prepared corpus.
        runs: the run folders, a trunk before its branches.
        threads: of each process.
        context: tokens of a sequence.
        launch: how it is executed.
        multiple_choice: measure it at the end of every run.
    """
    options: dict[str, object] = {
        "threads": threads,
        "device": launch.device,
        "dtype": launch.dtype,
        "micro-batch": _sequences(launch, context),
        "compile": str(launch.compile).lower(),
        "checkpoint-seconds": launch.checkpoint_seconds,
        "processes": launch.processes,
        "parallel": launch.parallel,
    }
    if launch.nodes > 1:
        options["nodes"] = launch.nodes
    command = [
        *_on_every_node(launch, threads),
        sys.executable,
        "-m",
        "isoflop.training",
        str(corpus),
        *map(str, runs),
    ]
    command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    if multiple_choice:
        command.append("--multiple-choice")
    if not launch.threads:
        command.append("--fewer-threads")  # their number was not asked for: a trial may lower it
    return command


def _on_every_node(launch: LaunchSection, threads: int) -> list[str]:
    """What starts the trainer once on every node of a Slurm job; nothing where there is one.

    Whatever the cluster's habit, a node whose trainer has ended does not end the others: they see
    it themselves, and rank 0 may still be saving.
    """
    if launch.nodes == 1:
        return []
    cpus = launch.slurm.cpus or threads * launch.processes
    n = launch.nodes
    words = ["srun", f"--nodes={n}", f"--ntasks={n}", "--ntasks-per-node=1"]
    return [*words, f"--cpus-per-task={cpus}", "--kill-on-bad-exit=0", "--wait=0"]


def _sequences(launch: LaunchSection, context: int) -> int | str:
    """Sequences in memory at once, as trainers count; 0: the whole batch."""
    micro = launch.micro_batch_tokens
    return micro if micro == "auto" else micro // context


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
    micro = _sequences(launch, context)
    assert micro != "auto"  # StudyConfig refuses it: only our own trainer holds a trial
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
    multiple_choice: bool = False,
) -> list[str]:
    """The command of a job; paths are absolute, as it may start anywhere."""
    place, runs = corpus.resolve(), [folder.path.resolve() for folder in folders]
    if own is not None:
        return own_command(place, runs, own, threads=threads, context=context, launch=launch)
    return training_command(
        place,
        runs,
        threads=threads,
        context=context,
        launch=launch,
        multiple_choice=multiple_choice,
    )
