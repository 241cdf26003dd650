"""What the launcher asks of Ray and how it reads its answers, on a real cluster."""

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from engines import RayEngine, alive_nodes, free_ports, ray_engine, wait_for

from isoflop._errors import MissingExtraError, StudyError, WorkerError
from isoflop.ladders.launchers import (
    JobSpec,
    RayLauncher,
    Ticket,
    attempts_of,
    find_launcher,
    verdict_of,
)
from isoflop.ladders.launchers.ray import ray_address
from isoflop.specs import LaunchSection, RaySection


def spec_of(folder: Path, code: str, attempt: int = 1) -> JobSpec:
    folder.mkdir(exist_ok=True)
    command = (sys.executable, "-S", "-c", code)
    return JobSpec(run_id=folder.name, folder=folder, attempt=attempt, command=command)


def ticket_of(spec: JobSpec, job_id: str) -> Ticket:
    return Ticket(job_id=job_id, name=spec.name, folder=spec.folder, attempt=spec.attempt)


def launcher_at(address: str) -> RayLauncher:
    section = RaySection(address=address, stop_seconds=20)
    return RayLauncher(LaunchSection(launcher="ray", ray=section), poll_s=0.2)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'isoflop\[ray\]'"):
        find_launcher("ray", LaunchSection())


def test_the_address_is_the_study_s_or_the_environment_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert ray_address(LaunchSection()) == "http://127.0.0.1:8265"
    monkeypatch.setenv("RAY_ADDRESS", "head:8265")
    assert ray_address(LaunchSection()) == "http://head:8265"
    given = LaunchSection(ray=RaySection(address="https://other:1"))
    assert ray_address(given) == "https://other:1"
    with pytest.raises(StudyError, match=r"launch\.ray\.address"):
        RaySection(address="http://a b")


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayEngine]:
    with ray_engine() as engine:
        yield engine


@pytest.mark.slow
def test_a_job_is_submitted_once_whoever_asks(cluster: RayEngine, tmp_path: Path) -> None:
    address = str(cluster.launch["ray"]["address"])
    spec = spec_of(tmp_path / "once", "print('x')")
    launcher = launcher_at(address)
    job_id = launcher.submit(spec)
    assert launcher_at(address).submit(spec) == job_id == spec.name
    assert launcher.submit(replace(spec, attempt=2)) != job_id
    for number in (1, 2):
        ticket = ticket_of(replace(spec, attempt=number), f"{job_id[:-1]}{number}")
        wait_for(lambda ticket=ticket: launcher.poll(ticket).state == "ended")  # type: ignore[misc]
        verdict = verdict_of(spec.folder, number, launcher.poll(ticket), {})
        assert verdict.ending == "done"
    assert (spec.folder / "log.txt").read_text() == "x\nx\n"
    assert "attempt.py" in launcher.logs(ticket_of(spec, job_id))


@pytest.mark.slow
def test_how_ray_s_jobs_end(cluster: RayEngine, tmp_path: Path) -> None:
    """Unknown to the cluster; stopped by somebody; and its node gone, with all its processes."""
    address = str(cluster.launch["ray"]["address"])
    assert alive_nodes(address) == 2
    launcher = launcher_at(address)
    gone = spec_of(tmp_path / "gone", "pass")
    poll = launcher.poll(ticket_of(gone, "never-was"))
    assert (poll.state, poll.cause) == ("ended", "lost")

    waits = "import time; time.sleep(300)"
    stopped, dies = spec_of(tmp_path / "stopped", waits), spec_of(tmp_path / "dies", waits)
    tickets = [ticket_of(spec, launcher.submit(spec)) for spec in (stopped, dies)]
    for spec in (stopped, dies):
        wait_for(lambda spec=spec: [a for a in attempts_of(spec.folder) if a.command_pid])  # type: ignore[misc]
    queued = spec_of(tmp_path / "queued", waits)  # both cores are taken
    waiting = ticket_of(queued, launcher.submit(queued))
    assert launcher.poll(waiting).state == "queued"
    launcher.cancel(waiting)

    launcher.cancel(tickets[0])
    wait_for(lambda: launcher.poll(tickets[0]).state == "ended")
    assert verdict_of(stopped.folder, 1, launcher.poll(tickets[0]), {}).ending == "cancelled"

    (attempt,) = attempts_of(dies.folder)
    status = Path(f"/proc/{attempt.pid}/stat").read_text().rpartition(")")[2].split()
    os.kill(int(status[1]), signal.SIGKILL)  # Ray's own process on the node, the job's parent
    wait_for(lambda: launcher.poll(tickets[1]).state == "ended", lambda: launcher.poll(tickets[1]))
    assert verdict_of(dies.folder, 1, launcher.poll(tickets[1]), {}).ending == "lost"
    # Ray takes the processes down with it: nothing trains on behind a second attempt.
    wait_for(lambda: not Path(f"/proc/{attempt.command_pid}").exists())


@pytest.mark.slow
def test_a_silent_cluster_concludes_nothing(cluster: RayEngine, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    launcher = launcher_at(f"http://127.0.0.1:{port}")
    spec = spec_of(tmp_path / "run", "pass")
    assert launcher.poll(ticket_of(spec, spec.name)).state == "unknown"
    with pytest.raises(WorkerError, match=r"does not answer.*launch\.ray\.address"):
        launcher.submit(spec)
