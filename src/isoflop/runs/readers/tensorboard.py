"""TensorBoard's event files: a folder is a run, the files in it are its attempts.

TFRecords of protobuf `Event`s. Values are the float32 that the tool keeps, or float64 where the
writer logged tensors. Source: tensorboard/compat/proto/{event,summary}.proto.
"""

import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from isoflop._errors import RunError
from isoflop.runs.foreign import ForeignRun
from isoflop.runs.readers.frames import FrameError, TornError, masked_crc32c, tf_records
from isoflop.runs.readers.gathering import (
    MAX_METRICS,
    MAX_TEXT,
    Gatherer,
    cannot_read,
    files_below,
    flat,
    parse_json,
    printable,
    read_each,
)
from isoflop.runs.readers.protobuf import (
    BYTES,
    VARINT,
    WireError,
    double,
    fields,
    signed,
    single,
    text,
    varint,
)
from isoflop.runs.readers.tensors import hparams, status, tensor_value

TOOL = "tensorboard"
ALIVE_S = 300.0
"""Writers flush every two minutes: a file left alone for longer is finished, or its writer died."""

# Numbers of fields.
_WALL_TIME, _STEP, _SUMMARY, _SESSION_LOG = 1, 2, 5, 7
_TAG, _SIMPLE_VALUE, _TENSOR, _METADATA = 1, 2, 8, 9
_TIME_FIELD, _STEP_FIELD = b"\x09", b"\x10"
_START = 1
_MAX_RESTARTS = 1000
_TEXT_SUFFIX = "/text_summary"


def sniff(path: Path) -> bool:
    """Whether this is such a file, or a folder with some."""
    return any(_is_events(file) for file in files_below(path, _wanted))


def read(path: Path) -> Iterator[ForeignRun]:
    """One run a folder: of attempts that overlap, the later wins from its first step on.

    Raises:
        RunError: a file that is none of TensorBoard's, or a folder without any.
    """
    attempts = {
        path if path.is_file() else folder: list(files)
        for folder, files in groupby(files_below(path, _wanted), lambda file: file.parent)
    }
    yield from read_each(TOOL, path, attempts, lambda place: [_read(place, attempts[place], path)])


def _wanted(name: str) -> bool:
    return "tfevents" in name


def _is_events(file: Path) -> bool:
    """Whether a file is empty yet, or begins with a length and the checksum of that length."""
    try:
        with file.open("rb") as stream:
            head = stream.read(12)
    except OSError:
        return False
    if len(head) < 12:
        return not head and _wanted(file.name)
    crc = int(masked_crc32c(head, np.array([0]), np.array([8]))[0])
    return int.from_bytes(head[8:], "little") == crc


def _read(place: Path, files: list[Path], root: Path) -> ForeignRun:
    run = _Run()
    silent_s = float("inf")
    for file in files:
        try:
            silent_s = min(silent_s, time.time() - file.stat().st_mtime)
            run.read_file(file)
        except OSError as error:
            raise cannot_read(file, error) from error
    problems = run.gathered.problems()
    if problems and not run.n_records:
        raise RunError(f"{problems[0]}. Name an event file of TensorBoard or its folder.")
    return ForeignRun(
        tool=TOOL,
        place=printable(place),
        run_id=printable(place),
        name=printable(place.name if place == root else place.relative_to(root).as_posix()),
        state=run.state or ("running" if silent_s <= ALIVE_S else "unknown"),
        config=run.config,
        series=run.gathered.series(),
        problems=problems,
    )


class _Run:
    """What the event files of a folder have said so far."""

    def __init__(self) -> None:
        self.gathered = Gatherer()
        self.config: dict[str, Any] = {}
        self.state = ""
        self.n_records = 0
        self._seen: set[bytes] = set()
        self._names: dict[bytes, str] = {}
        self._tags: dict[bytes, bytes] = {}
        self._n_restarts = 0

    def read_file(self, file: Path) -> None:
        """One attempt, in the order written."""
        self._seen = set()
        with file.open("rb") as stream:
            try:
                for record in tf_records(stream):
                    self.n_records += 1
                    self._take(record, file)
            except TornError as error:
                if time.time() - file.stat().st_mtime > ALIVE_S:
                    self.gathered.problem(f"{printable(file)}: {error}: its last rows are lost")
            except FrameError as error:
                self.gathered.problem(f"{printable(file)}: {error}: what follows was left out")

    def _take(self, record: bytes | None, file: Path) -> None:
        if record is None:
            self.gathered.problem(f"{printable(file)}: a record of more than 16 MiB was left out")
            return
        try:
            if not self._take_scalar(record):
                self._take_event(record)
        except WireError as error:
            self.gathered.problem(f"{printable(file)}: a record cannot be read ({error}): left out")

    def _take_scalar(self, record: bytes) -> bool:
        """Take an event of a time, a step and one scalar, as nearly all are; is it one?

        What lies between step and value is the same for all of a tag, and is looked up: field by
        field, events take three times as long.
        """
        if record[:1] != _TIME_FIELD or record[9:10] != _STEP_FIELD:
            return False
        step, at = varint(record, 10)
        head = record[at:-4]
        tag = self._tags.get(head)
        if tag is None:
            tag = _tag_alone(head)
            if tag is None:
                return False
            if len(self._tags) < MAX_METRICS:
                self._tags[head] = tag
        self._take_number(tag, signed(step), single(record[-4:]), double(record[1:9]))
        return True

    def _take_event(self, record: bytes) -> None:
        wall_s = float("nan")
        step = 0
        summaries: list[bytes] = []
        for number, kind, value, data in fields(record):
            if number == _STEP and kind == VARINT:
                step = signed(value)
            elif number == _WALL_TIME:
                wall_s = double(data)
            elif number == _SUMMARY and kind == BYTES:
                summaries.append(data)
            elif number == _SESSION_LOG and kind == BYTES and status(data) == _START:
                self._restart(step)
        for summary in summaries:
            for number, kind, _, data in fields(summary):
                if number == 1 and kind == BYTES:
                    self._take_value(data, step, wall_s)

    def _restart(self, step: int) -> None:
        """The writer was told where it takes up: what was logged from there on is void."""
        self._n_restarts += 1
        if self._n_restarts <= _MAX_RESTARTS:
            self.gathered.cut_from(step)
        else:
            self.gathered.problem(f"more than {_MAX_RESTARTS} restarts: the others void nothing")

    def _take_value(self, data: bytes, step: int, wall_s: float) -> None:
        tag = b""
        value: float | bytes | None = None
        for number, kind, _, below in fields(data):
            if number == _TAG and kind == BYTES:
                tag = below
            elif number == _SIMPLE_VALUE:
                value = single(below)
            elif number == _TENSOR and kind == BYTES:
                value = tensor_value(below)
            elif number == _METADATA and kind == BYTES:
                self._take_metadata(below)
        if isinstance(value, bytes):
            self._take_text(text(tag), value)
        elif value is not None:
            self._take_number(tag, step, value, wall_s)

    def _take_number(self, tag: bytes, step: int, value: float, wall_s: float) -> None:
        name = self._names.get(tag)
        if name is None:
            name = self._names[tag] = text(tag)
        if tag not in self._seen:
            self._seen.add(tag)
            self.gathered.cut_from(step, [name])
        self.gathered.add(name, step, value, wall_s)

    def _take_text(self, name: str, value: bytes) -> None:
        """A text that is a JSON object is settings, as transformers writes them."""
        if value[:1] != b"{" or len(value) > MAX_TEXT:
            return
        try:
            data = parse_json(value)
        except ValueError:
            return
        self.config |= flat({name.removesuffix(_TEXT_SUFFIX): data})

    def _take_metadata(self, metadata: bytes) -> None:
        for number, kind, _, plugin in fields(metadata):
            if number == 1 and kind == BYTES:
                parts = {inner: data for inner, _, _, data in fields(plugin)}
                if parts.get(1) == b"hparams":
                    settings, state = hparams(parts.get(2, b""))
                    self.config |= settings
                    self.state = state or self.state


def _tag_alone(head: bytes) -> bytes | None:
    """The tag in what comes before the value of an event whose summary is one tag and one float."""
    size = len(head) - 7
    if not 0 <= size < 119:  # a longer one makes lengths of two bytes
        return None
    lengths = bytes((0x2A, size + 9, 0x0A, size + 7, 0x0A, size))
    return head[6:-1] if head[:6] == lengths and head[-1] == 0x15 else None
