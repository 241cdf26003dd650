"""What readers share: files under a folder, numbers as they were logged, series as they grow.

Everything is bounded: a hostile file may claim any length, depth, key or name.
"""

import json
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from isoflop._errors import RunError
from isoflop.runs.foreign import ForeignRun, Series

MAX_METRICS = 10_000
"""Series of one run; a run with more logs a name that counts."""
MAX_JSON = 1 << 27
"""Bytes of a file that is read whole."""
MAX_TEXT = 1 << 22
"""Bytes of a JSON text within a file: as Python values it takes up to twenty times as many."""
_MAX_PROBLEMS = 20
_MAX_DEPTH = 6
_MAX_SETTINGS = 20_000
_MAX_NAME = 1000
_MAX_NESTED = 16
_INT64 = 1 << 63


class Gatherer:
    """Series of one run while it is read, and what could not be read."""

    def __init__(self) -> None:
        self._points: dict[str, tuple[array[int], array[float], array[float]]] = {}
        self._no_numbers: dict[str, None] = {}
        self._problems: dict[str, None] = {}
        self._left_out = 0

    def add(self, key: str, step: int, value: float, wall_s: float) -> None:
        """One point, in the order written."""
        points = self._points.get(key)
        if points is None:
            if len(self._points) >= MAX_METRICS:
                self.problem(f"more than {MAX_METRICS} metrics: the others were left out")
                return
            points = self._points[key] = (array("q"), array("d"), array("d"))
        if not -_INT64 <= step < _INT64:
            self.problem(f"the metric {shown(key)} has a step that no int64 holds")
            return
        points[0].append(step)
        points[1].append(value)
        points[2].append(wall_s)

    def add_any(self, key: str, step: int, value: object, wall_s: float) -> None:
        """One point if the value is a number; null is none, others are a problem."""
        number = as_number(value)
        if number is not None:
            self.add(key, step, number, wall_s)
        elif value is not None:
            self.no_number(key)

    def no_number(self, key: str) -> None:
        """Note that a metric held text, a picture, a list."""
        if len(self._no_numbers) < MAX_METRICS:
            self._no_numbers[key] = None

    def cut_from(self, step: int, keys: Iterable[str] | None = None) -> None:
        """Drop the points at `step` and later, of all series or of those named."""
        for key in list(self._points if keys is None else keys):
            steps, values, walls = self._points.get(key, ((), (), ()))
            keep = np.array(steps, np.int64) < step
            if not keep.all():
                self._points[key] = (
                    array("q", np.array(steps, np.int64)[keep].tobytes()),
                    array("d", np.array(values)[keep].tobytes()),
                    array("d", np.array(walls)[keep].tobytes()),
                )

    def problem(self, sentence: str) -> None:
        """Note what could not be read: a sentence once, and no more than a screen of them."""
        if len(self._problems) < _MAX_PROBLEMS:
            self._problems[sentence] = None
        elif sentence not in self._problems:
            self._left_out += 1

    def series(self) -> dict[str, Series]:
        """Each metric that has points."""
        return {
            key: Series(step=np.array(steps), value=np.array(values), wall_s=np.array(walls))
            for key, (steps, values, walls) in self._points.items()
            if steps
        }

    def problems(self) -> tuple[str, ...]:
        """All sentences, last the one of metrics that held no numbers."""
        found = list(self._problems)
        if self._left_out:
            found.append(f"and {self._left_out} more")
        if self._no_numbers:
            first = ", ".join(shown(key) for key in list(self._no_numbers)[:5])
            more = f" and {len(self._no_numbers) - 5} more" if len(self._no_numbers) > 5 else ""
            found.append(f"no numbers in some rows of {first}{more}: left out there")
        return tuple(found)


def as_number(value: object) -> float | None:
    """A JSON value as float64; texts of NaN and infinities are numbers, other texts are not."""
    if isinstance(value, float):
        return value
    if isinstance(value, int):
        try:
            return float(value)
        except OverflowError:
            return None
    if isinstance(value, str):
        return _SPELLED.get(value)
    return None


_SPELLED = {
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "-Infinity": float("-inf"),
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": float("-inf"),
}


def numbers(data: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a flat mapping."""
    found = {key: as_number(value) for key, value in data.items()}
    return {key: number for key, number in found.items() if number is not None}


def flat(data: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots; deep and wide ones end at a bound."""
    result: dict[str, Any] = {}
    stack: list[tuple[str, Any]] = list(data.items())[::-1]
    while stack and len(result) < _MAX_SETTINGS:
        key, value = stack.pop()
        if isinstance(value, Mapping) and value:
            if len(key) < _MAX_NAME:
                inner = list(value.items())[::-1]
                stack += [(f"{key}.{name}", below) for name, below in inner]
        elif _is_shallow(value):
            result[key] = value
    return result


def _is_shallow(value: Any) -> bool:
    """Whether nothing in it lies so deep that whoever walks through it runs out of stack."""
    level = [value]
    for _ in range(_MAX_NESTED):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return True
    return False


def shown(name: str) -> str:
    """A name from a file for a sentence: quoted, control characters escaped, cut where long."""
    return repr(name if len(name) <= 80 else f"{name[:77]}...")


def parse_json(text: str | bytes) -> Any:
    """JSON as Python values; raises ValueError, never another error, on what is none.

    Half a surrogate pair, which JSON can spell but no file can hold, becomes a question mark.
    """
    try:
        data = json.loads(text)
        halves = ("\\ud" in text.lower()) if isinstance(text, str) else (b"\\ud" in text.lower())
        if halves:
            data = json.loads(json.dumps(data, ensure_ascii=False).encode("utf-8", "replace"))
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    return data


def printable(path: Path | str) -> str:
    """A path as text that every terminal and file can hold: names on disk need be no UTF-8."""
    return str(path).encode("utf-8", "replace").decode()


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        RunError: unreadable, too large, or no object.
    """
    try:
        if (size := path.stat().st_size) > MAX_JSON:
            raise RunError(
                f"{printable(path)}: "
                f"{size / 1e6:.0f} MB, but at most {MAX_JSON / 1e6:.0f} MB are read. "
                "Thin it out first."
            )
        data = parse_json(path.read_bytes())
    except OSError as error:
        raise cannot_read(path, error) from error
    except RunError:
        raise
    except ValueError as error:
        raise RunError(
            f"{printable(path)}: no JSON ({error}). Copy the file again, or leave it out."
        ) from error
    if not isinstance(data, dict):
        raise RunError(
            f"{printable(path)}: "
            f"a JSON object was expected, but got {type(data).__name__}. Leave it out."
        )
    return data


def cannot_read(path: Path, error: OSError) -> RunError:
    """The error of a file that the system does not open."""
    return RunError(
        f"{printable(path)}: cannot be read ({error.strerror}). Check the path and its rights."
    )


def files_below(path: Path, wanted: Callable[[str], bool]) -> Iterator[Path]:
    """`path` itself if it is a file, else the files of wanted names under it, sorted.

    Links to folders are not followed (they may go in a circle), nothing but plain files is opened
    (a pipe would never end), and six levels are enough for the layouts of all trackers.
    """
    if not path.is_dir():
        if path.is_file():
            yield path
        return
    base = len(path.parts)
    for folder, inner, names in os.walk(path):
        inner.sort()
        if len(Path(folder).parts) - base >= _MAX_DEPTH:
            inner.clear()
        for name in sorted(names):
            if wanted(name) and (file := Path(folder) / name).is_file():
                yield file


def read_each(
    tool: str, path: Path, places: Iterable[Path], read: Callable[[Path], Iterable[ForeignRun]]
) -> Iterator[ForeignRun]:
    """The runs of every place; in a folder a place that cannot be read is a run of problems only.

    Raises:
        RunError: `path` itself cannot be read, or there is nothing under it.
    """
    found = False
    for place in places:
        found = True
        try:
            yield from read(place)
        except RunError as error:
            if place == path:
                raise
            name = printable(place)
            yield ForeignRun(tool=tool, place=name, run_id=name, problems=(str(error),))
    if not found:
        what = "holds no runs" if path.exists() else "does not exist"
        raise RunError(
            f"{printable(path)}: {what} of {tool}. Name the file or the folder that the tool wrote."
        )
