"""Damaged files of every tracker: a RunError or a run with problems, in bounded memory."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Written = Callable[[str], tuple[Path, Any]]
FUZZ = Path(__file__).parent / "fuzz_reader.py"
MEMORY_MB = 200

FILES = [
    ("wandb", "wandb", "*.wandb"),
    ("tensorboard", "tensorboard", "precise/*tfevents*"),
    ("mlflow", "mlflow", "mlflow.db"),
    ("mlflow", "mlflow", "mlruns/*/*/meta.yaml"),
    ("mlflow", "mlflow", "mlruns/*/*/metrics/train/loss"),
    ("trackio", "trackio", "*.db"),
    ("trackio", "trackio", "a-project.parquet"),
    ("trainer_state", "trainer", "checkpoint-30/trainer_state.json"),
    ("lm_eval", "lm_eval", "results_*.json"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "writer", "pattern"), FILES)
def test_no_damage_ends_in_anything_but_a_run_error(
    written: Written, kind: str, writer: str, pattern: str
) -> None:
    folder, _ = written(writer)
    file = min(folder.rglob(pattern))
    # No deeper than the tool's own folder: a copy is made for every process.
    root = next((parent for parent in file.parents if parent.name == "mlruns"), file.parent)
    outcomes: dict[str, float] = {}
    for seed in range(3):
        result = subprocess.run(
            [sys.executable, "-W", "error", FUZZ, kind, file, root, str(seed), "100"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True, text=True, timeout=900,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr[-3000:]
        for name, number in json.loads(result.stdout).items():
            outcomes[name] = outcomes.get(name, 0) + number if name != "memory_mb" else number
        assert outcomes["memory_mb"] < MEMORY_MB
    # The damage is seen: a reader that took all as whole would see none.
    assert outcomes["refused"] + outcomes["problems"] > 0
