"""Jobs over slots: what is tried again, what ends everything, what is cancelled; one driver."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from isoflop._errors import InputError, StudyError, WorkerError
from isoflop.accounting import training_memory_bytes
from isoflop.ladders import Job, Ladder, LocalLauncher, planned_runs, run_jobs
from isoflop.ladders.command import training_command
from isoflop.ladders.launchers import JobSpec, Poll, Ticket, find_launcher
from isoflop.ladders.lock import exclusive
from isoflop.ladders.slots import free_devices, slots_and_threads
from isoflop.ladders.supervise import halve_micro_batch
from isoflop.ladders.tickets import JobRecord, read_job, write_job
from isoflop.runs import RunFolder, Status
from isoflop.specs import LaunchSection, RunConfig, Schedule
from isoflop.training.__main__ import _parser

Step = Literal[
    "running", "done", "asked to stop", "bad input", "failed", "killed", "memory", "vanished"
]
_CODES = {"done": 0, "bad input": 2, "asked to stop": 130, "failed": 1, "killed": -9, "memory": 1}


@dataclass(slots=True)
class Scripted:
    """A launcher whose jobs end as the script of their trunk says, one entry an attempt."""

    script: dict[str, list[Step]]
    reason: str = ""
    """Written to the status of a run that fails, as the trainer does."""
    poll_s: float = 0.0
    commands: list[list[str]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    devices: list[str | None] = field(default_factory=list)
    most_at_once: int = 0
    _running: dict[str, list[Path]] = field(default_factory=dict)

    def submit(self, spec: JobSpec) -> str:
        command = list(spec.command)
        self.commands.append(command)
        self.devices.append(spec.devices)
        job_id = str(len(self.commands))
        self._running[job_id] = [Path(w) for w in command if Path(w).name in self._ids(command)]
        self.most_at_once = max(self.most_at_once, len(self._running))
        (spec.folder / "attempts").mkdir(exist_ok=True)
        return job_id

    def poll(self, ticket: Ticket) -> Poll:
        if ticket.job_id not in self._running:
            return Poll(state="ended")
        folders = [RunFolder(path) for path in self._running[ticket.job_id]]
        left = self.script.get(folders[0].run_id, ["done"])
        step = left.pop(0) if len(left) > 1 else left[0]
        if step == "running":
            return Poll(state="running")
        del self._running[ticket.job_id]
        if step == "done":
            for folder in folders:
                folder.set_status(Status(state="done"))
        elif step in ("failed", "bad input") and self.reason:
            folders[0].set_status(Status(state="failed", reason=self.reason))
        last = "MemoryError" if step == "memory" else "last line"
        (ticket.folder / "log.txt").write_text(f"first line\n{last}\n")
        if step == "vanished":  # before it began
            return Poll(state="ended", cause="lost", note="job 7: failed")
        record = {"code": _CODES[step], "ended": 1.0}
        path = ticket.folder / "attempts" / f"{ticket.attempt:04d}.0.json"
        path.write_text(json.dumps(record))
        return Poll(state="ended")

    def cancel(self, ticket: Ticket, *, force: bool = False) -> None:
        self.cancelled.append(ticket.job_id)
        self._running.pop(ticket.job_id, None)

    def logs(self, ticket: Ticket) -> str:
        return "loading\nno such module\n"

    @staticmethod
    def _ids(command: Sequence[str]) -> set[str]:
        return {Path(word).name for word in command if Path(word).parent.name == "runs"}


@pytest.fixture
def jobs(tiny_trunk: RunConfig) -> list[Job]:
    """Three jobs of one branch each, the widest last."""
    made = []
    for width in (16, 32, 64):
        trunk = replace(tiny_trunk, shape=replace(tiny_trunk.shape, width=width))
        schedule = Schedule(kind="wsd", warmup_tokens=256, n_tokens=6400, cooldown_tokens=1280)
        branch = replace(trunk, schedule=schedule, trunk=trunk.run_id)
        made.append(Job(trunk=trunk, branches=(branch,)))
    return made


def _run(
    tmp_path: Path, jobs: Sequence[Job], launcher: Scripted, *, slots: int = 1, micro: int = 0
) -> list[float]:
    shares: list[float] = []
    run_jobs(
        jobs,
        launcher=launcher,
        corpus=tmp_path / "data",
        runs=tmp_path / "runs",
        launch=LaunchSection(slots=slots, threads=1, micro_batch_tokens=micro),
        progress=lambda share, _label: shares.append(share),
    )
    return shares


def _trained(launcher: Scripted) -> list[str]:
    """The trunk of every job that was started, in order."""
    return [Path(command[4]).name for command in launcher.commands]


def test_all_jobs_are_trained_longest_first_within_the_slots(
    tmp_path: Path, jobs: list[Job]
) -> None:
    waits: dict[str, list[Step]] = {job.trunk.run_id: ["running", "done"] for job in jobs}
    launcher = Scripted(waits)
    shares = _run(tmp_path, jobs, launcher, slots=2)
    assert _trained(launcher) == [job.trunk.run_id for job in reversed(jobs)]
    assert launcher.most_at_once == 2
    assert shares[0] == 0.0
    assert shares[-1] == 1.0
    assert shares == sorted(shares)


def test_finished_jobs_are_not_started(tmp_path: Path, jobs: list[Job]) -> None:
    _run(tmp_path, jobs[:1], Scripted({}))
    launcher = Scripted({})
    _run(tmp_path, jobs, launcher)
    assert _trained(launcher) == [jobs[2].trunk.run_id, jobs[1].trunk.run_id]


def test_a_crash_is_tried_once_more(tmp_path: Path, jobs: list[Job]) -> None:
    launcher = Scripted({jobs[0].trunk.run_id: ["failed", "done"]})
    _run(tmp_path, jobs, launcher)
    assert _trained(launcher).count(jobs[0].trunk.run_id) == 2
    assert len(launcher.commands) == 4


def test_a_second_crash_ends_everything_with_its_reason(tmp_path: Path, jobs: list[Job]) -> None:
    crash = jobs[1].trunk.run_id
    launcher = Scripted({crash: ["failed"]}, reason="KeyError: no more")
    with pytest.raises(WorkerError, match=rf"{crash} failed 2 times: KeyError: no more .*log"):
        _run(tmp_path, jobs, launcher)
    assert _trained(launcher) == [jobs[2].trunk.run_id, crash, crash]


def test_without_a_reason_the_last_line_of_the_log_is_shown(
    tmp_path: Path, jobs: list[Job]
) -> None:
    with pytest.raises(WorkerError) as error:
        _run(tmp_path, jobs, Scripted({jobs[0].trunk.run_id: ["failed"]}))
    assert "failed 2 times: last line (" in str(error.value)
    assert "first line" not in str(error.value)


def test_bad_input_is_not_tried_again_and_stops_the_others(tmp_path: Path, jobs: list[Job]) -> None:
    script: dict[str, list[Step]] = {job.trunk.run_id: ["running"] for job in jobs}
    script[jobs[2].trunk.run_id] = ["bad input"]
    launcher = Scripted(script, reason="launch.device = 'cuda': not here. Use 'cpu'.")
    with pytest.raises(InputError) as error:
        _run(tmp_path, jobs, launcher, slots=3)
    assert str(error.value) == "launch.device = 'cuda': not here. Use 'cpu'."
    assert len(launcher.commands) == 3
    assert sorted(launcher.cancelled) == ["2", "3"]


def test_ctrl_c_cancels_what_runs(tmp_path: Path, jobs: list[Job]) -> None:
    launcher = Scripted({job.trunk.run_id: ["running"] for job in jobs})

    def stop(_share: float, _label: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(
            jobs,
            launcher=launcher,
            corpus=tmp_path / "data",
            runs=tmp_path / "runs",
            launch=LaunchSection(slots=2, threads=1),
            progress=stop,
        )
    assert sorted(launcher.cancelled) == ["1", "2"]


@pytest.mark.parametrize(
    ("step", "key", "ending"),
    [
        ("asked to stop", "retry_preempted", "preempted"),
        ("killed", "retry_lost", "lost"),
        ("memory", "retry_out_of_memory", "out_of_memory"),
        ("failed", "retry_crashed", "crashed"),
    ],
)
def test_every_ending_has_a_budget_of_its_own(
    tmp_path: Path, jobs: list[Job], step: Step, key: str, ending: str
) -> None:
    budgets: dict[str, Any] = dict.fromkeys(
        ("retry_preempted", "retry_lost", "retry_out_of_memory", "retry_crashed"), 0
    )
    trunk = jobs[0].trunk.run_id
    good = Scripted({trunk: [step, step, "done"]})
    run_jobs(
        jobs[:1], launcher=good, corpus=tmp_path / "data", runs=tmp_path / "good" / "runs",
        launch=LaunchSection(**{**budgets, key: 2}), progress=lambda _share, _label: None,
    )  # fmt: skip
    assert len(good.commands) == 3
    past = read_job(tmp_path / "good" / "runs" / trunk).history
    assert [p.ending for p in past] == [ending, ending, "done"]
    bad = Scripted({trunk: [step, step, "done"]})
    others: dict[str, Any] = dict.fromkeys(budgets, 9)
    launch = LaunchSection(**{**others, key: 1})
    with pytest.raises(WorkerError, match=trunk):
        run_jobs(
            jobs[:1], launcher=bad, corpus=tmp_path / "data", runs=tmp_path / "bad" / "runs",
            launch=launch, progress=lambda _share, _label: None,
        )  # fmt: skip
    assert len(bad.commands) == 2
    record = read_job(tmp_path / "bad" / "runs" / trunk)
    assert record.state == "given_up"
    assert RunFolder(tmp_path / "bad" / "runs" / trunk).status().state == "failed"
    # Asked for again, it has its budget anew; its attempts are counted on.
    run_jobs(
        jobs[:1], launcher=bad, corpus=tmp_path / "data", runs=tmp_path / "bad" / "runs",
        launch=launch, progress=lambda _share, _label: None,
    )  # fmt: skip
    assert [p.attempt for p in read_job(tmp_path / "bad" / "runs" / trunk).history] == [1, 2, 3]


def test_out_of_memory_halves_the_micro_batch_and_says_so(tmp_path: Path, jobs: list[Job]) -> None:
    trunk, runs = jobs[0].trunk, tmp_path / "runs"
    folder = RunFolder.create(runs, trunk)
    folder.freeze_execution({"micro_batch": 0, "threads": 1})
    launcher = Scripted({trunk.run_id: ["memory"]})
    with pytest.raises(WorkerError, match="out of memory"):
        _run(tmp_path, jobs[:1], launcher)
    sizes = [command[command.index("--micro-batch") + 1] for command in launcher.commands]
    assert sizes == ["0", "2", "1"]  # a batch is 4 sequences; one alone is the end of it
    execution = folder.execution()
    assert execution is not None
    assert execution["micro_batch"] == 1
    assert execution["threads"] == 1
    assert [note["was"] for note in execution["amended"]] == [
        {"micro_batch": 0},
        {"micro_batch": 2},
    ]
    assert "out of memory in attempt 1" in execution["amended"][0]["why"]


def test_halves_are_of_what_each_process_holds(tmp_path: Path, jobs: list[Job]) -> None:
    folders = [RunFolder.create(tmp_path, jobs[0].trunk)]
    assert halve_micro_batch(folders, jobs[0], JobRecord(), processes=2) == 1  # 4 sequences in 2


def test_a_job_that_never_began_says_what_its_engine_wrote(tmp_path: Path, jobs: list[Job]) -> None:
    launcher = Scripted({jobs[0].trunk.run_id: ["vanished"]})
    with pytest.raises(WorkerError, match="was lost 4 times: job 7: failed: no such module"):
        _run(tmp_path, jobs[:1], launcher)


def test_an_engine_s_own_requeues_draw_on_the_budget(tmp_path: Path, jobs: list[Job]) -> None:
    launcher, runs = Scripted({jobs[0].trunk.run_id: ["running"]}), tmp_path / "runs"
    place = runs / jobs[0].trunk.run_id

    def requeue(_share: float, _label: str) -> None:
        number = len(list((place / "attempts").glob("*"))) if (place / "attempts").exists() else 0
        if launcher.commands:
            (place / "attempts" / f"0001.{number}.json").write_text("{}")

    with pytest.raises(WorkerError, match=r"was preempted 3 times.*launch\.retry_preempted"):
        run_jobs(
            jobs[:1], launcher=launcher, corpus=tmp_path / "data", runs=runs,
            launch=LaunchSection(slots=1, retry_preempted=2), progress=requeue,
        )  # fmt: skip
    assert launcher.cancelled == ["1"]
    assert read_job(place).state == "given_up"


def test_every_local_slot_has_gpus_of_its_own(
    tmp_path: Path, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4,5,6,7")
    waits: dict[str, list[Step]] = {job.trunk.run_id: ["running", "done"] for job in jobs}
    launcher, launch = Scripted(waits), LaunchSection(gpus_per_job=2, threads=1)
    run_jobs(
        jobs, launcher=launcher, corpus=tmp_path / "data", runs=tmp_path / "runs",
        launch=launch, progress=lambda _share, _label: None,
    )  # fmt: skip
    assert slots_and_threads(launch, jobs) == (2, 1)
    assert launcher.devices == ["3,4", "5,6", "3,4"]
    assert free_devices(launch, ["3,4", None]) == "5,6"
    with pytest.raises(StudyError, match=r"gpus_per_job = 2: 1 GPUs of this machine are free"):
        free_devices(launch, ["3,4", "5,6"])
    assert free_devices(LaunchSection(gpus_per_job=2, launcher="ray"), ["3,4", "5,6"]) is None


def test_what_a_dead_driver_submitted_is_followed_and_not_started_again(
    tmp_path: Path, jobs: list[Job]
) -> None:
    trunk, runs = jobs[0].trunk.run_id, tmp_path / "runs"
    launcher = Scripted({trunk: ["running", "running", "done"]})
    (folder, *_) = (RunFolder.create(runs, run).path for run in jobs[0].runs)
    command = ("x", *(str(runs / run.run_id) for run in jobs[0].runs))
    spec = JobSpec(run_id=trunk, folder=folder, attempt=1, command=command)
    record = write_job(folder, JobRecord().submitting(spec, "local"))
    job_id = launcher.submit(spec)
    write_job(folder, replace(record, state="submitted", job_id=job_id))
    _run(tmp_path, jobs[:1], launcher)
    assert launcher.commands == [list(command)]
    assert [p.ending for p in read_job(folder).history] == ["done"]


def test_a_corrupt_job_record_is_named(tmp_path: Path, jobs: list[Job]) -> None:
    _run(tmp_path, jobs[:1], Scripted({}))
    path = tmp_path / "runs" / jobs[0].trunk.run_id / "job.json"
    for text in (
        "{",
        "[]",
        '{"version": 99, "history": []}',
        '{"version": 1, "history": [], "x": 1}',
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=r"job\.json.*Delete this file"):
            read_job(path.parent)


@pytest.mark.parametrize(
    ("cores", "launch", "width", "expected"),
    [
        (2, LaunchSection(), 64, (2, 1)),
        (2, LaunchSection(), 256, (2, 1)),
        (8, LaunchSection(), 64, (3, 1)),  # three jobs; a thread more of a tiny model only waits
        (8, LaunchSection(), 256, (3, 2)),
        (1, LaunchSection(), 256, (1, 1)),
        (8, LaunchSection(threads=4), 64, (2, 4)),
        (8, LaunchSection(slots=5), 64, (5, 1)),
        (2, LaunchSection(slots=1, threads=2), 64, (1, 2)),
        (2, LaunchSection(threads=4), 64, (1, 4)),
        (8, LaunchSection(device="cuda"), 64, (1, 4)),
        (8, LaunchSection(device="cuda", slots=2, threads=1), 64, (2, 1)),
    ],
)
def test_slots_and_threads(
    jobs: list[Job],
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    launch: LaunchSection,
    width: int,
    expected: tuple[int, int],
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cores)))
    trunk = replace(jobs[0].trunk, shape=replace(jobs[0].trunk.shape, width=width))
    widened = [replace(jobs[0], trunk=trunk), *jobs[1:]]
    assert slots_and_threads(launch, widened) == expected


def test_micro_batches_reach_the_trainer_and_the_estimate(tmp_path: Path, jobs: list[Job]) -> None:
    launcher = Scripted({})
    _run(tmp_path, jobs[:1], launcher, micro=32)
    command = launcher.commands[0]
    assert command[command.index("--micro-batch") + 1] == "2"  # sequences of 16 tokens
    ladder = Ladder(pilots=tuple(jobs[:1]), holdout=None)
    shape = jobs[0].trunk.shape
    for launch, tokens, dtype in (
        (LaunchSection(dtype="float32"), 64, "float32"),
        (LaunchSection(dtype="float32", micro_batch_tokens=32), 32, "float32"),
        (LaunchSection(dtype="bfloat16"), 64, "bfloat16"),
        (LaunchSection(device="cuda"), 64, "bfloat16"),
    ):
        planned = planned_runs(ladder, threads=1, holdout_threads=1, launch=launch)
        expected = training_memory_bytes(shape, tokens, dtype)
        assert {run.memory_bytes for run in planned} == {expected}
    unknown = planned_runs(ladder, threads=1, holdout_threads=1)[0].memory_bytes
    both = [training_memory_bytes(shape, 64, dtype) for dtype in ("float32", "bfloat16")]
    assert unknown == max(both)


def test_launchers_are_found_by_name() -> None:
    assert isinstance(find_launcher("local", LaunchSection()), LocalLauncher)
    with pytest.raises(StudyError, match=r"launch\.launcher = 'moon'.*Use one of: local"):
        find_launcher("moon", LaunchSection())


def test_the_command_is_the_trainer_s(tmp_path: Path) -> None:
    launch = LaunchSection(
        threads=2, micro_batch_tokens=64, device="cpu", dtype="float32", compile=True,
        checkpoint_seconds=5.0, processes=2, parallel="fsdp",
    )  # fmt: skip
    runs = [tmp_path / "a", tmp_path / "b"]
    command = training_command(
        tmp_path, runs, threads=2, context=16, launch=launch, multiple_choice=True
    )
    assert command[:3] == [sys.executable, "-m", "isoflop.training"]
    assert command[3:6] == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "b")]
    options = vars(_parser().parse_args(command[3:]))
    assert {k: v for k, v in options.items() if k not in ("corpus", "runs")} == {
        "threads": 2, "fewer_threads": False, "micro_batch": 4, "device": "cpu",
        "dtype": "float32", "compile": True, "checkpoint_seconds": 5.0, "processes": 2,
        "parallel": "fsdp", "multiple_choice": True, "nodes": 1,
    }  # fmt: skip
    free = LaunchSection(compile="auto", micro_batch_tokens="auto")
    options = vars(_parser().parse_args(
        training_command(tmp_path, runs, threads=2, context=16, launch=free)[3:]
    ))  # fmt: skip
    chosen = {"compile": "auto", "micro_batch": "auto", "fewer_threads": True}
    assert options.items() >= chosen.items()


HOLD = """
import sys, time
from pathlib import Path
from isoflop.ladders.lock import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_drivers_on_one_study_refuse_until_the_first_is_dead(tmp_path: Path) -> None:
    study = tmp_path / "study"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(study)], stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with (
            pytest.raises(StudyError, match=rf"study: .*process {first.pid}\) is working"),
            exclusive(study),
        ):
            pytest.fail("two drivers at once")
        first.kill()
        first.wait()
    with exclusive(study):  # kill -9 leaves no stale lock
        assert (study / "lock").read_text() == f"{os.getpid()}\n"
    with (study / "lock").open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
