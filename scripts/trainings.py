"""What studies share: trainings of their own below one folder, resumable."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from isoflop.runs import RunFolder
from isoflop.specs import RunConfig


def train(root: Path, runs: Sequence[RunConfig]) -> None:
    """Train runs in order in one process, one thread in float32; what is done is passed over.

    Folders lie in `root/runs`, the corpus in `root/data`, what the process says in `root/log.txt`.
    """
    folders = [RunFolder.create(root / "runs", run) for run in runs]
    if all(folder.status().state in ("done", "diverged") for folder in folders):
        return
    paths = [str(folder.path) for folder in folders]
    command = [sys.executable, "-m", "isoflop.training", str(root / "data"), *paths]
    command += ["--threads", "1", "--device", "cpu", "--dtype", "float32"]
    with (root / "log.txt").open("ab") as log:
        done = subprocess.run(command, stdout=log, stderr=log, check=False)
    if done.returncode != 0:
        raise SystemExit(f"a training ended with {done.returncode}: {root}/log.txt")
