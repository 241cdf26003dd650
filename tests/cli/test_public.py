"""The public names of the package: exact, sorted, all there."""

import tomllib
from pathlib import Path

import pytest

import isoflop


def test_all_is_sorted_and_exact():
    def constants_then_classes_then_functions(name):
        return (not name.isupper(), not name[0].isupper(), name)

    assert isoflop.__all__ == sorted(isoflop.__all__, key=constants_then_classes_then_functions)
    assert set(isoflop.__all__) == set(isoflop._HOME_OF)
    assert set(isoflop.__all__) <= set(dir(isoflop))


@pytest.mark.parametrize("name", isoflop.__all__)
def test_name_loads_from_its_room(name):
    import importlib

    home = importlib.import_module(isoflop._HOME_OF[name])
    assert getattr(isoflop, name) is getattr(home, name)
    assert home.__name__.startswith("isoflop._") or name in home.__all__


def test_unknown_name():
    with pytest.raises(AttributeError, match="no_such_name"):
        isoflop.no_such_name  # noqa: B018


def test_version_is_that_of_the_package():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert isoflop.__version__ == project["version"]
