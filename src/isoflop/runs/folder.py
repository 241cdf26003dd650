"""`RunFolder`: one run on disk, written by one process and readable at any moment.

`config.json` what was asked · `execution.json` how it is executed, frozen at the first step ·
`status.json` replaced atomically · `metrics.jsonl` appended, one JSON object a point · `log.txt` ·
`checkpoints/`.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from isoflop._errors import RunError
from isoflop.runs.records import Point, Status
from isoflop.specs import RunConfig
from isoflop.specs.run import CONFIG_VERSION

LOCK = "lock"
"""File in a run folder that the training process keeps locked."""


_LOCK_POLL_S = 0.1
_ENCODER = json.JSONEncoder(sort_keys=True)
_TAIL = 1 << 16
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of this file; True where locks are unknown (not POSIX)."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


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
        return self.path.resolve().name

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints lie."""
        return self.path / "checkpoints"

    def config(self) -> RunConfig:
        """The run's configuration.

        Raises:
            RunError: the file is missing, corrupt, or no longer the one that names the folder.
        """
        path = self.path / "config.json"
        remedy = "Restore the file, or delete the folder to train it again."
        data = read_json(path, remedy=remedy)
        # What lies in the file is hashed, not what this version reads from it.
        known = isinstance(data, dict) and data.get("version") == CONFIG_VERSION
        if known and (found := _config_hash(data)) != self.run_id:
            raise RunError(
                f"{path}: was changed or copied: it describes run {found}, not {self.run_id}. "
                f"{remedy}"
            )
        return RunConfig.from_json(data, place=str(path))

    def status(self) -> Status:
        """The run's status; `queued` when it has never started."""
        path = self.path / "status.json"
        if not path.exists():
            return Status(state="queued")
        remedy = "Delete this file: the run resumes from its checkpoint."
        data = read_json(path, remedy=remedy)
        try:
            return Status.from_json(data)
        except ValueError as error:
            raise RunError(f"{path}: not a status: {error}. {remedy}") from error

    def set_status(self, status: Status) -> None:
        """Replace the status atomically."""
        write_json_atomically(self.path / "status.json", asdict(status))

    def execution(self) -> dict[str, Any] | None:
        """How the run is executed, or None before its first step."""
        path = self.path / "execution.json"
        if not path.exists():
            return None
        remedy = "Delete the run folder to train it again."
        data = read_json(path, remedy=remedy)
        if not isinstance(data, dict):
            raise RunError(f"{path}: not a JSON object. {remedy}")
        return data

    def freeze_execution(self, execution: Mapping[str, Any]) -> dict[str, Any]:
        """Store how the run is executed, once; later calls return what was stored first."""
        stored = self.execution()
        if stored is None:
            stored = dict(execution)
            self.rewrite_execution(stored)
        return stored

    def rewrite_execution(self, execution: Mapping[str, Any]) -> None:
        """Replace execution.json: only the trainer that had to go on otherwise, with a note."""
        write_json_atomically(self.path / "execution.json", dict(execution))

    def amend_execution(self, changes: Mapping[str, Any], *, why: str) -> None:
        """Change what a retry may change, and keep under `amended` what it was and why.

        Only while no process trains the run.
        """
        stored = self.execution() or {}
        note = {"why": why, "was": {key: stored.get(key) for key in changes}, "at": time.time()}
        amended = {**stored, **changes, "amended": [*stored.get("amended", []), note]}
        write_json_atomically(self.path / "execution.json", amended)

    def append(self, *points: Point) -> None:
        """Append points in one write; only the process that trains the run may call this."""
        lines = "".join(_ENCODER.encode(one.to_json()) + "\n" for one in points)
        left = memoryview(lines.encode())
        # Straight to the system: a stream of Python's would cost more than the line itself.
        file = os.open(f"{self.path}/metrics.jsonl", _APPEND, 0o666)
        try:
            while left:
                left = left[os.write(file, left) :]
        finally:
            os.close(file)

    def mend(self) -> int:
        """Finish or cut a torn last line of metrics.jsonl; the last recorded step (-1: none).

        A last line that lacks only its newline gets it; of any other, nothing is kept.
        """
        path = self.path / "metrics.jsonl"
        data = self._metrics()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with path.open("r+b") as stream:
                if _is_json(data[whole:]):
                    stream.seek(len(data))
                    stream.write(b"\n")
                else:
                    stream.truncate(whole)
        points = self.points()
        return points[-1].step if points else -1

    def points(self) -> list[Point]:
        """All complete points in order; a torn last line is read past, any other is an error."""
        return list(self._read_points())

    def last(self) -> Point | None:
        """The last complete point, read from the end of the file: for lists of many runs.

        Raises:
            RunError: the last line is no point.
        """
        path = self.path / "metrics.jsonl"
        try:
            with path.open("rb") as stream:
                size = stream.seek(0, os.SEEK_END)
                stream.seek(max(0, size - _TAIL))
                data = stream.read()
        except FileNotFoundError:
            return None
        lines = [line for line in data.split(b"\n") if line.strip()]
        if lines and not data.endswith(b"\n") and not _is_json(lines[-1]):
            lines.pop()  # the writer was cut off
        if not lines or (len(lines) == 1 and size > _TAIL):
            return next(reversed(self.points()), None)
        try:
            return Point.from_json(json.loads(lines[-1]))
        except ValueError as error:
            raise RunError(f"{path}, last line: not a point: {error}. Restore the file.") from error

    def final(self) -> Point | None:
        """The point at which the schedule was complete, if it has been reached."""
        return next((p for p in reversed(self.points()) if p.kind == "final"), None)

    def is_held(self) -> bool:
        """Whether a process is training this run: it holds the lock of the folder.

        Where locks are unknown (not POSIX), the run's status is all there is: True.
        """
        return is_locked(self.path / LOCK)

    def hold(self, locks: ExitStack, asked: Sequence[int]) -> int | None:
        """Wait until no other process trains this run (one may outlive its driver), and hold it.

        The open file's number, held until `locks` closes; None once `asked` to stop.
        """
        import fcntl  # POSIX: asked for only where trainings run

        stream = locks.enter_context((self.path / LOCK).open("w"))
        while not asked:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return stream.fileno()
            except BlockingIOError:
                time.sleep(_LOCK_POLL_S)
        return None

    def _metrics(self) -> bytes:
        path = self.path / "metrics.jsonl"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise RunError(f"{path}: cannot be read ({error.strerror}). Restore it.") from error

    def _read_points(self) -> Iterator[Point]:
        lines = self._metrics().split(b"\n")
        for number, line in enumerate(lines, start=1):
            torn = number == len(lines) and not _is_json(line)  # the writer was cut off
            if not line.strip() or torn:
                continue
            try:
                yield Point.from_json(json.loads(line))
            except ValueError as error:
                raise RunError(
                    f"{self.path / 'metrics.jsonl'}, line {number}: not a point: {error}. "
                    "Restore the file, or delete the run folder to train it again."
                ) from error

    def beat(self, **changes: Any) -> None:
        """Update the status with a fresh heartbeat."""
        data = {**asdict(self.status()), **changes, "heartbeat": time.time()}
        self.set_status(Status(**data))


def _config_hash(data: Mapping[str, Any]) -> str:
    """`RunConfig.run_id` of the JSON data of a config.json."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _is_json(line: bytes) -> bool:
    """Whether a line is JSON from end to end: the first part of an object never is."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
