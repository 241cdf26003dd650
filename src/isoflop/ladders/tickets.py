"""`JobRecord`: `job.json` in the folder of a job's trunk, from which any driver goes on."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from isoflop._errors import RunError
from isoflop.ladders.launchers import Ending, JobSpec, Ticket, Verdict
from isoflop.runs.folder import read_json, write_json_atomically
from isoflop.specs import LaunchSection

_VERSION = 1
_FILE = "job.json"
_REMEDY = "Delete this file: the job is then started again from its checkpoint."

# What each ending draws on; an ending that is not here is never tried again.
BUDGETS: Mapping[Ending, str] = {
    "preempted": "retry_preempted",
    "lost": "retry_lost",
    "out_of_memory": "retry_out_of_memory",
    "crashed": "retry_crashed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PastAttempt:
    """One attempt that is over."""

    attempt: int
    ending: Ending
    reason: str
    ended: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """Where a job stands with its launcher, and what became of its attempts."""

    state: Literal["waiting", "submitting", "submitted", "ended", "given_up"] = "waiting"
    """`submitting` is written before an engine is asked, `submitted` with the id it gave."""
    launcher: str = ""
    job_id: str = ""
    name: str = ""
    attempt: int = 0
    submitted: float = 0.0
    """Unix time."""
    devices: str | None = None
    micro_batch: int | None = None
    """Sequences in memory at once since it was halved; None: as the study says."""
    history: tuple[PastAttempt, ...] = ()
    counted_from: int = 0
    """First attempt that counts against the budgets: a job that was given up and is asked for
    again has them anew."""

    @property
    def is_out(self) -> bool:
        """Whether an attempt is, or may be, with an engine."""
        return self.state in ("submitting", "submitted")

    @property
    def last(self) -> PastAttempt | None:
        """The attempt that ended last."""
        return self.history[-1] if self.history else None

    def ticket(self, folder: Path) -> Ticket:
        """What a launcher needs to find the attempt."""
        return Ticket(job_id=self.job_id, name=self.name, folder=folder, attempt=self.attempt)

    def submitting(self, spec: JobSpec, launcher: str) -> "JobRecord":
        """Before the engine is asked: from here on the attempt may exist."""
        return replace(
            self, state="submitting", launcher=launcher, job_id="", name=spec.name,
            attempt=spec.attempt, submitted=time.time(), devices=spec.devices,
        )  # fmt: skip

    def ended(self, verdict: Verdict) -> "JobRecord":
        """After the attempt."""
        past = PastAttempt(
            attempt=self.attempt, ending=verdict.ending, reason=verdict.reason, ended=time.time()
        )
        return replace(self, state="ended", history=(*self.history, past))

    def asked_again(self) -> "JobRecord":
        """A job that was given up, when the study is run again."""
        if self.state != "given_up":
            return self
        return replace(self, state="ended", counted_from=self.attempt + 1)

    def is_spent(self, launch: LaunchSection) -> bool:
        """Whether the budget of its last ending is used up (or there never was one)."""
        last = self.last
        if last is None or last.ending == "stopped":
            return False
        if last.ending not in BUDGETS:
            return True
        return self.count(last.ending) > int(getattr(launch, BUDGETS[last.ending]))

    def count(self, ending: Ending) -> int:
        """Attempts that ended so, as far as they count."""
        return Counter(p.ending for p in self.history if p.attempt >= self.counted_from)[ending]


def read_job(folder: Path) -> JobRecord:
    """The record in a run folder; `waiting` where nothing was ever submitted.

    Raises:
        RunError: the file is corrupt.
    """
    path = folder / _FILE
    if not path.exists():
        return JobRecord()
    data: Any = read_json(path, remedy=_REMEDY)
    try:
        if data.pop("version") != _VERSION:
            raise ValueError("another version")
        history = tuple(PastAttempt(**past) for past in data.pop("history"))
        return JobRecord(history=history, **data)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: not the record of a job ({error}). {_REMEDY}") from error


def write_job(folder: Path, record: JobRecord) -> JobRecord:
    """Store a record atomically; returns it."""
    write_json_atomically(folder / _FILE, {"version": _VERSION, **asdict(record)})
    return record
