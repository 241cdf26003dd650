"""Where every run of a study stands."""

from dataclasses import dataclass

from isoflop.accounting import count_params
from isoflop.data import read_card
from isoflop.ladders import Job
from isoflop.ladders.estimate import own_tokens
from isoflop.runs import RunFolder
from isoflop.study.folder import StudyFolder
from isoflop.study.links import ladder_of


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

    Raises:
        DataError: the corpus has not been prepared.
        RunError: a run file is corrupt.
    """
    ladder = ladder_of(study, read_card(study.data))
    return [
        _row(study, job, index, role) for role, job in ladder.jobs for index in range(len(job.runs))
    ]


def _row(study: StudyFolder, job: Job, index: int, role: str) -> RunStatusRow:
    run = job.runs[index]
    folder = RunFolder(study.runs / run.run_id)
    is_trunk = run.trunk is None
    status = folder.status()
    whole = own_tokens(job, run) if is_trunk else run.n_tokens
    points = folder.points()
    state, reason = status.state, status.reason
    if state == "running" and not folder.is_held():  # killed: it could not say so itself
        state, reason = "preempted", "killed; `isoflop run` goes on with it"
    return RunStatusRow(
        run_id=run.run_id,
        kind=f"{role} trunk" if is_trunk else role,
        state=state,
        n_params=count_params(run.shape).under(),
        n_tokens=whole,
        progress=min(1.0, status.n_tokens / whole),
        loss=points[-1].loss if points else None,
        attempt=status.attempt,
        reason=reason,
    )
