"""Scripts for Slurm: what they say, what cannot be slipped into them; what only Slurm can do."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from engines import SlurmEngine, slurm_engine, wait_for

from isoflop._errors import StudyError, WorkerError
from isoflop.ladders.launchers import (
    JobSpec,
    SlurmLauncher,
    Ticket,
    attempts_of,
    find_launcher,
    slurm,
    verdict_of,
)
from isoflop.ladders.launchers.sbatch import render_script
from isoflop.specs import LaunchSection, SlurmSection, study_from_mapping

# Ends by itself after so many seconds; asked to stop, it leaves a mark and 130.
SLEEPER = """
import signal, sys, time
def stop(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Slurm and the keeper both ask
    print("saved", flush=True)
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
time.sleep(float(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmEngine]:
    with slurm_engine() as engine, pytest.MonkeyPatch.context() as patch:
        for key, value in engine.environment.items():
            patch.setenv(key, value)
        yield engine


def spec_of(folder: Path, seconds: float = 0.0, attempt: int = 1) -> JobSpec:
    folder.mkdir(exist_ok=True)
    command = (sys.executable, "-S", "-c", SLEEPER, str(seconds))
    return JobSpec(run_id=folder.name, folder=folder, attempt=attempt, command=command)


def launch_of(**keys: object) -> LaunchSection:
    section = SlurmSection(partition="low", cpus=1, **keys)  # type: ignore[arg-type]
    return LaunchSection(launcher="slurm", slurm=section)


def launcher_of(**keys: object) -> SlurmLauncher:
    return SlurmLauncher(launch_of(**keys), poll_s=0.2)


def ticket_of(spec: JobSpec, job_id: str) -> Ticket:
    return Ticket(job_id=job_id, name=spec.name, folder=spec.folder, attempt=spec.attempt)


def ended(launcher: SlurmLauncher, ticket: Ticket) -> str:
    """The ending of an attempt, once it is over."""
    wait_for(lambda: launcher.poll(ticket).state == "ended", lambda: launcher.poll(ticket))
    return verdict_of(ticket.folder, ticket.attempt, launcher.poll(ticket), {}).ending


def test_the_script_asks_for_what_the_study_says(tmp_path: Path) -> None:
    launch = LaunchSection(
        launcher="slurm", gpus_per_job=2,
        slurm=SlurmSection(
            partition="gpu", account="lab-7", qos="low", time="1-12", cpus=8, mem="64G",
            gpu_type="a100", signal_seconds=120, directives=("--constraint=ib&nvme",),
            setup=("module load cuda", "export A='b c'"),
        ),
    )  # fmt: skip
    spec = replace(spec_of(tmp_path / "a run's $(folder)"), threads=4)
    lines = render_script(spec, launch).splitlines()
    assert lines[0] == "#!/bin/bash"
    asked = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")]
    for text in (
        "--partition=gpu", "--account=lab-7", "--qos=low", "--time=1-12", "--cpus-per-task=8",
        "--mem=64G", "--gres=gpu:a100:2", "--signal=B:USR1@120", "--requeue",
        "--constraint=ib&nvme", f"--job-name={spec.name}",
    ):  # fmt: skip
        assert text in asked
    assert [text for text in asked if spec.run_id.split()[0] in text]
    after = lines[len(asked) + 1 :]
    assert after[:3] == ["set -e", "module load cuda", "export A='b c'"]
    words = shlex.split("\n".join(after[3:]))
    assert words == ["exec", *spec.wrapped()]
    assert subprocess.run(["bash", "-n"], input="\n".join(lines), text=True).returncode == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("partition", "low\n#SBATCH --uid=0"),
        ("partition", "-x"),
        ("account", "a b"),
        ("qos", "$(id)"),
        ("time", "1 hour"),
        ("mem", "16G;rm"),
        ("gpu_type", 'a"100'),
        ("directives", ["--constraint=a b"]),
        ("directives", ["--constraint=`id`"]),
        ("directives", ["constraint=a"]),
        ("directives", ["--output=/etc/passwd"]),
        ("directives", ["--job-name=other"]),
        ("setup", ["module load a\nexit 0"]),
        ("signal_seconds", 0),
        ("cpus", -1),
    ],
)
def test_nothing_can_be_slipped_into_a_script(key: str, value: object) -> None:
    data = {
        "data": {"domains": [{"name": "a", "source": "path:x"}]},
        "ladder": {"widths": [8], "tokens": [100_000]},
        "launch": {"launcher": "slurm", "slurm": {key: value}},
    }
    with pytest.raises(StudyError, match=rf"launch\.slurm\.{key}"):
        study_from_mapping(data)


def test_without_slurm_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(StudyError, match=r"sbatch is not on the PATH.*or use 'local'"):
        find_launcher("slurm", LaunchSection())


def test_a_silent_slurm_concludes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def silent(words: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.CompletedProcess(words, 1, "", "slurm_load_jobs error: timed out\n")

    monkeypatch.setattr(slurm.subprocess, "run", silent)
    spec, launcher = spec_of(tmp_path / "run"), launcher_of()
    assert launcher.poll(ticket_of(spec, "7")).state == "unknown"
    with pytest.raises(WorkerError, match="Slurm does not answer: slurm_load_jobs error"):
        launcher.submit(spec)


def test_a_job_is_submitted_once_whoever_asks(cluster: SlurmEngine, tmp_path: Path) -> None:
    """A driver may die between sbatch and writing the id down: the next one finds the job."""
    spec = spec_of(tmp_path / "once", 2.0)
    first, second = launcher_of().submit(spec), launcher_of().submit(spec)
    assert first == second
    other = spec_of(tmp_path / "other", 0.0)
    assert launcher_of().submit(replace(other, run_id="once")) != first
    assert ended(launcher_of(), ticket_of(spec, first)) == "done"
    # Even submitted twice, an attempt runs once: the first that claims it.
    script = spec.folder / "attempt-0001.sbatch"
    again = subprocess.run(
        ["sbatch", "--parsable", "--wait", f"--output={tmp_path}/again.txt", str(script)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert again.stdout.strip() != first
    assert len(attempts_of(spec.folder)) == 1


def test_a_job_that_slurm_never_knew_is_lost(cluster: SlurmEngine, tmp_path: Path) -> None:
    spec = spec_of(tmp_path / "gone")
    assert ended(launcher_of(), ticket_of(spec, "999999")) == "lost"


def test_somebody_s_scancel_is_no_preemption(cluster: SlurmEngine, tmp_path: Path) -> None:
    spec, launcher = spec_of(tmp_path / "cancelled", 60.0), launcher_of()
    ticket = ticket_of(spec, launcher.submit(spec))
    log = spec.folder / "log.txt"
    wait_for(lambda: log.exists() and "ready" in log.read_text())
    launcher.cancel(ticket)
    assert ended(launcher, ticket) == "cancelled"
    assert "saved" in log.read_text()
    assert attempts_of(spec.folder)[0].code == 130


def test_a_refused_job_says_why(cluster: SlurmEngine, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"sbatch refused .*partition.*Change \[launch.slurm\]"):
        SlurmLauncher(
            LaunchSection(launcher="slurm", slurm=SlurmSection(partition="nowhere"))
        ).submit(spec_of(tmp_path / "refused"))


def test_a_pending_job_is_queued_with_its_reason(cluster: SlurmEngine, tmp_path: Path) -> None:
    launcher = launcher_of(directives=("--begin=now+1hour",))
    spec = spec_of(tmp_path / "pending")
    ticket = ticket_of(spec, launcher.submit(spec))
    wait_for(lambda: "BeginTime" in launcher.poll(ticket).note)
    assert launcher.poll(ticket).state == "queued"
    launcher.cancel(ticket)
    assert ended(launcher, ticket) == "cancelled"


@pytest.mark.slow  # Slurm looks at its time limits twice a minute
def test_slurm_s_own_time_limit_saves_and_requeues(cluster: SlurmEngine, tmp_path: Path) -> None:
    launcher = launcher_of(time="1", signal_seconds=50)
    spec = spec_of(tmp_path / "limited", 300.0)
    ticket = ticket_of(spec, launcher.submit(spec))
    wait_for(lambda: attempts_of(spec.folder) and attempts_of(spec.folder)[0].ended)
    assert attempts_of(spec.folder)[0].code == 130
    assert "saved" in (spec.folder / "log.txt").read_text()
    wait_for(lambda: launcher.poll(ticket).state == "queued")
    cluster.hurry()
    wait_for(lambda: cluster.hurry() or len(attempts_of(spec.folder)) == 2)
    assert attempts_of(spec.folder)[1].restart == 1
    launcher.cancel(ticket)
    assert ended(launcher, ticket) == "cancelled"


def test_a_node_that_fails_costs_an_attempt_and_no_more(
    cluster: SlurmEngine, tmp_path: Path
) -> None:
    spec, launcher = spec_of(tmp_path / "node", 30.0), launcher_of()
    ticket = ticket_of(spec, launcher.submit(spec))
    wait_for(lambda: attempts_of(spec.folder) and attempts_of(spec.folder)[0].command_pid)
    node = cluster._call("sinfo", "--noheader", "--format=%n").strip()
    cluster._call("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    wait_for(lambda: launcher.poll(ticket).state == "queued", lambda: launcher.poll(ticket))
    cluster.resume(node)
    wait_for(lambda: cluster.hurry() or len(attempts_of(spec.folder)) == 2)
    os.kill(wait_for(lambda: attempts_of(spec.folder)[1].command_pid) or 0, signal.SIGKILL)
    assert ended(launcher, ticket) == "lost"
