"""Two streams: what a program reads goes to stdout, what a person reads along goes to stderr.

Without `--json` the result is text on stdout; with it stdout carries exactly one JSON object
`{"ok", "verb", "result", "problems"}` and everything human goes to stderr. Progress is on stderr
in both cases.
"""

import dataclasses
import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from isoflop._types import Problem

WIDTH_WITHOUT_TERMINAL = 120


class Output:
    """Where one verb writes; `as_json` chooses the form of its result."""

    def __init__(self, verb: str, *, as_json: bool) -> None:
        self.verb = verb
        self.as_json = as_json

    @cached_property
    def progress(self) -> "Console":
        """The console for progress and remarks: always stderr."""
        from rich.console import Console

        return Console(stderr=True)

    @cached_property
    def result(self) -> "Console":
        """The console for the result as people read it."""
        from rich.console import Console

        stream = sys.stderr if self.as_json else sys.stdout
        # A file or pipe has no width of its own: 80 columns would fold every wide table.
        width = None if stream.isatty() or "COLUMNS" in os.environ else WIDTH_WITHOUT_TERMINAL
        return Console(stderr=self.as_json, width=width)

    def show(self, *renderables: "RenderableType") -> None:
        """Print the result for people; strings are printed as they are, brackets and all."""
        for item in renderables:
            plain_text = isinstance(item, str)
            # Markup stays on for tables: their cells were escaped when they were made.
            self.result.print(item, markup=not plain_text, highlight=False, soft_wrap=plain_text)

    def finish(
        self, result: Any, problems: "Iterable[Problem]" = (), *, forced: bool = False
    ) -> int:
        """Write the JSON object if asked for and give the verb's exit code.

        3 when a problem disqualifies the result (unless `forced`), else 0.
        """
        problems = tuple(problems)
        if self.as_json:
            _print_object(self.verb, ok=True, result=result, problems=problems)
        disqualified = any(problem.severity == "disqualifying" for problem in problems)
        return 3 if disqualified and not forced else 0


def print_failure(argv: Sequence[str], text: str) -> None:
    """One line `error: ...` on stderr; with `--json` the object on stdout as well."""
    line = " ".join(text.split())
    sys.stderr.write(f"error: {line}\n")
    if "--json" in argv:
        verb = next((word for word in argv if not word.startswith("-")), "")
        _print_object(verb, ok=False, result=None, problems=(), error=line)


def _print_object(verb: str, *, ok: bool, **rest: Any) -> None:
    text = json.dumps(plain({"ok": ok, "verb": verb, **rest}), allow_nan=False)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def plain(value: Any) -> Any:
    """`value` as JSON data: records become objects, arrays lists, paths text, NaN and inf null."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "to_json"):
        return plain(value.to_json())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "tolist"):  # NumPy arrays and scalars, without importing NumPy
        return plain(value.tolist())
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return str(value)
