"""`Launcher`: one protocol for where trainings run; `LAUNCHERS` lists those that there are."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from isoflop._errors import StudyError
from isoflop.specs import LaunchSection

JobState = Literal["running", "done", "interrupted", "bad_input", "failed"]
_BY_CODE: dict[int, JobState] = {0: "done", 2: "bad_input", 130: "interrupted"}


class Launcher(Protocol):
    """Where jobs run. A job is a command; its results are in the run folders, not here."""

    def submit(self, command: Sequence[str], *, log: Path, threads: int) -> str:
        """Start a command, its output appended to `log`; returns the job's id."""

    def poll(self, job_id: str) -> JobState:
        """How the job stands."""

    def cancel(self, job_id: str) -> None:
        """Ask the job to save itself and stop."""

    def logs(self, job_id: str) -> str:
        """The last lines that the job wrote."""


@dataclass(slots=True)
class LocalLauncher:
    """Processes of this machine, in this process group: Ctrl-C reaches them, and they save."""

    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _logs: dict[str, Path] = field(default_factory=dict)

    def submit(self, command: Sequence[str], *, log: Path, threads: int) -> str:
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads), PYTHONUNBUFFERED="1")
        with log.open("ab") as stream:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=environment,
            )
        job_id = str(process.pid)
        self._processes[job_id], self._logs[job_id] = process, log
        return job_id

    def poll(self, job_id: str) -> JobState:
        code = self._processes[job_id].poll()
        if code is None:
            return "running"
        return _BY_CODE.get(code, "interrupted" if code in (-2, -15) else "failed")

    def cancel(self, job_id: str) -> None:
        process = self._processes[job_id]
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()

    def logs(self, job_id: str) -> str:
        path = self._logs[job_id]
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-20:])


LAUNCHERS: dict[str, Callable[[], Launcher]] = {"local": LocalLauncher}
"""Every launcher by the name that `launch.launcher` gives it."""


def find_launcher(name: str) -> Launcher:
    """A new launcher of that name.

    Raises:
        StudyError: there is none.
    """
    if name not in LAUNCHERS:
        raise StudyError(
            f"launch.launcher = {name!r}: no such launcher. Use one of: {', '.join(LAUNCHERS)}."
        )
    return LAUNCHERS[name]()


def training_command(
    corpus: Path,
    runs: Sequence[Path],
    *,
    threads: int,
    context: int,
    launch: LaunchSection,
    multiple_choice: bool = False,
) -> list[str]:
    """The command that trains run folders in order, in `launch.processes` processes.

    Args:
        corpus: the folder of the prepared corpus.
        runs: the run folders, a trunk before its branches.
        threads: of each process.
        context: tokens of a sequence.
        launch: how it is executed.
        multiple_choice: measure it at the end of every run.
    """
    micro = launch.micro_batch_tokens  # the trainer counts in sequences; 0: the whole batch
    options: dict[str, object] = {
        "threads": threads,
        "device": launch.device,
        "dtype": launch.dtype,
        "micro-batch": micro if micro == "auto" else micro // context,
        "compile": str(launch.compile).lower(),
        "checkpoint-seconds": launch.checkpoint_seconds,
        "processes": launch.processes,
        "parallel": launch.parallel,
    }
    command = [sys.executable, "-m", "isoflop.training", str(corpus), *map(str, runs)]
    command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    if multiple_choice:
        command.append("--multiple-choice")
    if not launch.threads:
        command.append("--fewer-threads")  # their number was not asked for: a trial may lower it
    return command
