"""Weights & Biases on disk: `run-ID.wandb` files, of finished and of living runs, on line or off.

A LevelDB log of protobuf `Record`s; numbers are JSON texts, so that float64 come back exactly.
Source: wandb/proto/wandb_internal.proto of wandb 0.31.
"""

import struct
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from isoflop._errors import RunError
from isoflop.runs.foreign import ForeignRun
from isoflop.runs.readers.frames import FrameError, TornError, log_records
from isoflop.runs.readers.gathering import (
    Gatherer,
    as_number,
    cannot_read,
    files_below,
    flat,
    numbers,
    printable,
    read_each,
    shown,
)
from isoflop.runs.readers.protobuf import BYTES, VARINT, WireError, fields, signed, text
from isoflop.runs.readers.wandb_items import (
    Items,
    Key,
    json_value,
    number_or_json,
    put,
    remove,
)

TOOL = "wandb"
_MAGIC = b":W&B" + struct.pack("<H", 0xBEE1)
_HEADER_BYTES = 7
ALIVE_S = 300.0
"""A living run writes the machine's load every 15 s: one silent for longer has died, or sleeps."""
_OWN = "_"
"""Keys of W&B itself begin so: `_step`, `_runtime`, `_wandb`."""

# Numbers of fields.
_HISTORY, _SUMMARY, _CONFIG, _RUN, _EXIT = 2, 3, 5, 17, 18


def sniff(path: Path) -> bool:
    """Whether this is such a file, or a folder with some."""
    return any(_is_wandb(file) for file in files_below(path, _wanted))


def read(path: Path) -> Iterator[ForeignRun]:
    """One attempt a file: attempts of a resumed run share the group, which is W&B's run id.

    Raises:
        RunError: a file that is none of W&B's, or a folder without any.
    """
    files = files_below(path, _wanted)
    yield from read_each(TOOL, path, files, lambda file: [_read_file(file)])


def _wanted(name: str) -> bool:
    return name.endswith(".wandb")


def _is_wandb(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return stream.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def _read_file(path: Path) -> ForeignRun:
    """The attempt that one file records, up to its last whole record.

    Raises:
        RunError: unreadable, or without the mark of W&B.
    """
    run = _Attempt()
    try:
        with path.open("rb") as stream:
            _check_header(path, stream.read(_HEADER_BYTES))
            silent_s = time.time() - path.stat().st_mtime
            try:
                for record in log_records(stream, _HEADER_BYTES):
                    run.take(record)
            except TornError as error:
                if silent_s > ALIVE_S:
                    run.gathered.problem(f"{error}: its last rows are lost")
            except FrameError as error:
                run.gathered.problem(f"{error}: what follows was left out")
    except OSError as error:
        raise cannot_read(path, error) from error
    return run.finish(path, living=silent_s <= ALIVE_S)


def _check_header(path: Path, header: bytes) -> None:
    if not header.startswith(_MAGIC):
        raise RunError(
            f"{printable(path)}: "
            "does not begin as a file of W&B. Name a run-*.wandb file or its folder."
        )


class _Attempt:
    """What the records so far have said."""

    def __init__(self) -> None:
        self.gathered = Gatherer()
        self.run: dict[str, str] = {}
        self.begin = ""
        self.exit_code: int | None = None
        self.config: dict[str, Any] = {}
        self.summary: dict[Key, bytes] = {}
        self._items = Items()
        self._names: dict[Key, str] = {}

    def take(self, record: bytes | None) -> None:
        """One record; one that is no protobuf is a problem."""
        if record is None:
            self.gathered.problem("a record of more than 16 MiB was left out")
            return
        try:
            for number, kind, _, data in fields(record):
                if kind != BYTES:
                    continue
                if number == _HISTORY:
                    self._take_row(data)
                elif number == _SUMMARY:
                    self._take_summary(data)
                elif number == _CONFIG:
                    self._take_config(data)
                elif number == _RUN:
                    self._take_run(data)
                elif number == _EXIT:
                    self._take_exit(data)
        except WireError as error:
            self.gathered.problem(f"a record cannot be read ({error}): left out")

    def _take_row(self, row: bytes) -> None:
        items: list[tuple[Key, bytes]] = []
        step: int | None = None
        wall_s = float("nan")
        for number, kind, _, data in fields(row):
            if number == 2 and kind == BYTES:
                step = 0
                for inner, inner_kind, value, _ in fields(data):
                    if inner == 1 and inner_kind == VARINT:
                        step = signed(value)
            elif number == 1 and kind == BYTES:
                key, raw = self._items.split(data)
                if key == (b"_timestamp",):
                    wall_s = as_number(number_or_json(raw)) or wall_s
                elif key == (b"_step",) and step is None:
                    found = as_number(number_or_json(raw))
                    step = int(found) if found is not None and abs(found) < 1 << 53 else None
                else:
                    items.append((key, raw))
        if step is None:
            self.gathered.problem("a row has no step: left out")
            return
        for key, raw in items:
            self._add(key, step, raw, wall_s)

    def _add(self, key: Key, step: int, raw: bytes, wall_s: float) -> None:
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = ".".join(text(part) for part in key)
        if name.startswith(_OWN):
            return
        value = number_or_json(raw)
        if isinstance(value, float):
            self.gathered.add(name, step, value, wall_s)
        elif isinstance(value, dict) and "_type" not in value:  # of releases before 0.12
            for inner, number in flat({name: value}).items():
                self.gathered.add_any(inner, step, number, wall_s)
        else:
            self.gathered.add_any(name, step, value, wall_s)

    def _take_summary(self, summary: bytes) -> None:
        for number, kind, _, data in fields(summary):
            if kind != BYTES:
                continue
            key, raw = self._items.split(data)
            if number == 1:
                self.summary[key] = raw
            elif number == 2:
                self.summary.pop(key, None)

    def _take_config(self, config: bytes) -> None:
        for number, kind, _, data in fields(config):
            if kind != BYTES:
                continue
            key, raw = self._items.split(data)
            path = [text(part) for part in key]
            if number == 1:
                put(self.config, path, json_value(raw))
            elif number == 2:
                remove(self.config, path)

    def _take_run(self, run: bytes) -> None:
        for number, kind, _, data in fields(run):
            if kind != BYTES:
                continue
            if number == 4:
                self._take_config(data)
            elif number in _RUN_TEXTS:
                self.run[_RUN_TEXTS[number]] = text(data)
            elif number == 17:
                self.begin = _compact(data)

    def _take_exit(self, data: bytes) -> None:
        self.exit_code = 0
        for number, kind, value, _ in fields(data):
            if number == 1 and kind == VARINT:
                self.exit_code = signed(value)

    def finish(self, path: Path, *, living: bool) -> ForeignRun:
        """The run as it is known now."""
        run_id = self.run.get("id") or printable(path.stem.removeprefix("run-"))
        config = {key: value for key, value in flat(self.config).items() if key[:1] != _OWN}
        if group := self.run.get("group"):
            config["wandb.group"] = group
        series = self.gathered.series()
        summary = {key: value for key, value in self._numbers().items() if key not in series}
        return ForeignRun(
            tool=TOOL,
            place=printable(path),
            run_id=f"{run_id}@{self.begin}" if self.begin else run_id,
            name=self.run.get("name", ""),
            group=run_id,
            state=self._state(living),
            config=config,
            series=series,
            summary=summary,
            problems=self.gathered.problems(),
        )

    def _state(self, living: bool) -> str:
        if self.exit_code is not None:
            return "failed" if self.exit_code else "done"
        return "running" if living else "unknown"

    def _numbers(self) -> dict[str, float]:
        """Numbers of the summary, flat, without W&B's own."""
        values: dict[str, Any] = {}
        for key, raw in self.summary.items():
            try:
                put(values, [text(part) for part in key], json_value(raw))
            except WireError:
                name = shown(".".join(text(part) for part in key))
                self.gathered.problem(f"the summary {name} is no JSON")
        return {key: value for key, value in numbers(flat(values)).items() if key[:1] != _OWN}


_RUN_TEXTS = {1: "id", 3: "project", 6: "group", 8: "name"}


def _compact(timestamp: bytes) -> str:
    """A time in UTC to the millisecond, without the marks that a file name cannot have."""
    parts = {number: signed(value) for number, kind, value, _ in fields(timestamp) if not kind}
    seconds, nanos = parts.get(1, 0), parts.get(2, 0)
    try:
        day = datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%S")
    except (OverflowError, ValueError, OSError):
        day = str(seconds)
    return f"{day}{nanos // 1_000_000:03d}Z"
