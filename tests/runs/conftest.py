"""Files as the trackers themselves write them: in an environment of their own, in a process."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from optional import absent

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = Path(__file__).parent / "tracker_scripts"


@pytest.fixture(scope="session")
def tracker_python() -> Path:
    """The interpreter of `.venv-trackers`; must be there in CI, skips elsewhere."""
    root = Path(os.environ.get("ISOFLOP_TRACKERS", REPOSITORY / ".venv-trackers"))
    python = root / "bin" / "python"
    if not python.exists():
        absent(f"no trackers at {root} (make trackers)")
    return python


@pytest.fixture(scope="session")
def tracker_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which no tracker calls home, nor finds settings or a key of the user."""
    home = tmp_path_factory.mktemp("home")
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return kept | {
        "HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
    }


@pytest.fixture(scope="session")
def written(
    tracker_python: Path, tracker_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Path, Any]]:
    """`written("wandb")`: the folder that write_wandb.py filled, once a session, and its truth."""
    done: dict[str, tuple[Path, Any]] = {}

    def write(name: str) -> tuple[Path, Any]:
        if name not in done:
            folder = tmp_path_factory.mktemp(name)
            result = subprocess.run(
                [tracker_python, SCRIPTS / f"write_{name}.py", folder],
                env=tracker_env, cwd=folder, capture_output=True, text=True, timeout=300,
            )  # fmt: skip
            assert result.returncode == 0, result.stderr[-3000:]
            done[name] = folder, json.loads((folder / "truth.json").read_text())
        return done[name]

    return write
