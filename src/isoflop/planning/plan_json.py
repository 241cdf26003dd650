"""Plans as JSON and back: what is written is read as the same dataclasses."""

import json
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from math import inf
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from isoflop._errors import InputError
from isoflop.planning.plan import PLAN_VERSION, Plan


def read_plan(path: str | Path) -> Plan:
    """The plan of `plans/plan.json`, or of what `isoflop plan --json` printed.

    Raises:
        InputError: no such file, no JSON, no plan, or one of another version.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}. Name a file that isoflop plan has written.") from error
    if isinstance(data, dict) and data.get("verb") == "plan":
        data = data.get("result")
    return plan_from_json(data, str(path))


def plan_from_json(data: Any, place: str = "plan") -> Plan:
    """The plan of `Plan.to_json`; a bound of None is infinite again.

    Raises:
        InputError: not a plan, of another version, or with a key missing or of the wrong kind.
    """
    if not isinstance(data, dict) or data.get("version") != PLAN_VERSION:
        version = data.get("version") if isinstance(data, dict) else None
        raise InputError(
            f"{place}: `version` must be {PLAN_VERSION}, but got {version}. Make the plan again."
        )
    content = {key: value for key, value in data.items() if key not in ("version", "usable")}
    try:
        return _read(Plan, content)  # type: ignore[no-any-return]
    except (TypeError, ValueError, KeyError, AttributeError, AssertionError) as error:
        raise InputError(f"{place}: {error}. Make the plan again.") from error


def _read(kind: Any, value: Any) -> Any:
    """`value` as the annotated type `kind`."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        return _read(next(one for one in inner if one is not type(None)), value)
    if is_dataclass(kind):
        return _record(kind, value)
    if origin is tuple:
        ends = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(_read(one, item) for one, item in zip(ends, value, strict=True))
    if origin is not None and isinstance(value, Mapping):
        return {key: _read(inner[1], item) for key, item in value.items()}
    if kind is float:
        return inf if value is None else float(value)
    return value


def _record(kind: Any, value: Mapping[str, Any]) -> Any:
    hints = get_type_hints(kind)
    known = {field.name for field in fields(kind)}
    unknown = sorted(set(value) - known)
    if unknown:
        raise ValueError(f"{kind.__name__} has no key {unknown[0]!r}")
    return kind(**{name: _read(hints[name], item) for name, item in value.items()})
