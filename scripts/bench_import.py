"""Seconds to read runs that the real trackers wrote: 2,000 rows of four metrics each.

`make bench-import` has W&B and TensorBoard write them in their own environment, reads them in this
one and checks every value. Each figure is the shortest of 15 readings in a warm process (other
processes can only add to it), beside the processor's seconds; the goal is 0.2 s for W&B and 0.05 s
for TensorBoard. Also: 1,000 runs of 100 rows in one folder, read once.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from isoflop.runs.readers import READERS

ROWS = 2000
RUNS = 1000
METRICS = ("train/loss", "train/grad_norm", "lr", "tokens")
REPEATS = 15

WANDB = """
import json, sys, wandb
folder, rows, metrics = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
run = wandb.init(project="bench", mode="offline", dir=folder)
for i in range(rows):
    run.log({key: (j + 1) / (i + 3) for j, key in enumerate(metrics)})
run.finish()
"""
TENSORBOARD = """
import json, sys
from torch.utils.tensorboard import SummaryWriter
folder, rows, metrics = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
with SummaryWriter(folder) as writer:
    for i in range(rows):
        for j, key in enumerate(metrics):
            writer.add_scalar(key, (j + 1) / (i + 3), i)
"""


def write(python: Path, script: str, folder: Path, rows: int) -> None:
    """Let the tracker write its files."""
    keep = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    env = keep | {"HOME": str(folder), "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    command = [str(python), "-c", script, str(folder), str(rows), json.dumps(METRICS)]
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)


def shortest_s(kind: str, folder: Path, dtype: type[np.floating]) -> tuple[float, float]:
    """Seconds, and the processor's, to read the run of a folder, all values as they were logged."""
    seconds, processor = [], []
    for _ in range(REPEATS):
        begin = time.perf_counter(), time.process_time()
        (run,) = READERS[kind].read(folder)
        seconds.append(time.perf_counter() - begin[0])
        processor.append(time.process_time() - begin[1])
    for j, key in enumerate(METRICS):
        expected = ((j + 1) / (np.arange(ROWS) + 3)).astype(dtype)
        np.testing.assert_array_equal(run.series[key].value, expected.astype(float))
        np.testing.assert_array_equal(run.series[key].step, np.arange(ROWS))
    return min(seconds), min(processor)


def many_s(python: Path, folder: Path) -> float:
    """Seconds to read a folder of RUNS runs of W&B, 100 rows each (copies of one)."""
    one = folder / "one"
    one.mkdir()
    write(python, WANDB, one, 100)
    (file,) = one.rglob("*.wandb")
    for i in range(RUNS):
        run = folder / "wandb" / f"offline-run-20260101_000000-{i:08d}"
        run.mkdir(parents=True)
        shutil.copy(file, run / f"run-{i:08d}.wandb")
    begin = time.perf_counter()
    rows = sum(len(run.series["lr"].step) for run in READERS["wandb"].read(folder / "wandb"))
    assert rows == 100 * RUNS
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trackers", type=Path, required=True, help="their interpreter")
    python = parser.parse_args().trackers.absolute()
    with tempfile.TemporaryDirectory() as root:
        folders = [Path(root) / name for name in ("wandb", "tensorboard", "many")]
        for folder in folders:
            folder.mkdir()
        write(python, WANDB, folders[0], ROWS)
        wandb_s, wandb_cpu_s = shortest_s("wandb", folders[0], np.float64)
        write(python, TENSORBOARD, folders[1], ROWS)
        events_s, events_cpu_s = shortest_s("tensorboard", folders[1], np.float32)
        runs_s = many_s(python, folders[2])
    sys.stdout.write(
        f"wandb_s={wandb_s:.4f} tensorboard_s={events_s:.4f} runs1000_s={runs_s:.2f} "
        f"wandb_cpu_s={wandb_cpu_s:.4f} tensorboard_cpu_s={events_cpu_s:.4f}\n"
    )


if __name__ == "__main__":
    main()
