"""What only some machines have: a test without it skips with a word why, and fails in CI."""

import importlib.util
import os
import shutil

import pytest


def absent(what: str) -> None:
    """Skip the test, or fail it where all must be there."""
    if os.environ.get("CI") or os.environ.get("ISOFLOP_ENGINES") == "required":
        pytest.fail(f"{what}: in CI it must be there")
    pytest.skip(what)


def need_package(name: str, extra: str) -> None:
    """A package that an extra of isoflop brings."""
    if importlib.util.find_spec(name) is None:
        absent(f"the package {name} is not installed (pip install 'isoflop[{extra}]')")


def need_program(name: str, debian: str) -> None:
    """A program that packages of Debian bring."""
    if shutil.which(name) is None:
        absent(f"the program {name} is not here (apt-get install {debian})")
