"""`LaunchSection`: where trainings run; what is asked of a cluster is checked so that nothing can
be slipped into a script."""

import re
from dataclasses import dataclass, field
from typing import Literal

from isoflop.specs.section import (
    MAX_PROCESSES,
    MAX_TOKENS,
    Section,
    require,
    require_positive,
    require_within,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.,@+-]*")
_TIME = re.compile(r"\d+(:\d\d(:\d\d)?)?|\d+-\d+(:\d\d(:\d\d)?)?")
_MEMORY = re.compile(r"\d+[KMGT]?")
_DIRECTIVE = re.compile(r"--[a-z][a-z-]*(=[A-Za-z0-9_.,:@+*/&|()\[\]-]+)?")
# Set by the launcher, which finds and follows its jobs by them.
_OURS = (
    "account", "chdir", "comment", "cpus-per-task", "error", "gres", "job-name", "mem", "nodes",
    "no-requeue", "ntasks-per-node", "open-mode", "output", "partition", "qos", "requeue",
    "signal", "time", "wrap", "array", "parsable", "hold", "wait",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmSection(Section):
    """What every job asks of Slurm; an empty value is left to the cluster's default."""

    partition: str = ""
    account: str = ""
    qos: str = ""
    time: str = ""
    """Time limit as sbatch takes it: minutes, H:MM:SS or D-HH. A training that needs longer saves
    itself, is requeued and goes on."""
    nodes: int = 1
    """Nodes of one job, each with launch.processes processes and launch.gpus_per_job GPUs. A
    [trainer] is started on the first and spreads itself;
    `ISOFLOP_RENDEZVOUS` is HOST:PORT there."""
    cpus: int = 0
    """Cores of a job on each node; 0: launch.threads times launch.processes."""
    mem: str = ""
    """Memory of a node, as in `16G`."""
    gpu_type: str = ""
    """Type of the launch.gpus_per_job GPUs, as in `a100`."""
    signal_seconds: int = 60
    """A job is asked to save itself this long before its time limit."""
    directives: tuple[str, ...] = ()
    """More #SBATCH lines, as in `--constraint=ib`."""
    setup: tuple[str, ...] = ()
    """Lines of shell that run before every training, as in `module load cuda`."""

    def __post_init__(self) -> None:
        for key in ("partition", "account", "qos", "gpu_type"):
            _require_match("launch.slurm", key, getattr(self, key), _NAME, "a plain name")
        _require_match("launch.slurm", "time", self.time, _TIME, "minutes, H:MM:SS or D-HH")
        _require_match("launch.slurm", "mem", self.mem, _MEMORY, "a number with K, M, G or T")
        require_within("launch.slurm", self, "nodes", 1, 10_000)
        require_within("launch.slurm", self, "cpus", 0, 4096)
        require_within("launch.slurm", self, "signal_seconds", 1, 65_535)
        for text in self.directives:
            name = text.removeprefix("--").partition("=")[0]
            require(
                _DIRECTIVE.fullmatch(text) is not None and name not in _OURS,
                "launch.slurm.directives",
                text,
                "--option or --option=value, none that isoflop sets",
                "Quotes, blanks and line ends are refused; isoflop sets: " + " ".join(_OURS) + ".",
            )
        for text in self.setup:
            require(
                "\n" not in text and "\r" not in text and "\0" not in text,
                "launch.slurm.setup",
                text,
                "one line of shell an entry",
                "Split it into several entries.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RaySection(Section):
    """Which Ray cluster, and how its jobs are stopped."""

    address: str = ""
    """Address of the dashboard, as in `http://head:8265`; empty: RAY_ADDRESS, else this machine."""
    stop_seconds: int = 60
    """Time that a job has to save itself when it is stopped."""

    def __post_init__(self) -> None:
        require(
            re.fullmatch(r"([a-z]+://)?[A-Za-z0-9_.:\[\]-]*/?", self.address) is not None,
            "launch.ray.address",
            self.address,
            "http://HOST:PORT",
            "Give the address of the cluster's dashboard.",
        )
        require_within("launch.ray", self, "stop_seconds", 1, 86_400)


def _require_match(section: str, key: str, value: str, pattern: re.Pattern[str], rule: str) -> None:
    require(
        not value or pattern.fullmatch(value) is not None,
        f"{section}.{key}",
        value,
        f"{key} is {rule}",
        "Correct it, or leave the key out for the cluster's default.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSection(Section):
    """Where trainings run: `slots` processes at once, `threads` each (0: chosen by cores)."""

    launcher: Literal["local", "slurm", "ray"] = "local"
    """Where trainings run: processes of this machine, a Slurm cluster, a Ray cluster."""
    slots: int = 0
    threads: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool | Literal["auto"] = False
    """`auto`: measured before the first step of a training that is long enough to repay it."""
    checkpoint_seconds: float = 60.0
    micro_batch_tokens: int | Literal["auto"] = 0
    """Tokens of a batch that are in memory at once, a multiple of model.context that divides
    train.batch_tokens; 0: the whole batch; `auto`: measured before the first step."""
    processes: int = 1
    """Processes that share one training, through torchrun: on GPUs one a device. With several
    launch.slurm.nodes, processes on each of them."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """How they share it: every process the whole model, or a shard of it (FSDP2)."""
    gpus_per_job: int = 0
    """GPUs granted to one training; 0: no GPU is asked for, and whatever is visible is used."""
    retry_preempted: int = 1000
    """Times that a job may be preempted or reach its time limit; it goes on from its checkpoint."""
    retry_lost: int = 3
    """Times that a job may vanish: killed, its node lost, unknown to the engine."""
    retry_out_of_memory: int = 4
    """Times that a job may run out of memory; half as many sequences are in memory each time."""
    retry_crashed: int = 1
    """Times that a trainer may fail otherwise. A run that diverges is marked, never tried again."""
    slurm: SlurmSection = field(default_factory=SlurmSection)
    ray: RaySection = field(default_factory=RaySection)

    @property
    def nodes(self) -> int:
        """Nodes that share one training: Slurm alone grants several."""
        return self.slurm.nodes if self.launcher == "slurm" else 1

    @property
    def total_processes(self) -> int:
        """Processes that share one training, on all its nodes."""
        return self.nodes * self.processes

    def __post_init__(self) -> None:
        retries = ("preempted", "lost", "out_of_memory", "crashed")
        for key in ("gpus_per_job", *(f"retry_{name}" for name in retries)):
            require_within("launch", self, key, 0, 10**6)
        require_within("launch", self, "slots", 0, MAX_PROCESSES)
        require_within("launch", self, "threads", 0, MAX_PROCESSES)
        if self.micro_batch_tokens != "auto":
            require_within("launch", self, "micro_batch_tokens", 0, MAX_TOKENS)
        require_within("launch", self, "processes", 1, MAX_PROCESSES)
        require_positive("launch", self, "checkpoint_seconds")
