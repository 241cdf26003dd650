"""A user's hardware file: accelerators of their own, and prices and peaks amended."""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from isoflop._errors import InputError
from isoflop.accounting.hardware import ACCELERATORS, Accelerator, plain_name

_TEXTS = ("name", "price_date", "source", "note", "kind")
_REQUIRED = ("bf16_tflops", "memory_gb", "bandwidth_gbps")
_KINDS = ("GPU", "TPU", "ASIC", "CPU")
_KEYS = tuple(field.name for field in fields(Accelerator))


def read_hardware(path: str | Path) -> tuple[Accelerator, ...]:
    """The known accelerators with the `[[accelerators]]` rows of a TOML file added.

    A row named as a known accelerator amends it: keys that it leaves out stay as they are.
    Keys are the fields of `Accelerator`; a new one needs `bf16_tflops`, `memory_gb` and
    `bandwidth_gbps`. A price needs `price_low`, `price_high` and `price_date`.

    Raises:
        InputError: the file cannot be read or is not TOML; a key is unknown, missing, of the
            wrong type or not positive; two rows have one name.
    """
    path = Path(path)
    table = {plain_name(known.name): known for known in ACCELERATORS}
    seen: dict[str, int] = {}
    for number, row in enumerate(_rows(path), start=1):
        place = f"{path}: accelerators[{number}]"
        _check_types(row, place)
        name = plain_name(row["name"])
        if name in seen:
            raise InputError(
                f"{place}: name = {row['name']!r} is that of accelerators[{seen[name]}] already. "
                "Keep one of the two rows."
            )
        seen[name] = number
        _check_values(row, place)
        table[name] = _amended(table.get(name), row, path, place)
    return tuple(table.values())


def _rows(path: Path) -> Sequence[Mapping[str, Any]]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}). Name a hardware file.") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}. Mend the line.") from error
    for key in data:
        if key != "accelerators":
            raise InputError(
                f"{path}: unknown key {key}. A hardware file holds only [[accelerators]] rows."
            )
    rows = data.get("accelerators", [])
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: no [[accelerators]] row. Write one for each accelerator.")
    return rows


def _check_types(row: Mapping[str, Any], place: str) -> None:
    """Refuse unknown keys and values that are not of their key's type."""
    for key, value in row.items():
        if key not in _KEYS:
            raise InputError(f"{place}: unknown key {key}. Use some of: {', '.join(_KEYS)}.")
        wanted, what = (str, "a text") if key in _TEXTS else ((int, float), "a number")
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise InputError(f"{place}: {key} = {value!r} must be {what}. Correct the value.")
    if not plain_name(row.get("name", "")):
        raise InputError(f"{place}: the key name is missing or has no letters. Add it.")


def _check_values(row: Mapping[str, Any], place: str) -> None:
    """Refuse what no accelerator can have."""
    for key, value in row.items():
        if key not in _TEXTS and not (value > 0 and math.isfinite(value)):
            raise InputError(
                f"{place}: `{key} > 0` must hold, but got {key} = {value}. "
                "Correct it, or leave the key out where the value is not known."
            )
    if row.get("kind", "GPU") not in _KINDS:
        raise InputError(f"{place}: kind = {row['kind']!r}. Use one of: {', '.join(_KINDS)}.")
    if not isinstance(row.get("release", 2020), int):
        raise InputError(f"{place}: release = {row['release']!r} must be a year such as 2025.")
    given = [key for key in ("price_low", "price_high", "price_date") if row.get(key)]
    if given and len(given) < 3:
        raise InputError(
            f"{place}: a price needs price_low, price_high and price_date, "
            f"but got only {', '.join(given)}. Add the others; equal prices are fine."
        )
    if given and row["price_low"] > row["price_high"]:
        raise InputError(
            f"{place}: `price_low <= price_high` must hold, but got price_low = "
            f"{row['price_low']} and price_high = {row['price_high']}. Exchange them."
        )


def _amended(
    known: Accelerator | None, row: Mapping[str, Any], path: Path, place: str
) -> Accelerator:
    """A new accelerator, or `known` with the row's keys in place of its own."""
    if known is not None:
        source = row.get("source", f"{path.name}; {known.source}")
        return Accelerator(**{**asdict(known), **row, "name": known.name, "source": source})
    for key in _REQUIRED:
        if key not in row:
            raise InputError(f"{place}: the key {key} of {row['name']!r} is missing. Add it.")
    unpriced = {"price_low": None, "price_high": None, "price_date": "", "source": path.name}
    return Accelerator(**{**unpriced, **row})
