"""`Rows`: a table of strings, the form in which results reach the terminal and the page."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """One table: the first `text_columns` columns hold words, the others numbers."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int = 1

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.header) for row in self.rows), self.title
