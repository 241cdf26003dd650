"""How far a ladder has come: what is finished, and what share of the estimated work is done."""

from collections.abc import Sequence
from pathlib import Path

from isoflop.ladders.design import Job
from isoflop.ladders.estimate import estimate_seconds, own_tokens
from isoflop.runs import RunFolder
from isoflop.specs import RunConfig


def is_finished(runs: Path, job: Job) -> bool:
    """Whether every branch of a job has its final point or has diverged."""
    return all(_ended(RunFolder(runs / run.run_id)) for run in job.branches)


def share_done(runs: Path, jobs: Sequence[Job]) -> float:
    """Share of the estimated work that is done."""
    total = sum(job_seconds(job) for job in jobs)
    done = sum(_work(job, run, _tokens_done(runs, job, run)) for job in jobs for run in job.runs)
    return min(1.0, done / total)


def _ended(folder: RunFolder) -> bool:
    return (folder.path / "config.json").exists() and folder.status().state in ("done", "diverged")


def job_seconds(job: Job) -> float:
    """Estimated seconds of all runs of a job, one process of one thread."""
    return sum(_work(job, run, own_tokens(job, run)) for run in job.runs)


def _work(job: Job, run: RunConfig, n_tokens: float) -> float:
    return estimate_seconds(run.shape, int(n_tokens))


def _tokens_done(runs: Path, job: Job, run: RunConfig) -> int:
    folder = RunFolder(runs / run.run_id)
    if not folder.path.exists():
        return 0
    status = folder.status()
    whole = own_tokens(job, run)
    if status.state in ("done", "diverged"):
        return whole
    before = run.schedule.hold_tokens if run.trunk else 0
    return max(0, min(whole, status.n_tokens - before))
