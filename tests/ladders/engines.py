"""Real engines on this machine for the contract of launchers: local, Slurm, Ray."""

import contextlib
import getpass
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from isoflop.ladders.launchers import Attempt, attempts_of
from optional import need_package, need_program

PATIENCE_S = 180.0
T = TypeVar("T")


@dataclass(slots=True)
class Engine:
    """What a test needs of an engine: how a study names it, and how it takes a job away."""

    name: str
    launch: Mapping[str, Any] = field(default_factory=dict)
    """Keys of [launch]."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def preempt(self, folder: Path) -> None:
        """Take the running job of a run folder away as the engine itself would."""
        os.kill(running(folder).pid, signal.SIGTERM)

    def end_of_time(self, folder: Path) -> None:
        """Signal that a job's time is up, as a scheduler around it would."""
        os.kill(running(folder).pid, signal.SIGUSR1)

    def hurry(self) -> None:
        """Skip a wait that the engine imposes between two runs of a job."""


def running(folder: Path) -> Attempt:
    """The attempt of a run folder that runs now."""
    last = attempts_of(folder)[-1]
    assert last.ended is None
    return last


def wait_for(what: Callable[[], T], said: Callable[[], object] = lambda: "") -> T:
    """The first true value of `what`, asked again and again."""
    until = time.monotonic() + PATIENCE_S
    while not (value := what()):
        assert time.monotonic() < until, f"waited in vain: {said()}"
        time.sleep(0.05)
    return value


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


SLURM_CONF = """
ClusterName=isoflop
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000,bf_interval=1
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MailProg=/bin/true
ReturnToService=2
KillWait=20
PartitionName=low Nodes=ALL Default=YES State=UP PriorityTier=1
PartitionName=high Nodes=ALL State=UP PriorityTier=10
"""

SLURM_NODE = """
NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 Boards=1 \
SocketsPerBoard=1 CoresPerSocket=2 ThreadsPerCore=1 State=UNKNOWN
"""


@dataclass(slots=True)
class SlurmEngine(Engine):
    """slurmctld, slurmd and munged on the loopback interface."""

    n_nodes: int = 1
    _hurried_at: float = -1e9
    _waits: dict[str, float] = field(default_factory=dict)
    """When a pending job was first seen so."""

    def preempt(self, folder: Path) -> None:
        """A job of a partition of higher priority takes both cores for a moment."""
        before = len(attempts_of(folder))
        self._call("sbatch", "--partition=high", "--cpus-per-task=2", "--output=/dev/null",
                   "--job-name=greedy", "--wrap=sleep 1")  # fmt: skip
        wait_for(lambda: self._states("greedy") == [], lambda: self._call("squeue"))
        wait_for(lambda: self.hurry() or len(attempts_of(folder)) > before)

    def hurry(self) -> None:
        """Slurm lets a requeued job wait for two minutes; here two seconds must do.

        None would be too few: slurmd refuses a job that starts again in the second it ended in.
        """
        if time.monotonic() - self._hurried_at < 0.5:  # every question is two processes
            return
        self._hurried_at = time.monotonic()
        # One that still leaves one of several nodes is pending and completing: it is not to start
        # on them. (Of a node that was down it is said to be leaving for good.)
        rows = self._call("squeue", "--noheader", "--states=PENDING", "--format=%i %t").splitlines()
        jobs = [row.split()[0] for row in rows if self.n_nodes == 1 or row.split()[1] == "PD"]
        self._waits = {job: self._waits.get(job, self._hurried_at) for job in jobs}
        for job in (one for one, since in self._waits.items() if self._hurried_at - since > 1.5):
            # It may have started meanwhile.
            subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"],
                           env={**os.environ, **self.environment}, check=False,
                           capture_output=True)  # fmt: skip

    def resume(self, node: str) -> None:
        """Take a node back into service; its own slurmd may have done so by registering anew."""

        def is_up() -> bool:
            state = self._call("sinfo", "--noheader", f"--nodes={node}", "--format=%T").strip()
            if state.startswith("down"):
                subprocess.run(["scontrol", "update", f"NodeName={node}", "State=RESUME"],
                               env={**os.environ, **self.environment}, check=False,
                               capture_output=True)  # fmt: skip
            return not state.startswith("down")

        wait_for(is_up, lambda: self._call("sinfo"))

    def _states(self, name: str) -> list[str]:
        return self._call("squeue", "--noheader", f"--name={name}", "--format=%T").split()

    def _call(self, *words: str) -> str:
        return subprocess.run(
            words,
            env={**os.environ, **self.environment},
            check=True,
            capture_output=True,
            text=True,
        ).stdout


@contextlib.contextmanager
def slurm_engine(n_nodes: int = 1) -> Iterator[SlurmEngine]:
    """A Slurm cluster of one node or two that lives as long as the block."""
    for command in ("munged", "slurmctld", "slurmd", "sbatch"):
        need_program(command, "slurm-wlm munge")
    # Short and open to all: a socket's path has a limit, and munge refuses a private folder.
    root = Path(tempfile.mkdtemp(prefix="isoflop-slurm-", dir="/tmp"))
    root.chmod(0o755)
    (root / "state").mkdir()
    (root / "munge.key").write_bytes(secrets.token_bytes(128))
    (root / "munge.key").chmod(0o400)
    host = socket.gethostname().partition(".")[0]
    names = [host, "localhost"][:n_nodes]  # names that this machine has, as nodes' names are
    ports = free_ports(1 + n_nodes)
    conf = root / "slurm.conf"
    text = SLURM_CONF.format(root=root, ports=ports, host=host, user=getpass.getuser())
    for name, port in zip(names, ports[1:], strict=True):
        text += SLURM_NODE.format(name=name, host=host, port=port)
    conf.write_text(text, encoding="utf-8")
    munge = ["munged", "--foreground", "--force", f"--key-file={root}/munge.key",
             f"--socket={root}/munge.socket", f"--pid-file={root}/munged.pid",
             f"--log-file={root}/munged.log", f"--seed-file={root}/munged.seed"]  # fmt: skip
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        nodes = [["slurmd", "-D", "-c", "-f", str(conf), "-N", name] for name in names]
        for words in (munge, ["slurmctld", "-D", "-c", "-f", str(conf)], *nodes):
            said = root / f"{words[0]}-{Path(words[-1]).name}.out"
            stack.enter_context(daemon(words, environment, said))
            if words is munge:
                wait_for((root / "munge.socket").exists)
        engine = SlurmEngine(
            name="slurm",
            launch={"slurm": {"partition": "low", "cpus": 1}},
            environment={"SLURM_CONF": str(conf)},
            n_nodes=n_nodes,
        )
        wait_for(
            lambda: subprocess.run(
                ["sinfo", "--noheader", "--Node", "--partition=low", "--format=%t"],
                env=environment, check=False, capture_output=True, text=True,
            ).stdout.split() == ["idle"] * n_nodes,
            lambda: [path.read_text()[-2000:] for path in root.glob("*.log")],
        )  # fmt: skip
        yield engine
        subprocess.run(["scancel", "--user", getpass.getuser()], env=environment, check=False)


@contextlib.contextmanager
def daemon(words: list[str], environment: Mapping[str, str], log: Path) -> Iterator[None]:
    """A service that runs as long as the block."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            words, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(slots=True)
class RayEngine(Engine):
    """A head and a second raylet of one core each."""

    cluster: str = ""
    """HOST:PORT at which Ray's own processes join, as RAY_ADDRESS has it."""


@contextlib.contextmanager
def ray_engine() -> Iterator[RayEngine]:
    """A Ray cluster of two raylets that lives as long as the block."""
    need_package("ray", "ray")
    script = Path(sys.executable).with_name("ray")
    root = Path(tempfile.mkdtemp(prefix="isoflop-ray-", dir="/tmp"))
    gcs, dashboard, *agents = free_ports(6)
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    common = ["--block", "--disable-usage-stats", "--num-cpus=1", "--object-store-memory=80000000",
              "--min-worker-port=0", "--max-worker-port=0"]  # fmt: skip
    head = [str(script), "start", "--head", "--node-ip-address=127.0.0.1", f"--port={gcs}",
            "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--temp-dir={root}",
            f"--dashboard-agent-listen-port={agents[0]}", *common]  # fmt: skip
    second = [str(script), "start", f"--address=127.0.0.1:{gcs}", "--node-ip-address=127.0.0.1",
              f"--dashboard-agent-listen-port={agents[1]}", *common]  # fmt: skip
    address = f"http://127.0.0.1:{dashboard}"
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        stack.enter_context(daemon(head, environment, root / "head.out"))
        wait_for(lambda: answers(f"{address}/api/version"), lambda: _tail(root / "head.out"))
        stack.enter_context(daemon(second, environment, root / "second.out"))
        wait_for(lambda: alive_nodes(address) == 2, lambda: _tail(root / "second.out"))
        yield RayEngine(
            name="ray",
            launch={"ray": {"address": address, "stop_seconds": 20}},
            cluster=f"127.0.0.1:{gcs}",
        )


def answers(url: str) -> bool:
    """Whether a web address answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def alive_nodes(address: str) -> int:
    """Raylets that the cluster's head holds for alive."""
    try:
        with urllib.request.urlopen(f"{address}/nodes?view=summary", timeout=5) as reply:
            summary = json.load(reply)["data"]["summary"]
    except (OSError, KeyError, ValueError):
        return 0
    return sum(node["raylet"].get("state") == "ALIVE" for node in summary)


def _tail(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")[-3000:] if path.exists() else ""
