"""Jobs over slots: what is tried again, what ends everything, what is cancelled; one driver."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from isoflop._errors import InputError, StudyError, WorkerError
from isoflop.accounting import training_memory_bytes
from isoflop.ladders import Job, Ladder, LocalLauncher, planned_runs, run_jobs, supervise
from isoflop.ladders.launcher import JobState, find_launcher, training_command
from isoflop.ladders.lock import exclusive
from isoflop.ladders.supervise import slots_and_threads
from isoflop.runs import RunFolder, Status
from isoflop.specs import LaunchSection, RunConfig, Schedule
from isoflop.training.__main__ import _parser


@dataclass(slots=True)
class Scripted:
    """A launcher whose jobs end as the script of their trunk says, one entry an attempt."""

    script: dict[str, list[JobState]]
    reason: str = ""
    """Written to the status of a run that fails, as the trainer does."""
    commands: list[list[str]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    most_at_once: int = 0
    _running: dict[str, list[Path]] = field(default_factory=dict)

    def submit(self, command: Sequence[str], *, log: Path, threads: int) -> str:
        self.commands.append(list(command))
        job_id = str(len(self.commands))
        self._running[job_id] = [Path(w) for w in command if Path(w).name in self._ids(command)]
        self.most_at_once = max(self.most_at_once, len(self._running))
        return job_id

    def poll(self, job_id: str) -> JobState:
        folders = [RunFolder(path) for path in self._running[job_id]]
        left = self.script.get(folders[0].run_id, ["done"])
        state = left.pop(0) if len(left) > 1 else left[0]
        if state != "running":
            del self._running[job_id]
        if state == "done":
            for folder in folders:
                folder.set_status(Status(state="done"))
        elif state in ("failed", "bad_input") and self.reason:
            folders[0].set_status(Status(state="failed", reason=self.reason))
        return state

    def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)

    def logs(self, job_id: str) -> str:
        return "first line\nlast line"

    @staticmethod
    def _ids(command: Sequence[str]) -> set[str]:
        return {Path(word).name for word in command if Path(word).parent.name == "runs"}


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "_POLL_S", 0.0)


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
    waits: dict[str, list[JobState]] = {job.trunk.run_id: ["running", "done"] for job in jobs}
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
    launcher = Scripted({crash: ["failed"]}, reason="MemoryError: no more")
    with pytest.raises(WorkerError, match=rf"{crash} failed 2 times: MemoryError: no more .*log"):
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
    script: dict[str, list[JobState]] = {job.trunk.run_id: ["running"] for job in jobs}
    script[jobs[2].trunk.run_id] = ["bad_input"]
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


def test_an_interrupted_job_interrupts_the_driver(tmp_path: Path, jobs: list[Job]) -> None:
    script: dict[str, list[JobState]] = {job.trunk.run_id: ["running"] for job in jobs}
    script[jobs[1].trunk.run_id] = ["interrupted"]
    launcher = Scripted(script)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, jobs, launcher, slots=2)
    assert launcher.cancelled == ["1"]


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
    assert isinstance(find_launcher("local"), LocalLauncher)
    with pytest.raises(StudyError, match=r"launch\.launcher = 'moon'.*Use one of: local"):
        find_launcher("moon")


@pytest.mark.parametrize(
    ("code", "state"),
    [
        ("raise SystemExit(0)", "done"),
        ("raise SystemExit(2)", "bad_input"),
        ("raise SystemExit(130)", "interrupted"),
        ("raise SystemExit(1)", "failed"),
        ("import os; os.kill(os.getpid(), 15)", "interrupted"),
        ("import os; os.kill(os.getpid(), 9)", "failed"),
    ],
)
def test_how_a_local_process_ended(tmp_path: Path, code: str, state: str) -> None:
    launcher = LocalLauncher()
    log = tmp_path / "log.txt"
    script = f"import os; print('threads', os.environ['OMP_NUM_THREADS'], flush=True); {code}"
    job = launcher.submit([sys.executable, "-S", "-c", script], log=log, threads=3)
    while launcher.poll(job) == "running":
        pass
    assert launcher.poll(job) == state
    assert launcher.logs(job) == "threads 3"


def test_a_cancelled_process_is_asked_to_stop(tmp_path: Path) -> None:
    launcher = LocalLauncher()
    command = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    job = launcher.submit(command, log=tmp_path / "log.txt", threads=1)
    assert launcher.poll(job) == "running"
    launcher.cancel(job)
    assert launcher.poll(job) == "interrupted"


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
        "parallel": "fsdp", "multiple_choice": True,
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
