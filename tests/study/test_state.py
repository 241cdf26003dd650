"""What `isoflop status` says of a run whose process can no longer speak for itself."""

import fcntl
import time
from pathlib import Path
from typing import Any

import pytest

from isoflop.ladders.launchers import Poll, Verdict
from isoflop.ladders.tickets import JobRecord
from isoflop.runs import RunFolder, Status
from isoflop.specs import RunConfig
from isoflop.study.state import _STALE_S, _state

OUT = {"state": "submitted", "job_id": "7", "attempt": 1}
UNKNOWN, RUNNING, ENDED = (Poll(state=s) for s in ("unknown", "running", "ended"))  # type: ignore[arg-type]


def state_of(folder: RunFolder, status: Status, seen: Poll, record: JobRecord) -> tuple[str, str]:
    return _state(folder, status, folder.path, (record, seen))


@pytest.fixture
def folder(tmp_path: Path, tiny_trunk: RunConfig) -> RunFolder:
    return RunFolder.create(tmp_path, tiny_trunk)


def running(age_s: float) -> Status:
    return Status(state="running", attempt=1, heartbeat=time.time() - age_s)


@pytest.mark.parametrize(
    ("launcher", "age_s", "seen", "state", "words"),
    [
        ("slurm", 1.0, UNKNOWN, "running", ""),
        ("slurm", 2 * _STALE_S, UNKNOWN, "preempted", "killed; `isoflop run` goes on"),
        ("slurm", 2 * _STALE_S, RUNNING, "running", "no sign of life for 120 s"),
        ("slurm", 1.0, ENDED, "preempted", "it vanished without a word; `isoflop run` goes on"),
        ("ray", 1.0, RUNNING, "running", ""),
        # On this machine the lock of the run folder is the truth.
        ("local", 1.0, UNKNOWN, "preempted", "killed"),
        ("local", 1.0, ENDED, "preempted", "it vanished"),
    ],
)
def test_a_run_that_says_it_runs(
    folder: RunFolder, launcher: str, age_s: float, seen: Poll, state: str, words: str
) -> None:
    record = JobRecord(launcher=launcher, **OUT)  # type: ignore[arg-type]
    said, why = state_of(folder, running(age_s), seen, record)
    assert said == state
    assert words in why
    with (folder.path / "lock").open("w") as stream:  # its process lives, whatever else is said
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert state_of(folder, running(age_s), seen, record)[0] == "running"


def test_a_job_that_waits_is_queued_with_what_became_of_it_before(folder: RunFolder) -> None:
    first = JobRecord(launcher="slurm", **OUT)  # type: ignore[arg-type]
    again = first.ended(Verdict(ending="lost", reason="node lost"))
    keys: dict[str, Any] = {**OUT, "history": again.history, "attempt": 2}
    seen = Poll(state="queued", note="Slurm job 8: pending (Resources)")
    status = Status(state="preempted", reason="node lost; attempt 2 follows")
    said, why = state_of(folder, status, seen, JobRecord(launcher="slurm", **keys))
    assert (said, why) == ("queued", "Slurm job 8: pending (Resources); before: node lost")
    done = Status(state="done")
    assert state_of(folder, done, seen, JobRecord(launcher="slurm", **keys))[0] == "done"
