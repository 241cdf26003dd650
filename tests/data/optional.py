"""Packages that only some users install: a test without one skips, and fails in CI."""

import importlib.util
import os
import shutil

import pytest


def need_package(name: str) -> None:
    """Skip where the package is not installed; in CI it must be."""
    if importlib.util.find_spec(name) is None:
        _absent(f"the package {name} is not installed")


def need_program(name: str) -> None:
    """Skip where the program is not on the path; in CI it must be."""
    if shutil.which(name) is None:
        _absent(f"the program {name} is not here")


def _absent(text: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)
