"""Runs one attempt of a job and records how it went: `python -I attempt.py FOLDER N … -- COMMAND`.

Every launcher starts this file, so that an ending is read the same way everywhere and by any later
driver: `attempts/<n>.<restart>.json` in the job's folder. Standard library only: it is run as a
file, starts in milliseconds and imports nothing of the package.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ATTEMPTS, LOCK, LOG = "attempts", "job.lock", "log.txt"
INTERRUPTED = 130
_LOCK_POLL_S = 0.1
_ASKING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)  # itself, or a process of its own


def main(arguments: list[str]) -> int:
    """Run the command once under its claim; the command's exit code (128 + signal if killed).

    A claim that is taken already (two drivers submitted the same attempt) runs nothing.
    """
    parser = argparse.ArgumentParser(prog="attempt.py")
    parser.add_argument("folder", type=Path)
    parser.add_argument("number", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--devices")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)
    asked = _listen()
    restart = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    path = attempt_path(options.folder, options.number, restart)
    record: dict[str, Any] = {
        "version": 1,
        "pid": os.getpid(),
        "start": start_of(os.getpid()),
        "host": socket.gethostname(),
        "began": time.time(),
    }
    if not _claim(path, record):
        return 0
    with (options.folder / LOCK).open("w") as lock:
        code = INTERRUPTED
        if _locked(lock.fileno(), asked):
            record |= _run(options, lock.fileno(), asked, path, record)
            code = record["code"]
    _replace(path, {**record, "code": code, "asked": bool(asked), "ended": time.time()})
    if signal.SIGUSR1 in asked and code != 0 and "SLURM_JOB_ID" in os.environ:
        subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=False)
    return code if code >= 0 else 128 - code


def attempt_path(folder: Path, number: int, restart: int) -> Path:
    """Where the record of an attempt lies; `restart` counts the engine's own requeues."""
    return folder / ATTEMPTS / f"{number:04d}.{restart}.json"


def start_of(pid: int) -> str | None:
    """When a living process started, in the system's own words; None if there is none.

    A pid with its start names one process: pids are used again.
    """
    try:
        # pid (name) state ...: the name may hold blanks; field 22 is the start in clock ticks.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    asked = ["ps", "-o", "lstart=", "-p", str(pid)]  # not Linux
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or None


def _listen() -> list[int]:
    """A list that receives every signal that asks to stop.

    SIGINT is not passed on: a terminal sends it to the command as well.
    """
    asked: list[int] = []
    for number in _ASKING:
        signal.signal(number, lambda signum, _frame: asked.append(signum))
    return asked


def _claim(path: Path, record: dict[str, Any]) -> bool:
    """Write the record where there is none; False if there is one."""
    path.parent.mkdir(exist_ok=True)
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(record, stream)
        stream.flush()
        os.fsync(stream.fileno())
    return True


def _locked(handle: int, asked: list[int]) -> bool:
    """Wait for the folder's lock: the command of an attempt whose keeper died may hold it."""
    import fcntl  # POSIX: asked for only where processes are started

    while not asked:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(_LOCK_POLL_S)
    return False


def _run(
    options: argparse.Namespace, lock: int, asked: list[int], path: Path, record: dict[str, Any]
) -> dict[str, Any]:
    """Run the command to its end, passing on requests to stop; how it ended."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(options.threads), PYTHONUNBUFFERED="1")
    if options.devices is not None:
        environment["CUDA_VISIBLE_DEVICES"] = options.devices
    kills, log = _out_of_memory_kills(), options.folder / LOG
    offset = log.stat().st_size if log.exists() else 0
    with log.open("ab") as stream:
        # The command holds the lock too: it is not free before both are gone.
        command = subprocess.Popen(
            options.command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
            env=environment, pass_fds=(lock,),
        )  # fmt: skip
    _replace(path, {**record, "command_pid": command.pid, "log_offset": offset})
    passed = 0
    while command.poll() is None:
        if len(asked) > passed:
            if any(number != signal.SIGINT for number in asked[passed:]):
                _ask_to_stop(command)
            passed = len(asked)
        time.sleep(0.02)
    return {
        "command_pid": command.pid,
        "log_offset": offset,
        "code": command.returncode,
        "out_of_memory": command.returncode in _KILLED and _out_of_memory_kills() > kills,
    }


def _ask_to_stop(command: "subprocess.Popen[bytes]") -> None:
    """Pass a request on: to the command, or to what `srun` has started on the job's nodes.

    On SIGTERM srun kills them at once; Slurm itself takes the signal to every node.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job and isinstance(command.args, list) and command.args[0] == "srun":
        subprocess.run(["scancel", "--signal=TERM", job], check=False)
        return
    with contextlib.suppress(ProcessLookupError):
        command.send_signal(signal.SIGTERM)


def _out_of_memory_kills() -> int:
    """Processes that the kernel of this machine has killed for memory since it started."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _replace(path: Path, record: dict[str, Any]) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(record, stream, sort_keys=True)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


if __name__ == "__main__":
    ending = main(sys.argv[1:])
    for asking in _ASKING:  # the handlers are gone while Python ends: see isoflop.runs.stopping
        signal.signal(asking, signal.SIG_IGN)
    sys.exit(ending)
