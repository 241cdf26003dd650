"""A run in MLflow's file store: a folder with `meta.yaml`, `metrics/`, `params/` and `tags/`."""

import os
from collections.abc import Iterator
from pathlib import Path

from isoflop.runs.foreign import ForeignRun
from isoflop.runs.readers.gathering import Gatherer, cannot_read, files_below, printable, shown
from isoflop.runs.readers.mlflow_words import STATES, TOOL, settings

_META = "meta.yaml"
_MAX_TEXT = 1 << 16
"""Bytes of a param, a tag or a metadata file; MLflow itself ends at 8,000 characters."""
_MAX_LINE = 1 << 12
_MAX_DEPTH = 4
_STATUS = {"1": "RUNNING", "3": "FINISHED", "4": "FAILED", "5": "KILLED"}


def run_folders(path: Path) -> Iterator[Path]:
    """Folders of runs under `path`: it may be a run, an experiment, the store or its parent."""
    base = len(path.parts)
    for folder, inner, names in os.walk(path):
        inner.sort()
        if _META in names and "metrics" in inner:
            yield Path(folder)
            inner.clear()
        elif len(Path(folder).parts) - base >= _MAX_DEPTH:
            inner.clear()


def read_run_folder(folder: Path) -> ForeignRun:
    """The run of a folder; of a deleted one the state is `deleted`.

    Raises:
        RunError: a file that cannot be read.
    """
    gathered = Gatherer()
    try:
        meta = _yaml(_text(folder / _META))
        experiment = _yaml(_text(folder.parent / _META)).get("name", "")
        tags = _texts(folder / "tags")
        config = settings(_texts(folder / "params"), tags, experiment)
        for file in _plain_files(folder / "metrics"):
            key = printable(file.relative_to(folder / "metrics").as_posix())
            _read_metric(file, key, gathered)
    except OSError as error:
        raise cannot_read(Path(error.filename or folder), error) from error
    state = STATES.get(_STATUS.get(meta.get("status", ""), ""), "unknown")
    return ForeignRun(
        tool=TOOL,
        place=printable(folder),
        run_id=meta.get("run_id") or meta.get("run_uuid") or printable(folder.name),
        name=tags.get("mlflow.runName") or meta.get("run_name", ""),
        state="deleted" if meta.get("lifecycle_stage") == "deleted" else state,
        config=config,
        series=gathered.series(),
        problems=gathered.problems(),
    )


def _plain_files(folder: Path) -> Iterator[Path]:
    """Files that are no links: a link may lead a stranger's folder to any text of this machine."""
    if folder.is_dir():
        yield from (file for file in files_below(folder, bool) if not file.is_symlink())


def _read_metric(file: Path, key: str, gathered: Gatherer) -> None:
    """Lines `time_ms value step`; a last line without its end is still being written."""
    with file.open("rb") as stream:
        while (line := stream.readline(_MAX_LINE)).endswith(b"\n"):
            words = line.split()
            try:
                # Before MLflow 1.0 a line had no step.
                step = int(words[2]) if len(words) > 2 else 0
                value, wall_s = float(words[1]), int(words[0]) / 1000
            except (ValueError, IndexError, OverflowError):
                gathered.problem(f"the metric {shown(key)} has a line that is no point")
                continue
            gathered.add(key, step, value, wall_s)
        if len(line) == _MAX_LINE:
            gathered.problem(
                f"the metric {shown(key)} has a line without end: the rest is left out"
            )


def _text(file: Path) -> str:
    if file.is_symlink() or not file.is_file():
        return ""
    with file.open("rb") as stream:
        return stream.read(_MAX_TEXT).decode("utf-8", "replace")


def _texts(folder: Path) -> dict[str, str]:
    files = _plain_files(folder)
    return {printable(file.relative_to(folder).as_posix()): _text(file) for file in files}


def _yaml(content: str) -> dict[str, str]:
    """Scalars of a flat YAML mapping as MLflow writes it: plain or quoted, folded where long."""
    scalars: dict[str, str] = {}
    key = ""
    for line in content.splitlines():
        if line.startswith(" ") and key:
            scalars[key] += " " + line.strip()
        elif ":" in line:
            key, _, value = line.partition(":")
            scalars[key] = value.strip()
    return {key: _unquoted(value) for key, value in scalars.items()}


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == "'":
        return value[1:-1].replace("''", "'")
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return value[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return "" if value == "null" else value
