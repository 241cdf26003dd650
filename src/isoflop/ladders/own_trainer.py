"""`python -m isoflop.ladders.own_trainer CORPUS RUN_DIR …`: a trainer of one's own, run by run.

It fills the placeholders of `trainer.command`, runs it, copies its measurements into the run folder
as points, and says in `status.json` how the run stands, as our own trainer does.
"""

import argparse
import contextlib
import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isoflop._errors import InputError, RunError
from isoflop.accounting import count_params
from isoflop.ladders.own_metrics import read_points
from isoflop.runs import RunFolder, Status
from isoflop.runs.stopping import listen, stop_listening
from isoflop.specs import TrainerColumns, TrainerSection, placeholders_of

_log = logging.getLogger("isoflop.own_trainer")
_POLL_S, _LOOK_S = 0.1, 2.0
_DONE, _FAILED, _BAD_INPUT, _INTERRUPTED = 0, 1, 2, 130
OUTPUT = "trainer"
"""Folder below a run folder that is the trainer's own: `{run_dir}`."""


@dataclass(slots=True)
class _Runner:
    corpus: Path
    base: Path
    section: TrainerSection
    threads: int
    micro_batch: int
    holds: dict[str, int]
    """Tokens at the last branch of each trunk."""
    asked: list[int]
    """Requests to stop, as they come."""
    locks: list[int] = field(default_factory=list)
    """Open files that hold the run folders: the command holds them too, should it outlive us."""

    def values(self, folder: RunFolder) -> dict[str, object]:
        """What the placeholders stand for in a run."""
        config = folder.config()
        n_tokens = config.schedule.n_tokens or self.holds[folder.run_id]
        trunk = folder.path.parent / (config.trunk or folder.run_id)
        return placeholders_of(config) | {
            "n_tokens": n_tokens,
            "steps": n_tokens // config.optimiser.batch_tokens,
            "n_params": count_params(config.shape).under("active"),
            "run_dir": folder.path / OUTPUT,
            "trunk_dir": trunk / OUTPUT,
            "corpus": self.corpus,
            "study_dir": self.base,
            "python": sys.executable,
            "threads": self.threads,
            "micro_batch": self.micro_batch,
        }

    def run(self, folder: RunFolder) -> int:
        """Train one run to its end; 0 done or diverged, else why not."""
        status = folder.status()
        if status.state in ("done", "diverged"):
            return _DONE
        config = folder.config()
        if config.schedule.kind == "trunk" and not self.section.uses_trunk:
            why = "not trained: every branch of this trainer is complete by itself"
            folder.beat(state="done", n_tokens=self.holds[folder.run_id], reason=why)
            return _DONE
        _refuse_another_trainer(folder, self.section)
        micro = folder.freeze_execution(
            {"command": self.section.command, "threads": self.threads,
             "micro_batch": self.micro_batch}
        )["micro_batch"]  # fmt: skip
        folder.mend()
        (folder.path / OUTPUT).mkdir(exist_ok=True)
        with contextlib.suppress(InputError):
            self._copy(folder)  # of a command that outlived its keeper
        if folder.final() is not None:
            return self._conclude(folder, 0)
        folder.set_status(
            Status(state="running", attempt=status.attempt + 1, heartbeat=time.time())
        )
        words = self.section.words({**self.values(folder), "micro_batch": micro})
        _log.info("run %s: %s", folder.run_id, json.dumps(words))
        try:
            code = self._call(words, folder)
        except OSError as error:
            raise RunError(
                f"trainer.command: {words[0]!r} cannot be started ({error.strerror}). Correct it."
            ) from error
        return self._conclude(folder, code)

    def _call(self, words: list[str], folder: RunFolder) -> int:
        """The command's exit code; its measurements are copied while it runs."""
        command = subprocess.Popen(
            words, cwd=self.base, stdin=subprocess.DEVNULL, pass_fds=self.locks
        )
        looked, passed = time.monotonic(), 0
        while command.poll() is None:
            if len(self.asked) > passed:
                if any(number != signal.SIGINT for number in self.asked[passed:]):
                    command.send_signal(signal.SIGTERM)
                passed = len(self.asked)
            if time.monotonic() - looked > _LOOK_S:
                looked = time.monotonic()
                # A file that is being written may be torn: its faults count at the end.
                with contextlib.suppress(InputError):
                    self._copy(folder)
                folder.beat()
            time.sleep(_POLL_S)
        return command.returncode

    def _copy(self, folder: RunFolder) -> None:
        """Append the measurements that the run folder has not yet; InputError: a bad file."""
        seen = read_points(folder, folder.path / OUTPUT, self.section)
        steps = {point.step for point in folder.points()}
        new = [point for point in seen.points if point.step not in steps]
        for point in new:
            folder.append(point)
        if new:
            folder.beat(step=new[-1].step, n_tokens=new[-1].n_tokens)

    def _conclude(self, folder: RunFolder, code: int) -> int:
        if code != 0:
            if self.asked:
                folder.beat(state="preempted", reason="asked to stop")
                return _INTERRUPTED
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            folder.beat(state="failed", reason=f"the trainer ended with {how}; see log.txt")
            return 128 - code if code < 0 else code
        try:
            self._copy(folder)
            seen = read_points(folder, folder.path / OUTPUT, self.section)
        except InputError as error:
            folder.beat(state="failed", reason=str(error))
            raise
        config = folder.config()
        if seen.diverged:
            folder.beat(state="diverged", reason=seen.diverged)
        elif config.schedule.kind == "trunk":
            folder.beat(state="done", n_tokens=self.holds[folder.run_id])
        elif folder.final() is None:
            last = folder.points()[-1].n_tokens if folder.points() else 0
            why = f"the trainer ended at {last} of {config.n_tokens} tokens; see log.txt"
            folder.beat(state="failed", reason=why)
            return _FAILED
        else:
            folder.beat(state="done", n_tokens=config.n_tokens)
        return _DONE


def main(arguments: list[str]) -> int:
    """Run the folders named; exit code 0 done, 2 bad input, 130 interrupted, else the trainer's."""
    parser = argparse.ArgumentParser(prog="python -m isoflop.ladders.own_trainer")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--micro-batch", type=int, default=0)
    parser.add_argument("--trainer", type=json.loads, required=True)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folders = [RunFolder(path) for path in options.runs]
    runner = _Runner(
        options.corpus, options.base, _section(options.trainer), options.threads,
        options.micro_batch, _holds(folders), listen(),
    )  # fmt: skip
    try:
        with contextlib.ExitStack() as locks:
            for folder in folders:
                held = folder.hold(locks, runner.asked)
                if held is None:
                    return _INTERRUPTED
                runner.locks.append(held)
            return _run_all(runner, folders)
    except InputError as error:
        _log.error("%s", error)
        return _BAD_INPUT


def _run_all(runner: _Runner, folders: list[RunFolder]) -> int:
    for folder in folders:
        if runner.asked:
            return _INTERRUPTED
        code = runner.run(folder)
        if code != _DONE:
            return code
        if folder.status().state == "diverged" and folder.config().schedule.kind == "trunk":
            for branch in folders:
                if branch.config().trunk == folder.run_id:
                    branch.beat(state="diverged", reason=f"its trunk {folder.run_id} diverged")
            return _DONE
    return _DONE


def _section(data: Mapping[str, Any]) -> TrainerSection:
    return TrainerSection(**{**data, "columns": TrainerColumns(**data["columns"])})


def _holds(folders: list[RunFolder]) -> dict[str, int]:
    configs = [folder.config() for folder in folders]
    holds: dict[str, int] = {}
    for config in configs:
        if config.trunk is not None:
            hold = config.schedule.hold_tokens
            holds[config.trunk] = max(hold, holds.get(config.trunk, 0))
    return holds


def _refuse_another_trainer(folder: RunFolder, section: TrainerSection) -> None:
    stored = folder.execution()
    if stored is not None and stored.get("command") != section.command:
        raise RunError(
            f"{folder.path}: was begun with another trainer ({stored.get('command')!r}). Restore "
            "trainer.command, or delete the run folder to train it again."
        )


if __name__ == "__main__":
    code = main(sys.argv[1:])
    stop_listening()
    sys.exit(code)
