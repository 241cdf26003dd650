"""What lies in a folder: which kinds of sources, told by content, and the runs of each."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from isoflop._errors import InputError, MissingExtraError, RunError
from isoflop.runs.foreign import ForeignRun
from isoflop.runs.imported import SOURCE
from isoflop.runs.presets import is_known
from isoflop.runs.readers import READERS, SERVERS
from isoflop.runs.tables import KIND, has_losses, is_table, read_table

_MOST_ENTRIES = 1_000_000
"""A folder with more is not a folder of runs."""
_SKIPPED = (".git", ".venv", "__pycache__", "node_modules")
_TRACKERS = ("wandb", "mlruns", "mlartifacts", "checkpoint-", "trackio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One thing that a reader reads."""

    kind: str
    path: Path
    root: Path
    """What the user named: `path` or a folder above it."""
    server: str = ""
    """What follows the colon of `wandb:ENTITY/PROJECT`, in place of a path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadSource:
    """A source that could not be read, and why; the others are read all the same."""

    place: str
    reason: str


def on_server(text: str) -> Source | None:
    """The source that `wandb:ENTITY/PROJECT` or `mlflow:ADDRESS` names; None for a path."""
    kind, sign, rest = text.partition(":")
    if not sign or kind not in SERVERS or os.path.exists(text):
        return None
    return Source(kind=kind, path=Path(), root=Path(), server=rest)


def find_sources(root: Path, columns: Mapping[str, str] | None = None) -> list[Source]:
    """Every source at or below `root`: what each reader finds there, and tables of no tracker's.

    Of tables in a folder those that have a loss by name, or by what the user says of `columns`.

    Raises:
        RunError: nothing there, nothing that is known, or too much to be a folder of runs.
    """
    if not root.exists():
        raise RunError(f"{root}: no such folder or file. Check the path.")
    if not os.access(root, os.R_OK):
        raise RunError(f"{root}: may not be read. Ask for the right to, or copy it.")
    if any(map(is_store, (root, *root.glob("*"), *root.glob("runs/*")))):
        raise RunError(f"{root}: holds runs of isoflop's already. To write them as a table: --to.")
    kinds = [kind for kind, reader in READERS.items() if reader.sniff(root)]
    found = [Source(kind=kind, path=root, root=root) for kind in kinds]
    if root.is_dir():
        found += [Source(kind=KIND, path=path, root=root) for path in _tables(root, columns or {})]
    elif not found and is_table(root):
        found.append(Source(kind=KIND, path=root, root=root))
    if not found:
        names = ", ".join((*READERS, "CSV, JSON lines or Parquet tables"))
        raise RunError(f"{root}: nothing in it is known. It may hold: {names}.")
    return found[:1] if root.is_file() else found


def read_source(
    source: Source, columns: Mapping[str, str], *, home: Path
) -> Iterator[ForeignRun | BadSource]:
    """The runs of a source, with places and ids that stay when folders move together.

    Args:
        source: what to read.
        columns: what the user says of its names, for tables.
        home: what paths that serve as ids are relative to.
    """
    try:
        if source.server:
            wanted = partial(is_known, columns=columns)
            runs = SERVERS[source.kind](source.server, cache_folder(), wanted)
        elif source.kind == KIND:
            runs = read_table(source.path, columns)
        else:
            runs = READERS[source.kind].read(source.path)
        for run in runs:
            shown = _shown(run.place, source)
            if run.problems and not (run.series or run.summary or run.config):
                yield BadSource(place=shown, reason=run.problems[0])
                continue
            yield replace(run, place=shown, run_id=_portable(run.run_id, home))
    except OSError as error:
        reason = f"cannot be read ({error.strerror}). Check it."
        yield BadSource(place=_shown(str(source.path), source), reason=reason)
    except (InputError, MissingExtraError) as error:
        place = f"{source.kind}:{source.server}" if source.server else str(source.path)
        yield BadSource(place=_shown(place, source), reason=str(error))


def _tables(root: Path, columns: Mapping[str, str]) -> Iterator[Path]:
    """Tables below a folder, but for those that trackers made for themselves."""
    seen = 0
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not _is_skipped(name))
        seen += 1 + len(names)
        if is_store(Path(folder)):
            continue
        if seen > _MOST_ENTRIES:
            raise RunError(f"{root}: more than {_MOST_ENTRIES} files. Name the folder of the runs.")
        for path in (Path(folder, name) for name in sorted(names)):
            if is_table(path) and has_losses(path, columns):
                yield path


def cache_folder() -> Path:
    """Where what servers said is kept: `isoflop/trackers` in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "isoflop" / "trackers"


def is_store(folder: Path) -> bool:
    """Whether a folder is a run's in the store: other tools have a config.json too."""
    if (folder / SOURCE).is_file():
        return True
    try:
        data = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(data, dict) and "version" in data and "model_type" not in data


def _is_skipped(name: str) -> bool:
    return name in _SKIPPED or name.startswith(_TRACKERS)


def _shown(place: str, source: Source) -> str:
    """A place as the user sees it, from the name of what he gave on."""
    outside = str(source.root.parent.resolve())
    for above in (str(source.root.parent), outside):
        if above not in ("", ".") and place.startswith(above + os.sep):
            return place[len(above) + 1 :]
    return place


def _portable(run_id: str, home: Path) -> str:
    """An id that is a path, relative to where the study is; any other as it is."""
    path, sign, rest = run_id.partition("#")
    if not path or not os.path.exists(path):
        return run_id
    return Path(os.path.relpath(Path(path).resolve(), home.resolve())).as_posix() + sign + rest
