"""Running jobs with a launcher: what was submitted is found again, what failed is tried again."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from isoflop._errors import InputError, WorkerError
from isoflop.ladders.command import OwnTrainer, command_of
from isoflop.ladders.design import Job
from isoflop.ladders.launchers import (
    JobSpec,
    Launcher,
    Poll,
    Verdict,
    attempts_of,
    find_launcher,
    verdict_of,
)
from isoflop.ladders.progress import is_finished, job_seconds, share_done
from isoflop.ladders.slots import free_devices, slots_and_threads
from isoflop.ladders.tickets import JobRecord, read_job, write_job
from isoflop.runs import RunFolder
from isoflop.specs import EvalSection, LaunchSection

_EVALUATION = EvalSection()

_POLL_S: float | None = None
"""Seconds between two looks; None: as the launcher says."""

# A trainer saves after its step; an engine kills by itself after a while.
_SAVE_S, _KILL_S = 90.0, 10.0

Progress = Callable[[float, str], None]
"""Called with (share done, what runs)."""


@dataclass(slots=True)
class _Active:
    job: Job
    record: JobRecord
    folders: list[RunFolder]
    launcher: Launcher
    seen: Poll = field(default_factory=lambda: Poll(state="queued"))

    @property
    def place(self) -> Path:
        """The folder of the trunk: the job's own."""
        return self.folders[0].path


@dataclass(slots=True)
class _Queue:
    launcher: Launcher
    corpus: Path
    runs: Path
    launch: LaunchSection
    evaluation: EvalSection
    threads: int
    waiting: list[Job]
    own: OwnTrainer | None = None
    active: list[_Active] = field(default_factory=list)

    def attach(self) -> None:
        """Take up again what an earlier driver submitted, and count anew what it gave up."""
        for job in list(self.waiting):
            place = self.runs / job.trunk.run_id
            record = read_job(place)
            if not record.is_out:
                again = record.asked_again()
                if again != record:
                    write_job(place, again)
                continue
            folders = [RunFolder.create(self.runs, run) for run in job.runs]
            launcher = self.launcher
            if record.launcher != self.launch.launcher:
                launcher = find_launcher(record.launcher, self.launch)
            active = _Active(job, record, folders, launcher)
            if record.state == "submitting":  # the driver died before it could note the id
                self._submit(active, self._spec(active, record.attempt, record.devices))
            elif self._has_ended_well(active):  # it was another job of this trunk
                continue
            self.waiting.remove(job)
            self.active.append(active)

    def _has_ended_well(self, active: _Active) -> bool:
        seen = active.launcher.poll(active.record.ticket(active.place))
        if seen.state != "ended":
            return False
        verdict = verdict_of(active.place, active.record.attempt, seen, {})
        if verdict.ending == "done":
            write_job(active.place, active.record.ended(verdict))
        return verdict.ending == "done"

    def start_next(self) -> None:
        """Submit the next job that waits."""
        job = self.waiting.pop(0)
        folders = [RunFolder.create(self.runs, run) for run in job.runs]
        record = read_job(folders[0].path)
        active = _Active(job, record, folders, self.launcher)
        devices = free_devices(self.launch, (other.record.devices for other in self.active))
        spec = self._spec(active, record.attempt + 1, devices)
        active.record = write_job(active.place, record.submitting(spec, self.launch.launcher))
        self._submit(active, spec)
        self.active.append(active)

    def collect(self) -> None:
        """Take ended jobs off; by their endings and budgets they are tried again or end all."""
        for active in list(self.active):
            active.seen = active.launcher.poll(active.record.ticket(active.place))
            if active.seen.state != "ended":
                self._check_requeues(active)
                continue
            self.active.remove(active)
            if not self._is_over(active):
                self.waiting.insert(0, active.job)

    def _check_requeues(self, active: _Active) -> None:
        """An engine that requeues by itself draws on the same budget as a new attempt."""
        record, place = active.record, active.place
        again = sum(a.number == record.attempt and a.restart > 0 for a in attempts_of(place))
        times = record.count("preempted") + again
        if times <= self.launch.retry_preempted:
            return
        active.launcher.cancel(record.ticket(place))
        self.active.remove(active)
        verdict = Verdict(ending="preempted", reason=f"preempted {times} times; {active.seen.note}")
        write_job(place, replace(record.ended(verdict), state="given_up"))
        _mark(active.folders, "failed", verdict.reason)
        raise WorkerError(
            f"training {active.folders[0].run_id} was {verdict.reason}. Raise "
            "launch.retry_preempted or the time limit."
        )

    def stop(self) -> None:
        """Ask everything that runs to save itself and stop; wait until it has."""
        left = list(self.active)
        for force, patience in ((False, _SAVE_S), (True, _KILL_S)):
            for active in left:
                active.launcher.cancel(active.record.ticket(active.place), force=force)
            until = time.monotonic() + patience
            while left and time.monotonic() < until:
                left = [active for active in left if not self._has_stopped(active)]
                if left:
                    time.sleep(min(0.1, self.launcher.poll_s))

    def _has_stopped(self, active: _Active) -> bool:
        if active.launcher.poll(active.record.ticket(active.place)).state != "ended":
            return False
        done = is_finished(self.runs, active.job)
        verdict = Verdict(ending="done" if done else "stopped", reason="")
        write_job(active.place, active.record.ended(verdict))
        _mark(active.folders, "preempted", "asked to stop")
        return True

    def _spec(self, active: _Active, attempt: int, devices: str | None) -> JobSpec:
        micro, context = active.record.micro_batch, active.job.trunk.shape.context
        launch = self.launch
        if micro is not None:  # halved since the study was written
            launch = replace(launch, micro_batch_tokens=micro * context)
        command = command_of(
            self.corpus,
            active.folders,
            launch,
            self.own,
            threads=self.threads,
            context=context,
            multiple_choice=self.evaluation.multiple_choice,
        )
        return JobSpec(
            run_id=active.folders[0].run_id, folder=active.place, attempt=attempt,
            command=tuple(command), threads=self.threads, devices=devices,
        )  # fmt: skip

    def _submit(self, active: _Active, spec: JobSpec) -> None:
        job_id = active.launcher.submit(spec)
        record = replace(active.record, state="submitted", job_id=job_id)
        active.record = write_job(active.place, record)

    def _is_over(self, active: _Active) -> bool:
        """Note how an attempt ended; False if the job is to be tried again."""
        folders, place = active.folders, active.place
        failed = {f.run_id: s.reason for f in folders if (s := f.status()).state == "failed"}
        verdict = verdict_of(place, active.record.attempt, active.seen, failed)
        if all(record.number != active.record.attempt for record in attempts_of(place)):
            # It never began: what the engine wrote says why (a setup line that failed).
            said = active.launcher.logs(active.record.ticket(place)).strip().splitlines()
            verdict = replace(verdict, reason=": ".join([verdict.reason, *said[-1:]]))
        if is_finished(self.runs, active.job):
            verdict = Verdict(ending="done", reason="")
        elif verdict.ending == "done":
            verdict = Verdict(ending="crashed", reason="it ended before its runs were complete")
        record = active.record.ended(verdict)
        if verdict.ending == "done":
            write_job(place, record)
            return True
        shrunk = record
        if verdict.ending == "out_of_memory":
            micro = halve_micro_batch(
                folders, active.job, record, processes=self.launch.total_processes
            )
            shrunk = replace(record, micro_batch=micro)
        out_of_options = verdict.ending == "out_of_memory" and shrunk.micro_batch == 0
        if record.is_spent(self.launch) or out_of_options:
            write_job(place, replace(record, state="given_up"))
            _mark(folders, "failed", verdict.reason)
            raise _failure(active, record, verdict)
        _mark(folders, "preempted", f"{verdict.reason}; attempt {record.attempt + 1} follows")
        write_job(place, shrunk)
        return False


def run_jobs(
    jobs: Sequence[Job],
    *,
    launcher: Launcher,
    corpus: Path,
    runs: Path,
    launch: LaunchSection,
    progress: Progress,
    own: OwnTrainer | None = None,
    evaluation: EvalSection = _EVALUATION,
) -> None:
    """Train all jobs to their end, longest first; finished runs are not touched.

    What an earlier driver submitted is followed, not started again: `job.json` in the trunk's
    folder says where it is. An attempt that ends without being done is tried again as far as the
    budgets of [launch] reach.

    Raises:
        InputError: a trainer refused its input.
        WorkerError: the budget of an ending is used up.
        KeyboardInterrupt: asked to stop; everything has been saved.
    """
    runs.mkdir(parents=True, exist_ok=True)
    slots, threads = slots_and_threads(launch, jobs)
    waiting = sorted((j for j in jobs if not is_finished(runs, j)), key=job_seconds, reverse=True)
    queue = _Queue(launcher, corpus, runs, launch, evaluation, threads, waiting, own)
    try:
        queue.attach()
        while queue.waiting or queue.active:
            while queue.waiting and len(queue.active) < slots:
                queue.start_next()
            progress(share_done(runs, jobs), _label(queue))
            time.sleep(launcher.poll_s if _POLL_S is None else _POLL_S)
            queue.collect()
    except BaseException:
        queue.stop()
        raise
    progress(1.0, "")


def halve_micro_batch(
    folders: Sequence[RunFolder], job: Job, record: JobRecord, *, processes: int = 1
) -> int:
    """Halve the sequences in memory at once and note it in every execution.json; the new number.

    Of each process, where several share the training.

    0 where one sequence alone was too much.
    """
    settings, context = job.trunk.optimiser, job.trunk.shape.context
    whole = settings.batch_tokens // context // processes
    frozen = [stored["micro_batch"] for f in folders if (stored := f.execution()) is not None
              and isinstance(stored.get("micro_batch"), int)]  # fmt: skip
    old = min([record.micro_batch or whole, *(micro or whole for micro in frozen)])
    new = old // 2
    for folder in folders:
        if new and folder.execution() is not None and folder.final() is None:
            folder.amend_execution(
                {"micro_batch": new}, why=f"out of memory in attempt {record.attempt}"
            )
    return new


def _failure(active: _Active, record: JobRecord, verdict: Verdict) -> Exception:
    if verdict.ending == "bad_input":
        return InputError(verdict.reason)
    times = record.count(verdict.ending)
    how = {"crashed": "failed", "cancelled": "was cancelled", "lost": "was lost"}
    words = how.get(verdict.ending, f"ended ({verdict.ending})")
    count = "" if verdict.ending == "cancelled" else f" {times} times" if times != 1 else " once"
    return WorkerError(
        f"training {active.folders[0].run_id} {words}{count}: {verdict.reason} "
        f"(all it said: {active.place / 'log.txt'})"
    )


def _mark(folders: Sequence[RunFolder], state: str, reason: str) -> None:
    """Say of the runs that a dead process left as running how they stand."""
    left = [folder for folder in folders if folder.status().state == "running"]
    left = [folder for folder in left if not folder.is_held()]
    if state == "failed" and not left and all(f.status().state != "failed" for f in folders):
        left = [f for f in folders if f.status().state in ("queued", "preempted")][:1]
    for folder in left:
        folder.beat(state=state, reason=reason)


def _label(queue: _Queue) -> str:
    names = [f"N={a.job.n_params:,}" for a in queue.active if a.seen.state != "unknown"]
    lost = [a.seen.note for a in queue.active if a.seen.state == "unknown"]
    with_engine = sum(a.seen.state == "queued" for a in queue.active)
    queued = f"{with_engine} queued, " if with_engine and queue.launch.launcher != "local" else ""
    return " ".join([*names[:4], *lost[:1], f"· {queued}{len(queue.waiting)} waiting"])
