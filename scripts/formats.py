"""Writes the generated parts of docs/formats.md: keys of study.toml and problem codes.

`python scripts/formats.py` rewrites the file; `--check` only compares and exits with 1 if it is
out of date. Text between the markers is generated from the dataclasses; the rest is by hand.
"""

import ast
import collections.abc
import dataclasses
import inspect
import sys
import textwrap
import typing
from pathlib import Path
from typing import Any

from isoflop._types import PROBLEM_CODES
from isoflop.specs import StudyConfig

PAGE = Path(__file__).resolve().parent.parent / "docs" / "formats.md"


def main() -> int:
    """Rewrite or check the page; exit code."""
    old = PAGE.read_text(encoding="utf-8")
    new = page(old)
    if "--check" in sys.argv:
        if new != old:
            sys.stderr.write(f"{PAGE}: out of date. Run: python scripts/formats.py\n")
        return int(new != old)
    PAGE.write_text(new, encoding="utf-8")
    return 0


def page(text: str) -> str:
    """`text` with its generated parts made anew."""
    text = _replaced(text, "study keys", study_keys())
    return _replaced(text, "problem codes", problem_codes())


def study_keys() -> str:
    """One table a section of study.toml: key, type, default, meaning."""
    parts = []
    for heading, section in _sections("", StudyConfig):
        rows = [f"### `{heading or 'top of the file'}`", "", _first_line(section), ""]
        rows += ["| key | type | default | meaning |", "|---|---|---|---|"]
        meanings = _meanings(section)
        for field in dataclasses.fields(section):
            if _section_of(field.type) is not None:
                continue
            cells = (f"`{field.name}`", f"`{_type(field.type)}`", _default(field))
            rows.append(f"| {' | '.join(cells)} | {meanings.get(field.name, '')} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def problem_codes() -> str:
    """The table of problem codes."""
    rows = ["| code | meaning |", "|---|---|"]
    rows += [f"| `{code}` | {meaning} |" for code, meaning in PROBLEM_CODES.items()]
    return "\n".join(rows)


def _sections(path: str, section: type, *, listed: bool = False) -> list[tuple[str, type]]:
    """Each section with its heading in TOML; of a list of sections the heading of one."""
    heading = f"[[{path}]]" if listed else f"[{path}]" if path else ""
    found = [(heading, section)]
    for field in dataclasses.fields(section):
        child = _section_of(field.type)
        if child is not None:
            listed = typing.get_origin(field.type) is tuple
            found += _sections(f"{path}.{field.name}".lstrip("."), child, listed=listed)
    return found


def _section_of(annotation: Any) -> type | None:
    for candidate in (annotation, *typing.get_args(annotation)):
        if isinstance(candidate, type) and dataclasses.is_dataclass(candidate):
            return candidate
    return None


def _first_line(section: type) -> str:
    return " ".join(inspect.cleandoc(section.__doc__ or "").split("\n\n")[0].split())


def _type(annotation: Any) -> str:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    if typing.get_origin(annotation) is typing.Literal:
        return " or ".join(repr(value) for value in typing.get_args(annotation))
    if typing.get_origin(annotation) is tuple:
        return f"list of {_type(typing.get_args(annotation)[0])}"
    if typing.get_origin(annotation) is collections.abc.Mapping:
        return f"table of {_type(typing.get_args(annotation)[1])}"
    kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
    return " or ".join(_type(kind) for kind in kinds)


def _default(field: "dataclasses.Field[Any]") -> str:
    if field.default is dataclasses.MISSING:
        return "required"
    if field.default is None:
        return "none"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    return f"`{field.default!r}`"


def _meanings(section: type) -> dict[str, str]:
    """The string under each field, as written in the source."""
    body = ast.parse(textwrap.dedent(inspect.getsource(section))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            found[field.target.id] = " ".join(str(text.value.value).split()).replace("|", "\\|")
    return found


def _replaced(text: str, name: str, content: str) -> str:
    begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise SystemExit(f"{PAGE}: needs the markers {begin} and {end} once each.")
    head, rest = text.split(begin)
    return f"{head}{begin}\n{content}\n{end}{rest.split(end)[1]}"


if __name__ == "__main__":
    sys.exit(main())
