"""`ImportedRun`: a training of another tool in our words, and its folder in the store.

`source.json` what it is and where every value is from, replaced atomically · `metrics.jsonl` one
JSON object a point, appended. A point whose step is not above the last one takes back all points
from its step on: a training that was restarted is continued by appending.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from isoflop import _lock
from isoflop._errors import RunError
from isoflop._types import Array
from isoflop.runs.folder import LOCK, read_json, write_json_atomically
from isoflop.runs.segment import training_id

SOURCE = "source.json"
METRICS = "metrics.jsonl"
VERSION = 1
STATES = ("running", "done", "failed", "diverged", "unknown")
_NUMBERS = (float, int, type(None))
_TEXTS = ("tool", "id", "name", "state")
_TABLES = ("n_params", "facts", "finals", "provenance")
_LISTS = ("segments", "problems")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedRun:
    """One training; `points` are columns (P,) in our words and units, NaN where not measured."""

    id: str
    """Of its first attempt, in the tool's words."""
    tool: str
    name: str
    state: str
    """running, done, failed, diverged or unknown."""
    n_params: Mapping[str, float]
    """By convention; `unknown` where nobody says what was counted."""
    facts: Mapping[str, Any]
    """Width, depth, rate, batch and so on, as far as known."""
    points: Mapping[str, Array]
    finals: Mapping[str, float] = field(default_factory=dict)
    """Measured once, at the end."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Word -> file, key and rule that its values are from."""
    segments: tuple[str, ...] = ()
    """Ids of its attempts, in order."""
    problems: tuple[str, ...] = ()

    @property
    def run_id(self) -> str:
        """The name of its folder."""
        return training_id(self.tool, self.id)

    @property
    def is_complete(self) -> bool:
        """Whether its schedule has ended: by its number of steps where known, else by its state."""
        total = self.facts.get("n_steps")
        if self.state == "diverged":
            return False
        if isinstance(total, int | float) and total > 0 and self.points["step"].size:
            return bool(self.points["step"][-1] >= 0.99 * total)
        return self.state in ("done", "unknown")

    def source_json(self) -> dict[str, Any]:
        """The data of source.json."""
        return {
            "version": VERSION, "tool": self.tool, "id": self.id, "name": self.name,
            "state": self.state, "n_params": dict(self.n_params), "facts": dict(self.facts),
            "finals": dict(self.finals), "provenance": dict(self.provenance),
            "segments": list(self.segments), "problems": list(self.problems),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class ImportedFolder:
    """The folder of one imported run; written under its lock, readable at any moment."""

    path: Path

    def read(self) -> ImportedRun:
        """The run.

        Raises:
            RunError: a file is corrupt; named with its line.
        """
        remedy = "Import the source again, or delete the folder."
        place = self.path / SOURCE
        data = read_json(place, remedy=remedy)
        try:
            if not isinstance(data, dict) or data.get("version") != VERSION:
                raise ValueError("version unknown")
            for key in _TEXTS:
                _require(isinstance(data[key], str), key)
            for key in _TABLES:
                _require(isinstance(data[key], dict), key)
            for key in _LISTS:
                _require(isinstance(data[key], list), key)
            _require(data["state"] in STATES, "state")
            sizes = {name: float(value) for name, value in data["n_params"].items()}
            _require(all(1 <= value < math.inf for value in sizes.values()), "n_params")
        except (KeyError, ValueError, TypeError) as error:
            raise RunError(f"{place}: not an imported run ({error}). {remedy}") from error
        return ImportedRun(
            id=data["id"], tool=data["tool"], name=data["name"], state=data["state"],
            n_params=sizes, facts=data["facts"], points=_columns(self.points()),
            finals=data["finals"], provenance=data["provenance"],
            segments=tuple(map(str, data["segments"])), problems=tuple(map(str, data["problems"])),
        )  # fmt: skip

    def points(self) -> list[dict[str, float]]:
        """The points that hold, steps rising; a torn last line is read past.

        Raises:
            RunError: a line is no point.
        """
        held: list[dict[str, float]] = []
        for point in self._lines():
            while held and held[-1]["step"] >= point["step"]:
                held.pop()
            held.append(point)
        return held

    def write(self, run: ImportedRun) -> int:
        """Append what is new of `run` and replace its source.json; how many points were new.

        Points come first: whoever is killed in between has more points than before, and the next
        import finds nothing to add.

        Raises:
            RunError: another process is importing the run, or the folder cannot be written.
        """
        held = _lock.hold(
            self.path / LOCK,
            error=RunError,
            busy=f"{self.path}: process {{holder}} is importing this run. Wait for it.",
            denied=f"{self.path}: cannot be written ({{reason}}). Name another folder with --into.",
        )
        with held:
            try:
                self._mend()
                new = _news(self.points(), list(_rows(run.points)))
                self._append(new)
                self._describe(run)
            except OSError as error:
                raise RunError(
                    f"{self.path}: cannot be written ({error.strerror}). "
                    "Make room, and import again."
                ) from error
        return len(new)

    def _describe(self, run: ImportedRun) -> None:
        place, data = self.path / SOURCE, run.source_json()
        if not place.exists() or read_json(place, remedy="Delete it.") != data:
            write_json_atomically(place, data)

    def _append(self, points: list[dict[str, float]]) -> None:
        if points:
            text = "".join(json.dumps(point) + "\n" for point in points)
            with (self.path / METRICS).open("a", encoding="utf-8") as stream:
                stream.write(text)

    def _mend(self) -> None:
        """Cut a torn last line: the source still has it."""
        place = self.path / METRICS
        data = place.read_bytes() if place.exists() else b""
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with place.open("r+b") as stream:
                stream.truncate(whole)

    def _lines(self) -> Iterator[dict[str, float]]:
        place = self.path / METRICS
        try:
            lines = place.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        except OSError as error:
            raise RunError(f"{place}: cannot be read ({error.strerror}). Restore it.") from error
        del lines[-1]  # it has no newline: torn, or nothing
        yield from _quickly(lines) or _one_by_one(place, lines)


def _quickly(lines: list[bytes]) -> list[dict[str, float]]:
    """All points by one call of the parser; none where some line is not one."""
    try:
        found = json.loads(b"[" + b",".join(lines) + b"]")
        # A line that holds two, and one that holds none, would pass as a list.
        return [_point(one) for one in found] if len(found) == len(lines) else []
    except (ValueError, RecursionError):
        return []


def _one_by_one(place: Path, lines: list[bytes]) -> Iterator[dict[str, float]]:
    for number, line in enumerate(lines, start=1):
        try:
            yield _point(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise RunError(
                f"{place}, line {number}: not a point: {error}. "
                "Delete the run folder and import the source again."
            ) from error


def _point(data: Any) -> dict[str, float]:
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")
    for key, value in data.items():
        if type(value) not in _NUMBERS:
            raise ValueError(f"{key} = {value!r} is not a number")
        if value is None:
            data[key] = math.nan
    if type(data.get("step")) is not int:
        raise ValueError("the key 'step' is missing or no whole number")
    return data


def _columns(points: list[dict[str, float]]) -> dict[str, Array]:
    names = dict.fromkeys(name for point in points for name in point)
    return {
        name: np.array([point.get(name, math.nan) for point in points], dtype=np.float64)
        for name in names or ("step",)
    }


def _rows(points: Mapping[str, Array]) -> Iterator[dict[str, float]]:
    """Points as `metrics.jsonl` has them: what was not measured is absent, NaN and inf are null."""
    columns = {name: column.tolist() for name, column in points.items()}
    for index, step in enumerate(columns["step"]):
        row: dict[str, Any] = {"step": int(step)}
        for name, column in columns.items():
            value = column[index]
            if name != "step" and value == value:
                row[name] = value if math.isfinite(value) else None
        yield row


def _news(old: list[dict[str, float]], new: list[dict[str, float]]) -> list[dict[str, Any]]:
    """What to append so that `new` holds; nothing where `new` is the beginning of `old`."""
    same = 0
    for a, b in zip(old, new, strict=False):
        if not _equal(a, b):
            break
        same += 1
    if same == len(new):
        return []
    return new[same:]


def _equal(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    def plain(point: Mapping[str, Any]) -> dict[str, Any]:
        return {k: None if v is None or v != v else v for k, v in point.items()}

    return plain(a) == plain(b)


def _require(condition: bool, key: str) -> None:
    if not condition:
        raise ValueError(f"{key} is not what it must be")
