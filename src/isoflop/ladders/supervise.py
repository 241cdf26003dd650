"""Running jobs over the slots of a launcher, with progress, retries and an honest ETA."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from isoflop._errors import InputError, WorkerError
from isoflop.ladders.design import Job
from isoflop.ladders.estimate import estimate_seconds, own_tokens
from isoflop.ladders.launcher import Launcher, training_command
from isoflop.runs import RunFolder
from isoflop.specs import EvalSection, LaunchSection, RunConfig

_POLL_S = 0.25
_MAX_ATTEMPTS = 2
_THREADS_PAY_WIDTH = 256
_EVALUATION = EvalSection()

Progress = Callable[[float, str], None]
"""Called with (share done, what runs)."""


@dataclass(slots=True)
class _Active:
    job: Job
    job_id: str
    folders: list[RunFolder]


@dataclass(slots=True)
class _Queue:
    launcher: Launcher
    corpus: Path
    runs: Path
    launch: LaunchSection
    evaluation: EvalSection
    threads: int
    waiting: list[Job]
    active: list[_Active] = field(default_factory=list)
    attempts: dict[str, int] = field(default_factory=dict)

    def start_next(self) -> None:
        job = self.waiting.pop(0)
        folders = [RunFolder.create(self.runs, run) for run in job.runs]
        command = training_command(
            self.corpus,
            [folder.path for folder in folders],
            threads=self.threads,
            context=job.trunk.shape.context,
            launch=self.launch,
            multiple_choice=self.evaluation.multiple_choice,
        )
        log = folders[0].path / "log.txt"
        job_id = self.launcher.submit(command, log=log, threads=self.threads)
        self.active.append(_Active(job, job_id, folders))

    def collect(self) -> None:
        """Take ended jobs off; a crash is tried once more, bad input ends everything."""
        for active in list(self.active):
            state = self.launcher.poll(active.job_id)
            if state == "running":
                continue
            self.active.remove(active)
            trunk = active.folders[0]
            if state == "interrupted":
                raise KeyboardInterrupt
            if state == "bad_input":
                raise InputError(self._reason(active))
            if state == "failed":
                tried = self.attempts.get(trunk.run_id, 0) + 1
                self.attempts[trunk.run_id] = tried
                if tried >= _MAX_ATTEMPTS:
                    raise WorkerError(
                        f"training {trunk.run_id} failed {tried} times: {self._reason(active)} "
                        f"(all it said: {trunk.path / 'log.txt'})"
                    )
                self.waiting.insert(0, active.job)

    def _reason(self, active: _Active) -> str:
        """Why a job ended: what its runs' status says, or else the last line of its log."""
        reasons = [
            status.reason
            for status in (folder.status() for folder in active.folders)
            if status.state == "failed" and status.reason
        ]
        lines = self.launcher.logs(active.job_id).split("\n")
        return reasons[0] if reasons else lines[-1] or "it said nothing"


def slots_and_threads(launch: LaunchSection, jobs: Sequence[Job]) -> tuple[int, int]:
    """How many trainings at once, and threads of each of their processes.

    Two one-thread trainings give 1.2 times one two-thread training at 0.2-1M parameters, and a
    second thread of a tiny model waits at barriers for whatever else the machine does: one
    thread each below `_THREADS_PAY_WIDTH`, whatever is left of the cores above.
    """
    cores = len(os.sched_getaffinity(0))
    if launch.device == "cuda":
        return launch.slots or 1, launch.threads or max(1, cores // 2 // launch.processes)
    taken = launch.processes * (launch.threads or 1)
    slots = launch.slots or max(1, min(len(jobs), cores // taken))
    wide = max((job.trunk.shape.width for job in jobs), default=0) >= _THREADS_PAY_WIDTH
    left = max(1, cores // (slots * launch.processes))
    return slots, launch.threads or (left if wide else 1)


def run_jobs(
    jobs: Sequence[Job],
    *,
    launcher: Launcher,
    corpus: Path,
    runs: Path,
    launch: LaunchSection,
    progress: Progress,
    evaluation: EvalSection = _EVALUATION,
) -> None:
    """Train all jobs to their end, longest first; finished runs are not touched.

    Raises:
        InputError: a trainer refused its input.
        WorkerError: a trainer failed twice.
        KeyboardInterrupt: asked to stop; everything has been saved.
    """
    runs.mkdir(parents=True, exist_ok=True)
    slots, threads = slots_and_threads(launch, jobs)
    waiting = sorted((j for j in jobs if not is_finished(runs, j)), key=_seconds, reverse=True)
    queue = _Queue(launcher, corpus, runs, launch, evaluation, threads, waiting)
    try:
        while queue.waiting or queue.active:
            while queue.waiting and len(queue.active) < slots:
                queue.start_next()
            progress(share_done(runs, jobs), _label(queue))
            time.sleep(_POLL_S)
            queue.collect()
    except BaseException:
        for active in queue.active:
            launcher.cancel(active.job_id)
        raise
    progress(1.0, "")


def is_finished(runs: Path, job: Job) -> bool:
    """Whether every branch of a job has its final point or has diverged."""
    return all(_ended(RunFolder(runs / run.run_id)) for run in job.branches)


def share_done(runs: Path, jobs: Sequence[Job]) -> float:
    """Share of the estimated work that is done."""
    total = sum(_seconds(job) for job in jobs)
    done = sum(_work(job, run, _tokens_done(runs, job, run)) for job in jobs for run in job.runs)
    return min(1.0, done / total)


def _ended(folder: RunFolder) -> bool:
    return (folder.path / "config.json").exists() and folder.status().state in ("done", "diverged")


def _seconds(job: Job) -> float:
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


def _label(queue: _Queue) -> str:
    names = [f"N={active.job.n_params:,}" for active in queue.active]
    return f"{' '.join(names)} · {len(queue.waiting)} waiting"
