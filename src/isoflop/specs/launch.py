"""`SlurmSection`, `RaySection`: what a study asks of a cluster, checked so that nothing can be
slipped into a script."""

import re
from dataclasses import dataclass

from isoflop.specs.section import Section, require, require_within

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
    """Nodes of one job. The command starts on the first: a [trainer] spreads itself (`srun`)."""
    cpus: int = 0
    """Cores of a job; 0: launch.threads."""
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
