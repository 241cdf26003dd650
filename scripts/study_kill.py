"""`kill -9` of the whole process group at three random moments of a ladder, then the same command.

`make study-kill` runs the study of examples/ci.toml twice: undisturbed, and killed three times.
Every record of every run (all but its wall-clock time) must be equal bit for bit.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path("demo-kill")
OPTIONS = ("--set", "launch.checkpoint_seconds=2")


def command(into: Path) -> list[str]:
    """The command that is killed and given again."""
    run = [sys.executable, "-m", "isoflop", "run", "examples/ci.toml", "--into", str(into)]
    return [*run, *OPTIONS]


def records(study: Path) -> dict[str, list[str]]:
    """Every run's points without their wall-clock time."""
    found = {}
    for path in sorted(study.glob("runs/*/metrics.jsonl")):
        points = [json.loads(line) for line in path.read_text().splitlines()]
        found[path.parent.name] = [
            json.dumps({k: v for k, v in p.items() if k != "wall_s"}) for p in points
        ]
    return found


def main() -> None:
    """Run both, compare, and exit with 1 if anything differs."""
    shutil.rmtree(ROOT, ignore_errors=True)
    began = time.monotonic()
    subprocess.run(command(ROOT / "whole"), stdout=subprocess.DEVNULL, check=False)
    whole_s = time.monotonic() - began
    rng = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    for kill in range(3):
        process = subprocess.Popen(
            command(ROOT / "killed"), start_new_session=True, stdout=subprocess.DEVNULL
        )
        delay = rng.uniform(0.15, 0.45) * whole_s
        time.sleep(delay)
        alive = process.poll() is None
        if alive:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        sys.stdout.write(
            f"kill {kill + 1}: after {delay:.0f} s, {'killed' if alive else 'ended'}\n"
        )
        sys.stdout.flush()
    subprocess.run(command(ROOT / "killed"), stdout=subprocess.DEVNULL, check=False)
    whole, killed = records(ROOT / "whole"), records(ROOT / "killed")
    same = bool(whole) and whole == killed
    n_points = sum(map(len, whole.values()))
    verdict = "equal bit for bit" if same else "DIFFERENT"
    sys.stdout.write(f"study-kill: {len(whole)} runs, {n_points} points: {verdict}\n")
    raise SystemExit(0 if same else 1)


if __name__ == "__main__":
    main()
