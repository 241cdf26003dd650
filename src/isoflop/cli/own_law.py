"""A law of one's own on the command line: `--law FILE.py:FUNCTION` runs that file.

Naming a Python file is the consent to run it; a mere name is never looked for among modules.
"""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from isoflop._errors import InputError

_FAILURES = (SyntaxError, ImportError, NameError, AttributeError, TypeError, ValueError, OSError)


def is_own(law: str) -> bool:
    """Whether the text names a function in a file rather than a law."""
    return ".py:" in law or law.endswith(".py")


def law_named(law: str) -> str | Callable[..., Any]:
    """The name of a law as it is, or the function that `FILE.py:FUNCTION` names.

    Raises:
        InputError: as `own_function`.
    """
    return own_function(law) if is_own(law) else law


def own_function(law: str) -> Callable[..., Any]:
    """The function that `FILE.py:FUNCTION` names.

    Raises:
        InputError: no such file or function, or the file does not run.
    """
    place, _, name = law.rpartition(":")
    if not place or not name.isidentifier():
        raise InputError(
            f"--law must be FILE.py:FUNCTION, but got {law}. Name the function, e.g. laws.py:mine."
        )
    path = Path(place)
    if not path.is_file():
        raise InputError(f"--law {law}: there is no file {path}. Give the path of a Python file.")
    function = getattr(_run(path, law), name, None)
    if not callable(function):
        raise InputError(f"--law {law}: {path} has no function {name}. Define it at top level.")
    return function  # type: ignore[no-any-return]


def _run(path: Path, law: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"--law {law}: {path} is no Python file. Give the path of one.")
    module = importlib.util.module_from_spec(spec)
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    except _FAILURES as error:
        raise InputError(
            f"--law {law}: {path} does not run: {type(error).__name__}: {error}. Correct it."
        ) from error
    finally:
        sys.dont_write_bytecode = written
    return module
