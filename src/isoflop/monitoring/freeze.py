"""`watch.json`: the forecast of a run, hashed and written once, before the curve it judges."""

import hashlib
import json
import os
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from isoflop import __version__
from isoflop._errors import InputError, RunError
from isoflop.monitoring.band import Band
from isoflop.runs.folder import read_json

WATCH_FILE = "watch.json"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A forecast as it lies on disk: nobody can move it once the run is under way."""

    band: Band
    level: float
    """Share of healthy runs that may ring, fixed with the forecast."""
    seed: int
    begun_tokens: float
    """Tokens that the run had seen when the forecast was written; 0 before its start."""
    isoflop: str
    """Version that made it."""
    sha256: str


def seal(band: Band, *, level: float = 0.05, seed: int = 0, begun_tokens: float = 0.0) -> Frozen:
    """A forecast with its hash, written nowhere: what a look back at a finished run takes.

    Raises:
        InputError: `0 < level < 1` does not hold.
    """
    if not 0 < level < 1:
        raise InputError(f"`0 < level < 1` must hold, but got level={level}. Use e.g. 0.05.")
    made = Frozen(
        band=band,
        level=float(level),
        seed=int(seed),
        begun_tokens=float(begun_tokens),
        isoflop=__version__,
        sha256="",
    )
    return replace(made, sha256=_digest(_body(made)))


def freeze(
    place: Path, band: Band, *, level: float = 0.05, seed: int = 0, begun_tokens: float = 0.0
) -> Frozen:
    """Write the forecast to `place` (a file, or a run folder), hashed; never over another.

    Raises:
        RunError: a forecast lies there already, or the place cannot be written.
        InputError: `0 < level < 1` does not hold.
    """
    made = seal(band, level=level, seed=seed, begun_tokens=begun_tokens)
    data = {**_body(made), "sha256": made.sha256}
    path = watch_path(place)
    _write_once(path, json.dumps(data, indent=1, sort_keys=True) + "\n")
    return read_frozen(path)


def _body(made: Frozen) -> dict[str, Any]:
    """What is hashed."""
    return {
        "version": VERSION,
        "isoflop": made.isoflop,
        "level": made.level,
        "seed": made.seed,
        "begun_tokens": made.begun_tokens,
        "forecast": made.band.to_json(),
    }


def read_frozen(place: Path) -> Frozen:
    """The forecast at `place` (a file, or a run folder), its hash checked.

    Raises:
        RunError: missing or not JSON.
        InputError: not a forecast, of a later version, or changed after it was written.
    """
    path = watch_path(place)
    remedy = "Restore it: a forecast made now would have seen the run."
    data = read_json(path, remedy=remedy)
    if not isinstance(data, dict) or data.get("version") != VERSION:
        found = data.get("version") if isinstance(data, dict) else type(data).__name__
        raise InputError(f"{path}: version {found!r} is not known. Read it with a newer isoflop.")
    body = {key: value for key, value in data.items() if key != "sha256"}
    try:
        digest = _digest(body)
    except ValueError as error:  # NaN and inf, which Python reads and nobody wrote
        raise InputError(f"{path}: holds what is no number ({error}). {remedy}") from error
    if digest != data.get("sha256"):
        raise InputError(
            f"{path}: was changed after it was frozen: its sha256 is {data.get('sha256')}, its "
            f"content's {digest}. {remedy}"
        )
    try:
        return Frozen(
            band=Band.from_json(data["forecast"]),
            level=float(data["level"]),
            seed=int(data["seed"]),
            begun_tokens=float(data["begun_tokens"]),
            isoflop=str(data["isoflop"]),
            sha256=digest,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a frozen forecast ({error}). {remedy}") from error


def watch_path(place: Path) -> Path:
    """Where the forecast of a run folder lies; a file is taken as it is."""
    return place / WATCH_FILE if place.is_dir() else place


def _write_once(path: Path, text: str) -> None:
    """All of the text under a name that was free, or an error: of two writers one wins."""
    # A name of its own for every writer: threads of one process are writers, too.
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.link(temporary, path)
    except FileExistsError:
        raise RunError(
            f"{path}: a forecast is frozen there already. It is kept; watch the run with it, or "
            "name another place."
        ) from None
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror}). Name another place.") from (
            error
        )
    finally:
        temporary.unlink(missing_ok=True)


def _digest(body: dict[str, Any]) -> str:
    """SHA-256 of the canonical JSON: sorted keys, no spaces, shortest exact floats."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
