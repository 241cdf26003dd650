"""`python -m isoflop.training CORPUS RUN_DIR …`: train run folders in order, in one process."""

import argparse
import contextlib
import fcntl
import logging
import signal
import sys
import time
from pathlib import Path
from typing import Any

from isoflop._errors import InputError
from isoflop.runs import RunFolder
from isoflop.runs.folder import LOCK
from isoflop.training.loop import InterruptedRun, train_run

_log = logging.getLogger("isoflop.training")
_LOCK_POLL_S = 0.1


def main(arguments: list[str]) -> int:
    """Train the folders named; exit code 0 done, 2 bad input, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="python -m isoflop.training")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--micro-batch", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--checkpoint-seconds", type=float, default=60.0)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    wish: dict[str, Any] = {
        name: getattr(options, name)
        for name in ("threads", "micro_batch", "device", "dtype", "compile", "checkpoint_seconds")
    }
    stop_asked = _listen()
    try:
        with contextlib.ExitStack() as locks:
            _train_all(
                options.corpus, [RunFolder(p) for p in options.runs], wish, stop_asked, locks
            )
    except InterruptedRun:
        return 130
    except InputError as error:
        _log.error("%s", error)
        return 2
    return 0


def _train_all(
    corpus: Path,
    folders: list[RunFolder],
    wish: dict[str, Any],
    stop_asked: list[int],
    locks: contextlib.ExitStack,
) -> None:
    """Train the folders in order, each only while nobody has asked to stop."""
    configs = {folder.run_id: folder.config() for folder in folders}
    for folder in folders:
        _lock(folder, locks, stop_asked)
    for folder in folders:
        if stop_asked:
            raise InterruptedRun
        holds = [
            config.schedule.hold_tokens
            for config in configs.values()
            if config.trunk == folder.run_id
        ]
        train_run(corpus, folder, holds=holds, wish=wish, stop_asked=stop_asked)
        if folder.status().state == "diverged" and folder.config().trunk is None:
            _mark_branches(folder, folders)
            return


def _listen() -> list[int]:
    """A list that receives every SIGTERM and SIGINT from here on."""
    received: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _frame: received.append(signum))
    return received


def _lock(folder: RunFolder, locks: contextlib.ExitStack, stop_asked: list[int]) -> None:
    """Wait until no other process trains this run: one may have outlived a killed driver."""
    stream = locks.enter_context((folder.path / LOCK).open("w"))
    while not stop_asked:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_POLL_S)
        else:
            return
    raise InterruptedRun


def _mark_branches(trunk: RunFolder, folders: list[RunFolder]) -> None:
    """A branch of a diverged trunk can never run: say so in its own folder."""
    for folder in folders:
        if folder.config().trunk == trunk.run_id and folder.final() is None:
            folder.beat(state="diverged", reason=f"its trunk {trunk.run_id} diverged")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
