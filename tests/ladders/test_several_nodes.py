"""A training over several nodes: what is asked of Slurm, and that two nodes train what one does."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engines import SlurmEngine, free_ports, slurm_engine, wait_for

from isoflop._errors import InputError, StudyError
from isoflop.data import prepare_corpus
from isoflop.ladders.command import training_command
from isoflop.ladders.launchers import JobSpec, SlurmLauncher, Ticket, attempts_of, verdict_of
from isoflop.ladders.launchers.sbatch import render_script
from isoflop.ladders.slots import slots_and_threads
from isoflop.runs import Point, RunFolder
from isoflop.specs import (
    DataSection,
    DomainSection,
    LaunchSection,
    RunConfig,
    Schedule,
    SlurmSection,
    study_from_mapping,
)
from isoflop.training.torchrun import meeting

STUDY: dict[str, Any] = {
    "data": {"domains": [{"name": "a", "source": "path:x"}]},
    "model": {"context": 128},
    "train": {"batch_tokens": 1024},
    "ladder": {"widths": [8], "tokens": [102_400]},
}


def launch_of(nodes: int = 2, **keys: Any) -> LaunchSection:
    slurm = SlurmSection(partition="low", nodes=nodes, **keys.pop("slurm", {}))
    return LaunchSection(
        launcher="slurm", device="cpu", dtype="float32", slurm=slurm, **keys
    )  # fmt: skip


def command_of(launch: LaunchSection, *runs: Path, corpus: Path = Path("/c")) -> list[str]:
    return training_command(corpus, runs, threads=3, context=128, launch=launch)


def spec_of(folder: Path, command: list[str], threads: int = 1) -> JobSpec:
    return JobSpec(
        run_id=folder.name, folder=folder, attempt=1, command=tuple(command), threads=threads
    )


def test_one_trainer_is_started_on_every_node(tmp_path: Path) -> None:
    launch = launch_of(processes=2, gpus_per_job=2)
    folder = tmp_path / "a run's $(folder)"
    spec = spec_of(folder, command_of(launch, folder), threads=3)
    lines = render_script(spec, launch).splitlines()
    asked = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")]
    for text in ("--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=6", "--gres=gpu:2"):
        assert text in asked
    words = shlex.split("\n".join(line for line in lines if line.startswith("exec ")))
    assert words == ["exec", *spec.wrapped()]
    start = words.index("srun")
    end = words.index(sys.executable, start)
    assert words[start:end] == [
        "srun", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--cpus-per-task=6",
        "--kill-on-bad-exit=0", "--wait=0",
    ]  # fmt: skip
    assert words[words.index("--processes") + 1] == words[words.index("--nodes") + 1] == "2"
    assert str(folder) in words


def test_the_script_says_where_nodes_meet(tmp_path: Path) -> None:
    """By the shell itself, with a scontrol of the test's."""
    (tmp_path / "scontrol").write_text('#!/bin/sh\necho "$3" | tr , "\\n"\n')
    (tmp_path / "scontrol").chmod(0o755)
    launch = launch_of()
    lines = render_script(spec_of(tmp_path, ["true"]), launch).splitlines()
    script = "\n".join(line for line in lines if not line.startswith("exec "))
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "1234567",
        "SLURM_JOB_NODELIST": "gpu-07,gpu-11",
    }  # fmt: skip
    done = subprocess.run(
        ["bash"], input=f'{script}\necho "$ISOFLOP_RENDEZVOUS"', env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "gpu-07:24567\n"
    (tmp_path / "scontrol").write_text("#!/bin/sh\nexit 1\n")
    assert subprocess.run(["bash"], input=script, env=environment, text=True).returncode == 1


def test_one_node_is_asked_for_as_before(tmp_path: Path) -> None:
    launch = launch_of(nodes=1)
    spec = spec_of(tmp_path, command_of(launch, tmp_path))
    script = render_script(spec, launch)
    assert "srun" not in script
    assert "RENDEZVOUS" not in script
    assert "--nodes=1" in script
    assert "--cpus-per-task=1" in script
    assert spec.command[0] == sys.executable
    assert "--nodes" not in spec.command
    # Slurm alone grants nodes: the section is not looked at elsewhere.
    assert replace(launch_of(nodes=4), launcher="local").total_processes == 1


def test_processes_share_the_cores_that_a_node_is_asked_for() -> None:
    launch = launch_of(processes=4, slurm={"cpus": 8})
    assert slots_and_threads(launch, [])[1] == 2
    assert slots_and_threads(replace(launch, threads=1), [])[1] == 1


@pytest.mark.parametrize(
    ("launch", "fine"),
    [
        ({"launcher": "slurm", "processes": 4, "slurm": {"nodes": 2}}, True),
        ({"launcher": "slurm", "processes": 1, "slurm": {"nodes": 3}}, False),
        ({"launcher": "slurm", "processes": 3, "slurm": {"nodes": 1}}, False),
        ({"launcher": "local", "processes": 1, "slurm": {"nodes": 3}}, True),
    ],
)
def test_the_batch_must_divide_among_all_processes(launch: dict[str, Any], fine: bool) -> None:
    if fine:
        study_from_mapping({**STUDY, "launch": launch})
        return
    with pytest.raises(StudyError, match=r"a divisor of the 8 sequences.*launch.slurm.nodes"):
        study_from_mapping({**STUDY, "launch": launch})


def test_where_nodes_meet_is_what_the_script_said() -> None:
    slurm = {"ISOFLOP_RENDEZVOUS": "n1:20007", "SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n1"}
    words = meeting(2, {**slurm, "SLURM_NODEID": "0"})
    assert words == [
        "--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "n1:20007", "--rdzv-id", "7",
        "--rdzv-conf", "is_host=1", "--local-addr", "n1",
    ]  # fmt: skip
    assert "is_host=0" in meeting(2, {**slurm, "SLURM_NODEID": "1"})
    for place in ("", "n1"):
        with pytest.raises(InputError, match=r"is not HOST:PORT of the first node"):
            meeting(2, {"ISOFLOP_RENDEZVOUS": place})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, tiny_text: Path) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    section = DataSection(
        domains=tuple(DomainSection(name=n, source=f"path:{n}") for n in ("prose", "rhyme")),
        vocab_size=300, validation_tokens=1500,
    )  # fmt: skip
    prepare_corpus(section, folder, base=tiny_text, seed=0, progress=lambda _label, _share: None)
    return folder


def cosine(tiny_trunk: RunConfig, steps: int) -> RunConfig:
    return replace(
        tiny_trunk,
        schedule=Schedule(kind="cosine", warmup_tokens=256, n_tokens=steps * 128),
        optimiser=replace(tiny_trunk.optimiser, batch_tokens=128),
        data=replace(tiny_trunk.data, repeat=True),
    )


def alone(corpus: Path, folder: RunFolder) -> Point:
    words = command_of(replace(launch_of(), launcher="local"), folder.path, corpus=corpus)
    subprocess.run(words, check=True, stderr=subprocess.DEVNULL)
    final = folder.final()
    assert final is not None
    return final


def assert_same(folder: RunFolder, one: Point, n_processes: int) -> None:
    final, execution = folder.final(), folder.execution()
    assert final is not None, (folder.path / "log.txt").read_text()
    assert execution is not None
    assert execution["processes"] == n_processes
    assert len([point for point in folder.points() if point.kind == "final"]) == 1
    assert final.step == one.step
    assert final.loss_by_domain == pytest.approx(dict(one.loss_by_domain), rel=1e-5)


@pytest.mark.slow
def test_two_nodes_without_slurm_train_what_one_process_does(
    corpus: Path, tmp_path: Path, tiny_trunk: RunConfig
) -> None:
    run = cosine(tiny_trunk, 30)
    one = alone(corpus, RunFolder.create(tmp_path / "one", run))
    folder = RunFolder.create(tmp_path / "two", run)
    words = command_of(launch_of(), folder.path, corpus=corpus)
    words = words[words.index(sys.executable) :]
    place = f"127.0.0.1:{free_ports(1)[0]}"
    with (folder.path / "log.txt").open("wb") as log:
        nodes = [
            subprocess.Popen(
                words, stdout=log, stderr=log,
                env={**os.environ, "ISOFLOP_RENDEZVOUS": place, "SLURM_NODEID": str(number),
                     "SLURMD_NODENAME": "127.0.0.1"},
            )
            for number in range(2)
        ]  # fmt: skip
        assert [node.wait(timeout=240) for node in nodes] == [0, 0]
    assert_same(folder, one, 2)


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmEngine]:
    with slurm_engine(2) as engine, pytest.MonkeyPatch.context() as patch:
        for key, value in engine.environment.items():
            patch.setenv(key, value)
        yield engine


def submitted(launch: LaunchSection, corpus: Path, folder: RunFolder) -> tuple[Any, Ticket]:
    command = command_of(launch, folder.path, corpus=corpus)
    spec = spec_of(folder.path, command)
    launcher = SlurmLauncher(launch, poll_s=0.3)
    job_id = launcher.submit(spec)
    return launcher, Ticket(job_id=job_id, name=spec.name, folder=folder.path, attempt=1)


def said(folder: RunFolder) -> str:
    paths = [folder.path / name for name in ("log.txt", "slurm.txt")]
    return "\n".join(path.read_text()[-2000:] for path in paths if path.exists())


@pytest.mark.slow
def test_two_nodes_of_slurm_train_what_one_process_does(
    cluster: SlurmEngine, corpus: Path, tmp_path: Path, tiny_trunk: RunConfig
) -> None:
    run = cosine(tiny_trunk, 30)
    one = alone(corpus, RunFolder.create(tmp_path / "one", run))
    folder = RunFolder.create(tmp_path / "a run's folder", run)
    launcher, ticket = submitted(launch_of(slurm={"cpus": 1}), corpus, folder)
    wait_for(lambda: launcher.poll(ticket).state == "ended", lambda: said(folder))
    assert verdict_of(folder.path, 1, launcher.poll(ticket), {}).ending == "done", said(folder)
    assert_same(folder, one, 2)


@pytest.mark.slow
def test_time_that_is_up_saves_on_both_nodes_and_they_go_on(
    cluster: SlurmEngine, corpus: Path, tmp_path: Path, tiny_trunk: RunConfig
) -> None:
    folder = RunFolder.create(tmp_path / "run", cosine(tiny_trunk, 20_000))
    launcher, ticket = submitted(launch_of(slurm={"cpus": 1}), corpus, folder)
    wait_for(lambda: folder.status().step > 0, lambda: said(folder))
    os.kill(attempts_of(folder.path)[0].pid, signal.SIGUSR1)  # as before a time limit
    wait_for(lambda: attempts_of(folder.path)[0].ended, lambda: said(folder))
    first = attempts_of(folder.path)[0]
    assert first.code == 130, said(folder)
    stopped = folder.status()
    assert stopped.state == "preempted"
    wait_for(
        lambda: cluster.hurry() or len(attempts_of(folder.path)) == 2,
        lambda: (
            cluster._call("squeue", "--Format=jobid,state,reason,starttime")
            + cluster._call("sinfo", "--Node")
        ),
    )
    wait_for(lambda: folder.status().step > stopped.step, lambda: said(folder))
    assert f"from step {stopped.step} to" in (folder.path / "log.txt").read_text()
    launcher.cancel(ticket)
    wait_for(lambda: launcher.poll(ticket).state == "ended", lambda: said(folder))
    assert verdict_of(folder.path, 1, launcher.poll(ticket), {}).ending == "cancelled"
    wait_for(lambda: attempts_of(folder.path)[1].ended, lambda: said(folder))
    assert attempts_of(folder.path)[1].code == 130, said(folder)
