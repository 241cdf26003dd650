"""Stages of a preparation: what each has made lies in a folder and is used again after a kill.

A stage counts as finished once its folder has its name; what its header does not vouch for
(another recipe or version, a file cut or changed) is made again, never trusted.
"""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from isoflop import __version__
from isoflop.data.shards import hash_file, write_text

STAGES_VERSION = 1
"""Raised when a stage makes other files of the same recipe."""
HEADER = "stage.json"
TIMES = "preparation.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTime:
    """What one stage of a preparation took."""

    name: str
    seconds: float
    bytes: int
    """Text that it went through, in UTF-8."""
    found: bool
    """Whether an earlier preparation, which was cut off, had made all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What the last preparation of a corpus took."""

    stages: tuple[StageTime, ...]
    peak_memory_mb: float
    """Of the process itself; 0 where the system does not tell."""


def read_preparation(folder: str | Path) -> Preparation | None:
    """How long the stages of a corpus took; None where no file tells."""
    try:
        data = json.loads((Path(folder) / TIMES).read_text(encoding="utf-8"))
        stages = tuple(StageTime(**one) for one in data["stages"])
        return Preparation(stages=stages, peak_memory_mb=float(data["peak_memory_mb"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Workshop:
    """The folder `work/stages` of a corpus while it is prepared, and the time of each stage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work" / "stages"
        self.times: list[StageTime] = []
        self._began = time.perf_counter()
        self._found, self._made = False, False

    def stage(self, name: str, asked: Any, make: Callable[[Path], None]) -> Path:
        """The folder with the files of a stage: of an earlier preparation, or made now.

        Args:
            name: of the stage, and of its folder.
            asked: all that decides the files, as JSON data.
            make: writes the files into the folder that it is given.
        """
        place, key = self.folder / name, hash_asked(name, asked)
        if _is_whole(place, key):
            self.note(found=True)
            return place
        self.note(found=False)
        fresh = self.folder / f".{name}"
        for folder in (fresh, place):
            shutil.rmtree(folder, ignore_errors=True)
        fresh.mkdir(parents=True)
        try:
            make(fresh)
            _write_header(fresh, key)
            os.replace(fresh, place)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)  # of a stage that failed: it is not there else
        return place

    def note(self, *, found: bool) -> None:
        """Note that a part of the stage was there, or has to be made."""
        self._found, self._made = self._found or found, self._made or not found

    def lap(self, name: str, n_bytes: int) -> None:
        """The stage is over: its time is that since the one before it."""
        now = time.perf_counter()
        found = self._found and not self._made
        seconds = round(now - self._began, 3)
        self.times.append(StageTime(name=name, seconds=seconds, bytes=n_bytes, found=found))
        self._began, self._found, self._made = now, False, False

    def clear(self) -> None:
        """Remove what the stages have made."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Remove what the stages have made, and keep their times beside the corpus."""
        self.clear()
        peak = round(peak_megabytes(), 1)
        times = asdict(Preparation(stages=tuple(self.times), peak_memory_mb=peak))
        write_text(self.folder.parents[1] / TIMES, json.dumps(times, indent=2) + "\n")


def hash_asked(name: str, asked: Any) -> str:
    """The key of a stage: hash of what decides its files, and of the code's version."""
    text = json.dumps([__version__, STAGES_VERSION, name, asked], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def peak_megabytes() -> float:
    """Largest resident memory of this process so far; 0 where the system does not tell."""
    if os.name != "posix":
        return 0.0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _write_header(folder: Path, key: str) -> None:
    files = {path.name: hash_file(path) for path in sorted(folder.iterdir())}
    write_text(folder / HEADER, json.dumps({"key": key, "files": files}))


def _is_whole(folder: Path, key: str) -> bool:
    """Whether the folder holds just what was asked for, every file as it was written."""
    try:
        header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        files = dict(header["files"])
        return bool(
            header["key"] == key
            and all(hash_file(folder / name) == sha256 for name, sha256 in files.items())
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False
