"""Hugging Face Trainer: `trainer_state.json` of an output folder and of its checkpoints.

The newest checkpoint holds the whole history, so that one file tells a run. `training_args.bin`
beside it is a pickle and is never opened. Source: transformers/trainer_callback.py, TrainerState.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from isoflop._errors import RunError
from isoflop.runs.foreign import ForeignRun
from isoflop.runs.readers.gathering import (
    Gatherer,
    as_number,
    files_below,
    flat,
    numbers,
    printable,
    read_each,
    read_json_object,
)

TOOL = "trainer_state"
_NAME = "trainer_state.json"
_CHECKPOINT = re.compile(r"checkpoint-(\d{1,18})")
_SETTINGS = (
    "max_steps", "num_train_epochs", "train_batch_size", "logging_steps", "eval_steps",
    "save_steps",
)  # fmt: skip
_TOTALS = ("global_step", "epoch", "total_flos", "num_input_tokens_seen", "best_metric")
_END = "train_samples_per_second"
"""The last entry of a finished training has it: its numbers are of the whole."""


def sniff(path: Path) -> bool:
    """Whether this is such a file, or a folder with some."""
    if path.is_file():
        return path.name == _NAME
    return any(True for _ in files_below(path, _wanted))


def read(path: Path) -> Iterator[ForeignRun]:
    """One run an output folder, from its newest checkpoint that can be read.

    Raises:
        RunError: a file that is no state of a Trainer, or a folder without any.
    """
    if path.is_file():
        yield _read_state(path, path.parent)
        return
    folders: dict[Path, list[Path]] = {}
    for file in files_below(path, _wanted):
        folders.setdefault(_output_folder(file), []).append(file)
    yield from read_each(TOOL, path, folders, lambda folder: [_newest(folder, folders[folder])])


def _wanted(name: str) -> bool:
    return name == _NAME


def _output_folder(file: Path) -> Path:
    return file.parent.parent if _CHECKPOINT.fullmatch(file.parent.name) else file.parent


def _newest(folder: Path, files: list[Path]) -> ForeignRun:
    """The state that is furthest; a torn one, of a machine that died while saving, is a problem."""
    problems: list[str] = []
    best: ForeignRun | None = None
    for file in sorted(files, key=_progress, reverse=True):
        try:
            run = _read_state(file, folder)
        except RunError as error:
            problems.append(str(error))
            continue
        if best is None or run.summary.get("global_step", 0) > best.summary.get("global_step", 0):
            best = run
        # The file in the folder itself is written at the end, or by hand at any time before.
        if _CHECKPOINT.fullmatch(file.parent.name):
            break
    if best is None:
        raise RunError(problems[0])
    return replace(best, problems=(*problems, *best.problems))


def _progress(file: Path) -> float:
    """The step in the name of a checkpoint; the folder's own file comes first."""
    match = _CHECKPOINT.fullmatch(file.parent.name)
    return float(match[1]) if match else float("inf")


def _read_state(file: Path, folder: Path) -> ForeignRun:
    state = read_json_object(file)
    history = state.get("log_history")
    if not isinstance(history, list):
        raise RunError(f"{printable(file)}: has no log_history. Name a {_NAME} of a Trainer.")
    gathered = Gatherer()
    totals = {key: state[key] for key in _TOTALS if key in state}
    for entry in history:
        if not isinstance(entry, dict) or not isinstance(entry.get("step"), int):
            gathered.problem("an entry of log_history without a step was left out")
        elif _END in entry:
            totals |= {key: value for key, value in entry.items() if key not in ("step", "epoch")}
        else:
            for key, value in flat(entry).items():
                if key != "step":
                    gathered.add_any(key, entry["step"], value, float("nan"))
    config = _model_config(file, folder, gathered)
    config |= {key: state[key] for key in _SETTINGS if key in state}
    return ForeignRun(
        tool=TOOL,
        place=printable(file),
        run_id=printable(folder),
        name=printable(folder.resolve().name),
        state="done" if _is_done(state) else "unknown",
        config=config,
        series=gathered.series(),
        summary=numbers(flat(totals)),
        problems=gathered.problems(),
    )


def _is_done(state: dict[str, Any]) -> bool:
    last = as_number(state.get("max_steps"))
    now = as_number(state.get("global_step"))
    return last is not None and now is not None and 0 < last <= now


def _model_config(file: Path, folder: Path, gathered: Gatherer) -> dict[str, Any]:
    """The model's `config.json`: beside the state, in the output folder or in a checkpoint."""
    saved = sorted(folder.glob("checkpoint-*/config.json"))[-1:]
    for path in (file.parent / "config.json", folder / "config.json", *saved):
        if path.is_file():
            try:
                return flat(read_json_object(path))
            except RunError as error:
                gathered.problem(str(error))
    return {}
