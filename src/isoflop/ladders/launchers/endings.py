"""How attempts ended, read from what they left in the run folder."""

import json
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from isoflop.ladders.launchers.attempt import ATTEMPTS, INTERRUPTED, LOG
from isoflop.ladders.launchers.protocol import Poll

Ending = Literal[
    "done", "bad_input", "preempted", "lost", "out_of_memory", "crashed", "cancelled", "stopped"
]
"""`stopped`: by the driver itself, when it was asked to stop; `cancelled`: by somebody else."""

# The last is the trainer's own (training/memory.py).
_DONE, _BAD_INPUT, _OUT_OF_MEMORY = 0, 2, 71
_MEMORY = re.compile(
    r"\b(MemoryError|OutOfMemoryError|std::bad_alloc)\b|CUDA out of memory"
    r"|can't allocate memory|Cannot allocate memory"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One record of `attempts/`: when and where an attempt ran, and how it ended."""

    number: int
    restart: int
    pid: int = 0
    start: str = ""
    host: str = ""
    began: float = 0.0
    command_pid: int | None = None
    log_offset: int = 0
    code: int | None = None
    out_of_memory: bool = False
    ended: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Why an attempt ended, in a word that decides what follows, and in words for people."""

    ending: Ending
    reason: str


def attempts_of(folder: Path) -> list[Attempt]:
    """The attempts recorded in a run folder, oldest first; a record cut short is an empty one."""
    found = []
    for path in sorted((folder / ATTEMPTS).glob("*.json"), key=_place):
        number, restart = _place(path)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            data = {}
        known = Attempt.__dataclass_fields__
        kept = {k: v for k, v in data.items() if k in known and k not in ("number", "restart")}
        found.append(Attempt(number=number, restart=restart, **kept))
    return found


def last_lines(folder: Path, count: int = 20, *, offset: int = 0) -> str:
    """The last lines of a run's log, from `offset` bytes on."""
    try:
        data = (folder / LOG).read_bytes()[offset:]
    except FileNotFoundError:
        return ""
    return "\n".join(data.decode("utf-8", errors="replace").splitlines()[-count:])


def verdict_of(folder: Path, attempt: int, poll: Poll, reasons: Mapping[str, Any]) -> Verdict:
    """Why an attempt ended: its own record first, then what its engine says.

    `reasons`: of the runs that say themselves that they failed, why.
    """
    records = [record for record in attempts_of(folder) if record.number == attempt]
    record = records[-1] if records else None
    code = record.code if record else None
    said = last_lines(folder, offset=record.log_offset) if record else ""
    told = next((str(reason) for reason in reasons.values() if reason), "")
    text = told or said.split("\n")[-1] or poll.note or "it said nothing"
    if code == _DONE:
        return Verdict(ending="done", reason="")
    if code == _BAD_INPUT:
        return Verdict(ending="bad_input", reason=text)
    memory = bool(record and record.out_of_memory) or poll.cause == "out_of_memory"
    memory = memory or code == _OUT_OF_MEMORY
    if memory or (code is not None and _MEMORY.search(f"{told}\n{said}")):
        return Verdict(ending="out_of_memory", reason=f"out of memory: {text}")
    if poll.cause == "cancelled":
        return Verdict(ending="cancelled", reason=poll.note)
    if code in (INTERRUPTED, -signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGTERM):
        return Verdict(ending="preempted", reason=poll.note or "was asked to stop")
    if poll.cause == "preempted":
        return Verdict(ending="preempted", reason=poll.note)
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return Verdict(ending="lost", reason="the process was killed (signal 9)")
    if code is None:
        return Verdict(ending="lost", reason=poll.note or "it vanished without a word")
    return Verdict(ending="crashed", reason=text)


def _place(path: Path) -> tuple[int, int]:
    """Attempt and restart in the name of a record."""
    number, restart = path.name.split(".")[:2]
    return int(number), int(restart)
