"""Exporting a trained run: a process of the trainer's, started and told of here."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from isoflop._errors import InputError, MissingExtraError, WorkerError

_NEEDS = (("torch", "train"), ("safetensors", "hf"))


def export_run(run: Path, to: Path, *, corpus: Path | None = None) -> dict[str, Any]:
    """Write a run's newest checkpoint as Hugging Face files into the new folder `to`.

    Args:
        run: the run folder, `STUDY/runs/ID`.
        to: a folder that does not exist yet, or is empty.
        corpus: the prepared corpus, for its tokenizer; default the study's.

    Returns:
        `path`, `model_type`, `run`, `step`, and whether the `tokenizer` is with it.

    Raises:
        InputError: not a run, no checkpoint, a shape without exact counterpart, `to` in use.
        MissingExtraError: torch or safetensors is not installed.
        WorkerError: the process failed.
    """
    for module, extra in _NEEDS:
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(module, extra=extra, needed_for="isoflop export")
    if not run.is_dir():
        raise InputError(f"{run}: is no folder. Name one run of a study: STUDY/runs/ID.")
    command = [sys.executable, "-m", "isoflop.training.export", str(run), "--to", str(to)]
    command += [] if corpus is None else ["--corpus", str(corpus)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stderr.strip().splitlines() or ["it said nothing"]
    if done.returncode == 2:
        raise InputError(said[-1])
    if done.returncode != 0:
        raise WorkerError(f"the export ended with {done.returncode}: {said[-1]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result
