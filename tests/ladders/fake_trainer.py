"""A trainer for tests: a line a step in `steps.log`, which is its checkpoint too; fails as told.

`faults.json` in the study's folder lists what goes wrong, each once: {"width": 8, "step": 5,
"kind": "memory"}.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--study", type=Path)
    for name in ("--width", "--tokens", "--batch", "--micro-batch"):
        parser.add_argument(name, type=int)
    parser.add_argument("--lr", type=float)
    options = parser.parse_args()
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda signum, _frame: stopped.append(signum))
    steps = options.out / "steps.log"
    done = len(steps.read_text().splitlines()) if steps.exists() else 0
    with (options.out / "starts.log").open("a") as stream:
        stream.write(f"{json.dumps({'step': done, 'micro_batch': options.micro_batch})}\n")
    pace = float((options.study / "pace.txt").read_text())
    for step in range(done + 1, options.tokens // options.batch + 1):
        time.sleep(pace)
        with steps.open("a") as stream:
            stream.write(f"{step}\n")
        fault = _fault(options.study, options.width, step)
        if fault == "memory":
            raise MemoryError("no room for the batch")
        if fault == "nan":
            _measure(options, step, float("nan"))
            return 0
        if fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "error":
            sys.stderr.write("it is broken\n")
            return 1
        if stopped:
            return 130
    _measure(options, options.tokens // options.batch, 2.0 + 100 * options.tokens**-0.5)
    return 0


def _measure(options: argparse.Namespace, step: int, loss: float) -> None:
    with (options.out / "metrics.jsonl").open("a") as stream:
        stream.write(json.dumps({"step": step, "n_tokens": step * options.batch, "loss": loss}))
        stream.write("\n")


def _fault(study: Path, width: int, step: int) -> str:
    path = study / "faults.json"
    for number, fault in enumerate(json.loads(path.read_text()) if path.exists() else []):
        if (fault["width"], fault["step"]) != (width, step):
            continue
        try:
            (study / f"fault-{number}.done").touch(exist_ok=False)
        except FileExistsError:
            continue
        return str(fault["kind"])
    return ""


if __name__ == "__main__":
    ending = main()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Slurm and the keeper both ask
    sys.exit(ending)
