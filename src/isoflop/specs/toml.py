"""Reading `study.toml` strictly: an unknown key, a wrong type or an impossible value is refused."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from isoflop._errors import StudyError
from isoflop.specs.study import StudyConfig

_Kind = TypeVar("_Kind")


def read_study(path: str | Path, *, overrides: Sequence[str] = ()) -> StudyConfig:
    """The study of a TOML file, with `a.b=value` overrides applied (values in TOML syntax).

    Raises:
        StudyError: file missing or not TOML; unknown key; wrong type; impossible value.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(
            f"{path}: cannot be read ({error}). Write one with `isoflop init {path}`."
        ) from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{path}: not valid TOML: {error}. Mend the line.") from error
    for override in overrides:
        _apply_override(data, override)
    return study_from_mapping(data, place=study_place(path, overrides))


def study_place(path: Path, overrides: Sequence[str]) -> str:
    """How errors name a study file and what was set on top of it."""
    return " ".join([str(path), *(f"--set {override}" for override in overrides)])


def study_from_mapping(data: Mapping[str, Any], *, place: str = "study") -> StudyConfig:
    """The study that plain data describes; `place` names it in errors.

    Raises:
        StudyError: unknown key, wrong type or impossible value, with the key's path.
    """
    return validated(StudyConfig, data, place=place, whole="study", page="docs/formats.md")


def validated(
    kind: type[_Kind], data: Mapping[str, Any], *, place: str, whole: str, page: str
) -> _Kind:
    """The record of that kind that plain data describes; errors name `place` and the key.

    Raises:
        StudyError: unknown key (`page` lists them), wrong type or impossible value.
    """
    from pydantic import TypeAdapter, ValidationError  # 0.1 s: only for those who read a study

    try:
        return TypeAdapter(kind).validate_python(data)
    except ValidationError as error:
        # A value is more telling than the error it causes one level up: report the deepest.
        first = max(error.errors(), key=lambda item: len(item["loc"]))
        key = ".".join(str(part) for part in first["loc"]) or whole
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, StudyError):
            raise StudyError(f"{place}: {cause}") from None
        if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            raise StudyError(
                f"{place}: unknown key {key}. Remove it, or see {page} for the keys."
            ) from None
        if first["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
            raise StudyError(f"{place}: the key {key} is missing. Add it.") from None
        raise StudyError(
            f"{place}: {key} = {first['input']!r}: {first['msg'].lower()}. Correct the value."
        ) from None


def _apply_override(data: dict[str, Any], override: str) -> None:
    """Set the key of `a.b=value`; the value is TOML, or else a bare word."""
    key, separator, text = (part.strip() for part in override.partition("="))
    if not separator or not all(key.split(".")):
        raise StudyError(f"--set {override!r}: write it as a.b=value.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string: --set plan.hardware=H100-SXM
    node = data
    *parents, last = key.split(".")
    for parent in parents:
        child = node.setdefault(parent, {})
        if not isinstance(child, dict):
            raise StudyError(f"--set {override!r}: {parent} is not a section of the study.")
        node = child
    node[last] = value
