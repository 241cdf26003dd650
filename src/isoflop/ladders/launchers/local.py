"""`LocalLauncher`: processes of this machine, which outlive a driver that is killed."""

import contextlib
import os
import signal
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from isoflop.ladders.launchers.attempt import LOCK, start_of
from isoflop.ladders.launchers.endings import Attempt, attempts_of, last_lines
from isoflop.ladders.launchers.protocol import JobSpec, Poll, Ticket
from isoflop.runs.folder import is_locked


@dataclass(slots=True)
class LocalLauncher:
    """Processes in this process group: Ctrl-C reaches them, and they save.

    An id is `pid@start@host`. A driver that comes later knows an attempt by its record, by that
    id, and by the lock that its command holds.
    """

    poll_s: float = 0.25
    _children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def submit(self, spec: JobSpec) -> str:
        earlier = _record(spec.folder, spec.attempt)
        if earlier is not None:
            return f"{earlier.pid}@{earlier.start}@{earlier.host}"
        child = subprocess.Popen(
            spec.wrapped(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        job_id = f"{child.pid}@{start_of(child.pid)}@{socket.gethostname()}"
        self._children[job_id] = child
        return job_id

    def poll(self, ticket: Ticket) -> Poll:
        child = self._children.get(ticket.job_id)
        record = _record(ticket.folder, ticket.attempt)
        if record is not None and record.ended is not None:
            if child is not None and record.pid == child.pid:
                child.wait()  # its last act was that record
            return Poll(state="ended")
        if child is not None:
            child.poll()  # one that was killed is reaped
        pid, start, host = ticket.job_id.split("@")
        if host != socket.gethostname():
            return Poll(state="unknown", note=f"was started on {host}: only seen from there")
        if start_of(int(pid)) == start or is_locked(ticket.folder / LOCK):
            return Poll(state="running", note=f"process {pid}")
        # It may have ended between the two looks.
        record = _record(ticket.folder, ticket.attempt)
        gone = record is None or record.ended is None
        return Poll(state="ended", cause="lost" if gone else "", note="the process is gone")

    def cancel(self, ticket: Ticket, *, force: bool = False) -> None:
        record = _record(ticket.folder, ticket.attempt)
        pid, start, host = ticket.job_id.split("@")
        if host != socket.gethostname() or (record is not None and record.ended is not None):
            return
        kept = start_of(int(pid)) == start
        command = record.command_pid if record is not None else None
        if command and is_locked(ticket.folder / LOCK) and (force or not kept):
            _send(command, signal.SIGKILL if force else signal.SIGTERM)
        elif kept:
            _send(int(pid), signal.SIGKILL if force else signal.SIGTERM)

    def logs(self, ticket: Ticket) -> str:
        return last_lines(ticket.folder)


def _record(folder: Path, attempt: int) -> Attempt | None:
    found = [record for record in attempts_of(folder) if record.number == attempt]
    return found[-1] if found else None


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
