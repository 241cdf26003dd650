"""Where every run of a study stands."""

import time
from dataclasses import dataclass
from pathlib import Path

from isoflop._errors import IsoflopError
from isoflop.accounting import count_params
from isoflop.data import read_card
from isoflop.ladders import Job
from isoflop.ladders.estimate import own_tokens
from isoflop.ladders.launchers import Launcher, Poll, find_launcher, verdict_of
from isoflop.ladders.tickets import JobRecord, read_job
from isoflop.runs import RunFolder, Status
from isoflop.study.folder import StudyFolder
from isoflop.study.links import ladder_of

_STALE_S = 60.0
"""A run that has said nothing for this long shows no sign of life: it speaks every second."""
_GO_ON = "`isoflop run` goes on with it"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatusRow:
    """One line of `isoflop status`."""

    run_id: str
    kind: str
    state: str
    n_params: int
    n_tokens: int
    progress: float
    loss: float | None
    attempt: int
    reason: str


def study_status(study: StudyFolder) -> list[RunStatusRow]:
    """Every run of the ladder, started or not: sweeps, pilots, the held-out run.

    Engines are asked about their jobs.

    Raises:
        DataError: the corpus has not been prepared.
        RunError: a run file is corrupt.
    """
    ladder = ladder_of(study, read_card(study.data))
    launchers: dict[str, Launcher | None] = {}
    rows = []
    for role, job in ladder.jobs:
        standing = _standing(study, job, launchers)
        rows += [_row(study, job, index, role, standing) for index in range(len(job.runs))]
    return rows


def _standing(
    study: StudyFolder, job: Job, launchers: dict[str, Launcher | None]
) -> tuple[JobRecord, Poll]:
    """A job's record and what its engine says; `unknown` where it cannot be asked from here."""
    place = study.runs / job.trunk.run_id
    record = read_job(place)
    if not record.is_out or record.state == "submitting":
        return record, Poll(state="unknown")
    if record.launcher not in launchers:
        try:
            launchers[record.launcher] = find_launcher(record.launcher, study.config.launch)
        except IsoflopError:
            launchers[record.launcher] = None
    launcher = launchers[record.launcher]
    return record, Poll(state="unknown") if launcher is None else launcher.poll(
        record.ticket(place)
    )


def _row(
    study: StudyFolder, job: Job, index: int, role: str, standing: tuple[JobRecord, Poll]
) -> RunStatusRow:
    run = job.runs[index]
    folder = RunFolder(study.runs / run.run_id)
    is_trunk = run.is_trunk
    status = folder.status()
    whole = own_tokens(job, run) if is_trunk else run.n_tokens
    points = folder.points()
    place = study.runs / job.trunk.run_id
    state, reason = _state(folder, status, place, standing)
    return RunStatusRow(
        run_id=run.run_id,
        kind=f"{role} trunk" if is_trunk else role,
        state=state,
        n_params=count_params(run.shape).under("active"),
        n_tokens=whole,
        progress=min(1.0, status.n_tokens / whole),
        loss=points[-1].loss if points else None,
        attempt=status.attempt,
        reason=reason,
    )


def _state(
    folder: RunFolder, status: Status, place: Path, standing: tuple[JobRecord, Poll]
) -> tuple[str, str]:
    """The truth about a run: its own word, unless its process can no longer speak."""
    record, seen = standing
    if status.state in ("done", "diverged"):
        return status.state, status.reason
    if record.is_out and seen.state == "queued":
        past = f"; before: {record.last.reason}" if record.last else ""
        return "queued", f"{seen.note}{past}"
    if status.state != "running" or folder.is_held():
        return status.state, status.reason
    if record.is_out and seen.state == "ended":
        verdict = verdict_of(place, record.attempt, seen, {})
        if verdict.ending in ("crashed", "bad_input"):
            return "failed", verdict.reason
        return "preempted", f"{verdict.reason or 'its job has ended'}; {_GO_ON}"
    silent = time.time() - status.heartbeat
    # On another machine the lock may not show; the heartbeat does.
    if record.is_out and record.launcher != "local" and silent < _STALE_S:
        return "running", status.reason
    if record.is_out and seen.state == "running" and record.launcher != "local":
        return "running", f"{seen.note}, but no sign of life for {silent:.0f} s"
    return "preempted", f"killed; {_GO_ON}"
