"""Every problem code of the table is one that something can say."""

from pathlib import Path

import pytest

import isoflop
from isoflop._types import PROBLEM_CODES

ROOT = Path(isoflop.__file__).parent
SOURCE = "\n".join(
    path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py") if path.name != "_types.py"
)


@pytest.mark.parametrize("code", PROBLEM_CODES)
def test_code_occurs_in_the_source(code: str) -> None:
    assert f'"{code}"' in SOURCE
