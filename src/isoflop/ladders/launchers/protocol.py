"""`Launcher`: one protocol for where jobs run. A job is a command with a durable name."""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from isoflop.ladders.launchers import attempt

JobState = Literal["queued", "running", "ended", "unknown"]
"""`unknown`: the engine does not answer for now; nothing is concluded from that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """One attempt of a job: what an engine is asked to run."""

    run_id: str
    """Id of the trunk, or of the run, that names the job."""
    folder: Path
    """Its run folder: records and log of every attempt lie there."""
    attempt: int
    command: tuple[str, ...]
    threads: int = 1
    devices: str | None = None
    """CUDA_VISIBLE_DEVICES of the slot; None: whatever the engine grants."""

    @property
    def name(self) -> str:
        """The attempt's name with every engine: run, folder and attempt decide it alone.

        The folder belongs to it because two studies may hold the same run.
        """
        place = hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:8]
        return f"isoflop-{self.run_id}-{place}-{self.attempt}"

    def wrapped(self) -> list[str]:
        """The command under `attempt.py`, which records how it goes."""
        words = [sys.executable, "-I", str(Path(attempt.__file__).resolve())]
        words += [str(self.folder.resolve()), str(self.attempt), "--threads", str(self.threads)]
        if self.devices is not None:
            words += ["--devices", self.devices]
        return [*words, "--", *self.command]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """One submitted attempt: all that any later driver needs to follow it."""

    job_id: str
    name: str
    folder: Path
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """How an attempt stands with its engine; `note` in the engine's words."""

    state: JobState
    note: str = ""
    cause: Literal["", "preempted", "lost", "out_of_memory", "cancelled"] = ""
    """Of an ended attempt: what the engine itself says of its ending."""


class Launcher(Protocol):
    """Where jobs run: commands and durable ids; results are in the run folders, not here."""

    poll_s: float
    """Seconds between two looks at the engine."""

    def submit(self, spec: JobSpec) -> str:
        """Start an attempt, or find the one of its name that was started; the engine's id.

        Raises:
            StudyError: the engine refuses the job.
            WorkerError: the engine cannot be reached.
        """

    def poll(self, ticket: Ticket) -> Poll:
        """How the attempt stands."""

    def cancel(self, ticket: Ticket, *, force: bool = False) -> None:
        """Ask the attempt to save itself and stop; `force`: it had its time, end it."""

    def logs(self, ticket: Ticket) -> str:
        """What the engine itself wrote about the attempt; its own output is in log.txt."""
