"""One driver at a time: a study is locked as long as a process works on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from isoflop._errors import StudyError
from isoflop._lock import hold


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold `folder/lock`, so that no other process works on the same study.

    Raises:
        StudyError: another process holds it, or the folder cannot be written.
    """
    with hold(
        folder / "lock",
        error=StudyError,
        busy=f"{folder}: another isoflop (process {{holder}}) is working on this study. "
        "Wait until it ends, or stop it.",
        denied=f"{folder}: cannot be written ({{reason}}). Name another folder with --into.",
    ):
        yield
