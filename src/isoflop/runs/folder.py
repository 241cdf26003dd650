"""`RunFolder`: one run on disk, written by one process and readable at any moment.

`config.json` what was asked · `execution.json` how it is executed, frozen at the first step ·
`status.json` replaced atomically · `metrics.jsonl` appended, one JSON object a point · `log.txt` ·
`checkpoints/`.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from isoflop._errors import RunError
from isoflop.specs import RunConfig

State = Literal["queued", "running", "done", "diverged", "failed", "preempted"]
STATES: tuple[State, ...] = ("queued", "running", "done", "diverged", "failed", "preempted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where a run stands."""

    state: State
    attempt: int = 0
    step: int = 0
    n_tokens: int = 0
    heartbeat: float = 0.0
    """Unix time of the last sign of life."""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One measurement: `loss` [nats/token] is the mean of `loss_by_domain`, equally weighted."""

    step: int
    n_tokens: int
    flops: float
    loss: float
    lr: float
    kind: Literal["final", "intermediate"]
    loss_by_domain: Mapping[str, float] = field(default_factory=dict)
    bpb: float | None = None
    wall_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The line of metrics.jsonl: domains become `loss_<domain>`."""
        data = asdict(self)
        by_domain = data.pop("loss_by_domain")
        return {**data, **{f"loss_{name}": value for name, value in by_domain.items()}}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Point":
        """The point of a line of metrics.jsonl."""
        own = ("step", "n_tokens", "flops", "loss", "lr", "kind", "bpb", "wall_s")
        domains = {k.removeprefix("loss_"): v for k, v in data.items() if k.startswith("loss_")}
        return Point(loss_by_domain=domains, **{k: data[k] for k in own})


def write_json_atomically(path: Path, data: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of either."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(data, stream, indent=1, sort_keys=True)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def read_json(path: Path, *, remedy: str) -> Any:
    """The JSON data of a file; raises RunError naming it and the remedy."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}). {remedy}") from error
    except ValueError as error:
        raise RunError(f"{path}: corrupt ({error}). {remedy}") from error


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run folder."""

    path: Path

    @staticmethod
    def create(runs: Path, config: RunConfig) -> "RunFolder":
        """The folder of `config` under `runs`, made if absent; a foreign config is refused."""
        folder = RunFolder(runs / config.run_id)
        folder.checkpoints.mkdir(parents=True, exist_ok=True)
        if not (folder.path / "config.json").exists():
            write_json_atomically(folder.path / "config.json", config.to_json())
        if folder.config() != config:
            raise RunError(
                f"{folder.path}/config.json: belongs to another configuration. "
                "Move the folder away and run again."
            )
        return folder

    @property
    def run_id(self) -> str:
        """The id that names the folder."""
        return self.path.name

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints lie."""
        return self.path / "checkpoints"

    def config(self) -> RunConfig:
        """The run's configuration; RunError when the file is missing or corrupt."""
        path = self.path / "config.json"
        data = read_json(path, remedy="Restore the file, or delete the folder to train it again.")
        return RunConfig.from_json(data, place=str(path))

    def status(self) -> Status:
        """The run's status; `queued` when it has never started."""
        path = self.path / "status.json"
        if not path.exists():
            return Status(state="queued")
        data = read_json(path, remedy="Delete this file: the run resumes from its checkpoint.")
        try:
            status = Status(**data)
        except TypeError as error:
            raise RunError(
                f"{path}: not a status ({error}). Delete this file: the run resumes."
            ) from error
        if status.state not in STATES:
            raise RunError(f"{path}: unknown state {status.state!r}. Delete this file.")
        return status

    def set_status(self, status: Status) -> None:
        """Replace the status atomically."""
        write_json_atomically(self.path / "status.json", asdict(status))

    def execution(self) -> dict[str, Any] | None:
        """How the run is executed, or None before its first step."""
        path = self.path / "execution.json"
        if not path.exists():
            return None
        data = read_json(path, remedy="Delete the run folder to train it again.")
        assert isinstance(data, dict)
        return data

    def freeze_execution(self, execution: Mapping[str, Any]) -> dict[str, Any]:
        """Store how the run is executed, once; later calls return what was stored first."""
        stored = self.execution()
        if stored is None:
            stored = dict(execution)
            write_json_atomically(self.path / "execution.json", stored)
        return stored

    def append(self, point: Point) -> None:
        """Append one point; only the process that trains the run may call this."""
        line = json.dumps(point.to_json(), sort_keys=True) + "\n"
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(line)
            stream.flush()

    def mend(self) -> int:
        """Cut a torn last line off metrics.jsonl; returns the last recorded step (-1: none)."""
        path = self.path / "metrics.jsonl"
        points = self.points()
        if path.exists():
            data = path.read_bytes()
            whole = data.rfind(b"\n") + 1
            if whole < len(data):
                with path.open("r+b") as stream:
                    stream.truncate(whole)
        return points[-1].step if points else -1

    def points(self) -> list[Point]:
        """All complete points in order; a torn last line is read past, any other is an error."""
        return list(self._read_points())

    def final(self) -> Point | None:
        """The point at which the schedule was complete, if it has been reached."""
        return next((p for p in reversed(self.points()) if p.kind == "final"), None)

    def _read_points(self) -> Iterator[Point]:
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return
        lines = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                yield Point.from_json(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                if number == len(lines):  # no newline behind it: the writer was cut off
                    return
                raise RunError(
                    f"{path}, line {number}: not a point ({error!r}). "
                    "Restore the file, or delete the run folder to train it again."
                ) from error

    def beat(self, **changes: Any) -> None:
        """Update the status with a fresh heartbeat."""
        data = {**asdict(self.status()), **changes, "heartbeat": time.time()}
        self.set_status(Status(**data))
