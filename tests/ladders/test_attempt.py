"""One attempt of a job: its claim, its record, its lock, and how every ending is read."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from engines import wait_for

from isoflop.ladders.launchers import (
    JobSpec,
    LocalLauncher,
    Poll,
    Ticket,
    attempts_of,
    verdict_of,
)
from isoflop.ladders.launchers.attempt import start_of
from isoflop.training.memory import OUT_OF_MEMORY

ENDED = Poll(state="ended")


def spec_of(folder: Path, code: str, *, attempt: int = 1, devices: str | None = None) -> JobSpec:
    command = (sys.executable, "-S", "-c", code)
    return JobSpec(
        run_id="run", folder=folder, attempt=attempt, command=command, threads=3, devices=devices
    )


def ticket_of(spec: JobSpec, job_id: str) -> Ticket:
    return Ticket(job_id=job_id, name=spec.name, folder=spec.folder, attempt=spec.attempt)


def run(folder: Path, code: str, *, attempt: int = 1) -> tuple[str, str]:
    """Ending and reason of a local process."""
    launcher, spec = LocalLauncher(), spec_of(folder, code, attempt=attempt)
    ticket = ticket_of(spec, launcher.submit(spec))
    wait_for(lambda: launcher.poll(ticket).state == "ended")
    verdict = verdict_of(folder, attempt, launcher.poll(ticket), {})
    return verdict.ending, verdict.reason


@pytest.mark.parametrize(
    ("code", "ending", "reason"),
    [
        ("pass", "done", ""),
        ("print('no such corpus'); raise SystemExit(2)", "bad_input", "no such corpus"),
        ("raise SystemExit(130)", "preempted", "was asked to stop"),
        ("import os; os.kill(os.getpid(), 15)", "preempted", "was asked to stop"),
        ("import os; os.kill(os.getpid(), 9)", "lost", "the process was killed (signal 9)"),
        ("raise SystemExit(137)", "lost", "the process was killed (signal 9)"),
        ("print('odd'); raise SystemExit(5)", "crashed", "odd"),
        ("raise MemoryError('big')", "out_of_memory", "out of memory: MemoryError: big"),
        (
            'raise RuntimeError("DefaultCPUAllocator: can\'t allocate memory: 8 bytes")',
            "out_of_memory",
            "out of memory: RuntimeError: DefaultCPUAllocator: can't allocate memory: 8 bytes",
        ),
    ],
)
def test_how_a_local_process_ended(tmp_path: Path, code: str, ending: str, reason: str) -> None:
    assert run(tmp_path, code) == (ending, reason)


def test_the_real_limit_of_memory_is_read_as_one(tmp_path: Path) -> None:
    code = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**28,) * 2); bytes(2**29)"
    assert run(tmp_path, code)[0] == "out_of_memory"


def test_an_old_ending_in_the_log_is_not_read_again(tmp_path: Path) -> None:
    assert run(tmp_path, "raise MemoryError")[0] == "out_of_memory"
    assert run(tmp_path, "raise SystemExit(5)", attempt=2) == ("crashed", "it said nothing")
    assert "MemoryError" in (tmp_path / "log.txt").read_text()


def test_a_kill_by_the_kernel_s_memory_killer_is_out_of_memory(tmp_path: Path) -> None:
    (tmp_path / "attempts").mkdir()
    for killed, ending in ((True, "out_of_memory"), (False, "lost")):
        record = {"code": -9, "out_of_memory": killed, "ended": 1.0}
        (tmp_path / "attempts" / "0001.0.json").write_text(json.dumps(record))
        assert verdict_of(tmp_path, 1, ENDED, {}).ending == ending
    for cause in ("out_of_memory", "lost", "preempted", "cancelled"):  # the engine's own word
        poll = Poll(state="ended", cause=cause, note="so it is")  # type: ignore[arg-type]
        verdict = verdict_of(tmp_path, 7, poll, {})
        assert verdict.ending == cause
        assert "so it is" in verdict.reason


def test_the_trainer_s_own_code_for_memory_is_read_as_one(tmp_path: Path) -> None:
    assert OUT_OF_MEMORY == 71  # what endings.py reads, which must not import torch
    assert run(tmp_path, f"raise SystemExit({OUT_OF_MEMORY})")[0] == "out_of_memory"


def test_the_command_has_its_threads_and_its_devices(tmp_path: Path) -> None:
    code = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ['CUDA_VISIBLE_DEVICES'])"
    spec = spec_of(tmp_path, code, devices="4,7")
    launcher = LocalLauncher()
    ticket = ticket_of(spec, launcher.submit(spec))
    wait_for(lambda: launcher.poll(ticket).state == "ended")
    assert launcher.logs(ticket) == "3 4,7"


def test_an_attempt_runs_once_however_often_it_is_started(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "print('x')")
    starts = [subprocess.Popen(spec.wrapped()) for _ in range(4)]
    assert [process.wait() for process in starts] == [0] * 4
    assert (tmp_path / "log.txt").read_text() == "x\n"
    assert len(attempts_of(tmp_path)) == 1
    # A driver that comes later is told of the one that ran.
    launcher = LocalLauncher()
    job_id = launcher.submit(spec)
    assert job_id.startswith(f"{attempts_of(tmp_path)[0].pid}@")
    assert launcher.poll(ticket_of(spec, job_id)).state == "ended"


def test_a_command_outlives_its_keeper_and_is_still_seen_to_run(tmp_path: Path) -> None:
    launcher, spec = LocalLauncher(), spec_of(tmp_path, "import time; time.sleep(60)")
    ticket = ticket_of(spec, launcher.submit(spec))
    (keeper,) = wait_for(lambda: [a for a in attempts_of(tmp_path) if a.command_pid])
    os.kill(keeper.pid, signal.SIGKILL)
    wait_for(lambda: start_of(keeper.pid) is None)
    assert launcher.poll(ticket).state == "running"
    assert LocalLauncher().poll(ticket).state == "running"  # another driver sees it too
    # The next attempt waits for it rather than do its work a second time.
    following = spec_of(tmp_path, "print('second')", attempt=2)
    after = ticket_of(following, launcher.submit(following))
    wait_for(lambda: len(attempts_of(tmp_path)) == 2)
    assert attempts_of(tmp_path)[1].command_pid is None
    launcher.cancel(ticket)
    wait_for(lambda: launcher.poll(after).state == "ended")
    assert (tmp_path / "log.txt").read_text() == "second\n"
    assert verdict_of(tmp_path, 1, ENDED, {}).ending == "lost"


def test_a_pid_that_another_process_has_now_is_not_the_job(tmp_path: Path) -> None:
    spec, launcher = spec_of(tmp_path, "pass"), LocalLauncher()
    job_id = launcher.submit(spec)
    host = job_id.rpartition("@")[2]
    wait_for(lambda: launcher.poll(ticket_of(spec, job_id)).state == "ended")
    stale = ticket_of(spec_of(tmp_path, "pass", attempt=9), f"{os.getpid()}@1@{host}")
    assert LocalLauncher().poll(stale).state == "ended"
    assert start_of(os.getpid()) not in (None, "1")


def test_a_process_of_another_machine_is_not_judged_from_here(tmp_path: Path) -> None:
    ticket = ticket_of(spec_of(tmp_path, "pass"), "1@1@elsewhere")
    seen = LocalLauncher().poll(ticket)
    assert seen.state == "unknown"
    assert "elsewhere" in seen.note


@pytest.mark.parametrize("force", [False, True])
def test_a_cancelled_process_is_asked_to_stop_or_ended(tmp_path: Path, force: bool) -> None:
    deaf = "import signal, time; signal.signal(15, lambda *_: print('no', flush=True)); "
    code = f"{deaf if force else ''}print('up', flush=True); time.sleep(60)"
    spec, launcher = spec_of(tmp_path, f"import time; {code}"), LocalLauncher()
    ticket = ticket_of(spec, launcher.submit(spec))
    wait_for(lambda: "up" in launcher.logs(ticket))
    launcher.cancel(ticket)
    if force:
        wait_for(lambda: "no" in launcher.logs(ticket))
        launcher.cancel(ticket, force=True)
    wait_for(lambda: launcher.poll(ticket).state == "ended")
    ending = verdict_of(tmp_path, 1, launcher.poll(ticket), {}).ending
    assert ending == ("lost" if force else "preempted")
