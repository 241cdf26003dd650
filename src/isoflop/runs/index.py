"""`list_runs`: one line a run of a folder, quickly; from an index that may be deleted at any time.

The index is never trusted over the files: an entry holds while size, time and inode of the run's
files are those it was made from, and only if they were old when it was made. A file that changes
twice within the clock's grain would else look unchanged.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from isoflop._errors import InputError, RunError
from isoflop.accounting import count_params
from isoflop.runs.folder import RunFolder, write_json_atomically
from isoflop.runs.imported import METRICS, SOURCE, ImportedFolder

INDEX = "index.json"
_VERSION = 1
_WATCHED = ("config.json", SOURCE, "status.json", METRICS)
_GRAIN_NS = 2_000_000_000
"""No file system's times are coarser (FAT's are 2 s)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """Where a run stands, by its last point; `tool` is `isoflop` for trainings of our own."""

    run_id: str
    tool: str
    name: str
    state: str
    n_params: float | None
    n_tokens: float | None
    loss: float | None
    is_final: bool
    reason: str = ""


def list_runs(root: Path) -> list[RunSummary]:
    """Every run at or below `root`, own and imported, by folder name; a corrupt one says so.

    Raises:
        RunError: no such folder.
    """
    base = root / "runs" if (root / "runs").is_dir() else root
    if not base.is_dir():
        raise RunError(f"{root}: no such folder. Check the path.")
    place = base / INDEX
    known, made_ns = _read(place)
    found: dict[str, dict[str, Any]] = {}
    changed = False
    for name in sorted(os.listdir(base)):
        key = _key(base / name)
        if key is None:
            continue
        entry = known.get(name)
        old = all(part is None or part[1] + _GRAIN_NS < made_ns for part in key)
        if entry is None or entry["key"] != key or not old:
            entry, changed = {"key": key, "run": asdict(_summary(base / name))}, True
        found[name] = entry
    if changed or set(found) != set(known):
        _write(place, found)
    return [RunSummary(**entry["run"]) for entry in found.values()]


def _key(path: Path) -> list[list[int] | None] | None:
    """Size, time and inode of each file of a run folder; None for another folder."""
    key: list[list[int] | None] = []
    for name in _WATCHED:
        try:
            seen = os.stat(f"{path}/{name}")
        except OSError:
            key.append(None)
        else:
            key.append([seen.st_size, seen.st_mtime_ns, seen.st_ino])
    return key if key[0] is not None or key[1] is not None else None


def _summary(path: Path) -> RunSummary:
    try:
        return _imported(path) if (path / SOURCE).is_file() else _own(path)
    except InputError as error:
        return RunSummary(
            run_id=path.name, tool="", name="", state="corrupt", n_params=None, n_tokens=None,
            loss=None, is_final=False, reason=str(error),
        )  # fmt: skip


def _own(path: Path) -> RunSummary:
    folder = RunFolder(path)
    config, status, last = folder.config(), folder.status(), folder.last()
    return RunSummary(
        run_id=path.name, tool="isoflop", name="", state=status.state,
        n_params=float(count_params(config.shape).under("active")),
        n_tokens=None if last is None else float(last.n_tokens),
        loss=None if last is None else last.loss,
        is_final=last is not None and last.kind == "final", reason=status.reason,
    )  # fmt: skip


def _imported(path: Path) -> RunSummary:
    run = ImportedFolder(path).read()
    tokens = run.points.get("n_tokens")
    losses = run.points.get("loss", run.points.get("bpb"))
    known = [] if losses is None else losses[losses < float("inf")].tolist()
    return RunSummary(
        run_id=path.name, tool=run.tool, name=run.name, state=run.state,
        n_params=next(iter(run.n_params.values()), None),
        n_tokens=float(tokens[-1]) if tokens is not None and tokens.size else None,
        loss=known[-1] if known else None, is_final=run.is_complete,
        reason="; ".join(run.problems[:1]),
    )  # fmt: skip


def _read(place: Path) -> tuple[Mapping[str, Any], int]:
    """The index and when it was made; nothing where it cannot be used."""
    try:
        made_ns = os.stat(place).st_mtime_ns
        data = json.loads(place.read_bytes())
        runs = data["runs"] if data["version"] == _VERSION else {}
        if data["sha256"] != _hash(runs):
            return {}, 0
        for entry in runs.values():
            RunSummary(**entry["run"])
            entry["key"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}, 0
    return runs, made_ns


def _write(place: Path, runs: Mapping[str, Any]) -> None:
    try:
        data = {"version": _VERSION, "sha256": _hash(runs), "runs": runs}
        write_json_atomically(place, data)
    except OSError:
        return  # a folder that may only be read is listed all the same


def _hash(runs: Mapping[str, Any]) -> str:
    """What a damaged or edited index has not."""
    return hashlib.sha256(json.dumps(runs, sort_keys=True).encode()).hexdigest()
