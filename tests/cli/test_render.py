"""Numbers and names as the tables show them."""

import pytest
from rich.console import Console

from isoflop.cli.render import duration, si, table_of


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (12, "12"), (999_936, "1M"), (1_234_567, "1.23M"), (7e10, "70B"), (6e23, "6e+23")],
)
def test_counts(value, text):
    assert si(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89, "89 s"), (120, "2.0 min"), (7200, "2.0 h"), (864_000, "10.0 d")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_cells_are_no_markup():
    console = Console(width=80)
    with console.capture() as captured:
        console.print(table_of("[b]title[/b]", ("a",), [("[red]cell[/red]",)]))
    assert "[red]cell[/red]" in captured.get()
    assert "[b]title[/b]" in captured.get()
