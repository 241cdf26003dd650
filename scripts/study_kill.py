"""`kill -9` of the whole process group at three random moments of a ladder, then the same command.

`make study-kill` runs the study of examples/ci.toml twice: undisturbed, and killed three times,
each time while it trains. Every record of every run (all but its wall-clock time) must be equal bit
for bit; what was done must not be trained again, and what had a checkpoint must go on from it.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from isoflop.runs import RunFolder
from isoflop.runs.table import run_folders

ROOT = Path("demo-kill")
KILLS = 3
# Shares of the undisturbed time, from the first training step of a start to its kill: three of
# them end well before the study does.
EARLIEST, LATEST = 0.03, 0.15
GIVE_UP_S = 1800.0
ENDINGS = (0, 3)  # done; done, and this small ladder says itself that it must not be trusted
Starts = dict[str, list[int]]


def command(study: str, into: Path, sets: list[str]) -> list[str]:
    """The command that is killed and given again."""
    words = [sys.executable, "-m", "isoflop", "run", study, "--into", str(into)]
    return words + [word for override in sets for word in ("--set", override)]


def folders(study: Path) -> list[RunFolder]:
    """The runs of a study that have begun."""
    return list(run_folders(study / "runs")) if (study / "runs").is_dir() else []


def records(study: Path) -> dict[str, list[str]]:
    """Every run's points without their wall-clock time."""
    found = {}
    for folder in folders(study):
        points = [point.to_json() for point in folder.points()]
        found[folder.run_id] = [
            json.dumps({k: v for k, v in point.items() if k != "wall_s"}) for point in points
        ]
    return found


def starts(study: Path) -> Starts:
    """The step from which every process that trained a run went on, by run."""
    found: Starts = {folder.run_id: [] for folder in folders(study)}
    for path in study.glob("runs/*/log.txt"):
        text = path.read_text(encoding="utf-8", errors="replace")
        for run, step in re.findall(r"run (\w+): from step (\d+) to", text):
            found[run].append(int(step))
    return found


def done(study: Path) -> list[str]:
    """Runs that have ended, by their status."""
    return [folder.run_id for folder in folders(study) if folder.status().state == "done"]


def cut(study: Path) -> dict[str, int]:
    """Runs that were stopped with a checkpoint and something left to train: its step."""
    trunks = [folder.config().trunk for folder in folders(study)]
    steps = {}
    for folder in folders(study):
        saved = [int(path.stem.split("_")[1]) for path in folder.checkpoints.glob("*.pt")]
        holds = len(list(folder.checkpoints.glob("hold_*.pt")))
        ended = folder.final() is not None or holds == trunks.count(folder.run_id) > 0
        if folder.status().state == "running" and saved and not ended:
            steps[folder.run_id] = max(saved)
    return steps


def trains(study: Path, before: Starts) -> bool:
    """Whether a process of this start has gone a step beyond where it began."""
    for run, steps in starts(study).items():
        status = RunFolder(study / "runs" / run).status()
        if len(steps) > len(before.get(run, [])) and status.step > steps[-1]:
            return True
    return False


def kill_once(words: list[str], study: Path, delay: float) -> tuple[list[str], dict[str, int]]:
    """Start, wait until it trains and `delay` seconds more, kill; what was done, what was cut."""
    before = starts(study)
    process = subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL)
    began = time.monotonic()
    while not trains(study, before):
        if process.poll() is not None or time.monotonic() - began > GIVE_UP_S:
            raise SystemExit(f"study-kill: no training began, exit code {process.poll()}")
        time.sleep(0.05)
    time.sleep(delay)
    if process.poll() is not None:
        raise SystemExit("study-kill: it ended before it was killed: take a larger study")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    while any(folder.is_held() for folder in folders(study)):
        time.sleep(0.05)
    return done(study), cut(study)


def main() -> None:
    """Run both, compare, and exit with 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seed", type=int, nargs="?", default=0, help="of the moments")
    parser.add_argument("--study", default="examples/ci.toml")
    parser.add_argument("--into", type=Path, default=ROOT)
    parser.add_argument("--set", action="append", dest="sets", metavar="A.B=VALUE")
    options = parser.parse_args()
    sets = options.sets or ["launch.checkpoint_seconds=2"]
    shutil.rmtree(options.into, ignore_errors=True)
    whole, killed = options.into / "whole", options.into / "killed"
    began = time.monotonic()
    _finish(command(options.study, whole, sets))
    whole_s = time.monotonic() - began
    rng = random.Random(options.seed)
    words = command(options.study, killed, sets)
    kills = []
    for number in range(1, KILLS + 1):
        delay = rng.uniform(EARLIEST, LATEST) * whole_s
        ended, stopped = kill_once(words, killed, delay)
        kills.append((ended, stopped, starts(killed)))
        where = ", ".join(f"{run} at {step}" for run, step in stopped.items()) or "no checkpoint"
        _say(f"kill {number}: {delay:.0f} s into training, {len(ended)} runs done; cut: {where}")
    _finish(words)
    faults = _lost_work(kills, starts(killed))
    first, second = records(whole), records(killed)
    same = bool(first) and first == second
    n_points = sum(map(len, first.values()))
    verdict = "equal bit for bit" if same else "DIFFERENT"
    for fault in faults:
        _say(f"study-kill: {fault}")
    _say(f"study-kill: {len(first)} runs, {n_points} points: {verdict}")
    raise SystemExit(0 if same and not faults else 1)


def _lost_work(kills: list[tuple[list[str], dict[str, int], Starts]], after: Starts) -> list[str]:
    """What was trained twice, in words; nothing if every start went on where it could."""
    faults = []
    for ended, stopped, before in kills:
        faults += [f"run {run} was done and trained again" for run in ended
                   if after[run] != before[run]]  # fmt: skip
        for run, step in stopped.items():
            went_on = after[run][len(before[run])] if len(after[run]) > len(before[run]) else None
            if went_on != step:
                faults.append(f"run {run} had a checkpoint at {step}, went on from {went_on}")
    if not any(stopped for _, stopped, _ in kills):
        faults.append("no kill met a run that had a checkpoint: take another seed")
    return faults


def _finish(words: list[str]) -> None:
    code = subprocess.run(words, stdout=subprocess.DEVNULL, check=False).returncode
    if code not in ENDINGS:
        raise SystemExit(f"study-kill: exit code {code}: {' '.join(words)}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
