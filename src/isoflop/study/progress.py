"""Progress of the long stages: a Rich bar with an ETA on stderr, or nothing."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

Stage = Callable[[float, str], None]
"""Called with (share done, what is being done)."""


def silent(_share: float, _label: str) -> None:
    """Report nothing."""


@contextmanager
def stage_bar(console: Console | None, title: str) -> Iterator[Stage]:
    """A bar for one stage.

    The ETA is (work left) · (time taken / work done) since this process began: work done by an
    earlier, interrupted process says nothing about how fast this one is.
    """
    if console is None:
        yield silent
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("eta {task.fields[eta]}  {task.fields[label]}", markup=False),
    )
    with Progress(*columns, console=console, transient=False) as progress:
        task = progress.add_task(title, total=1.0, eta="?", label="")
        began, first = time.monotonic(), -1.0

        def report(share: float, label: str) -> None:
            nonlocal first
            first = share if first < 0 else first
            eta = _eta(time.monotonic() - began, share - first, 1.0 - share)
            progress.update(task, completed=share, eta=eta, label=label)

        yield report
        progress.update(task, completed=1.0, eta="0 s", label="")


def _eta(elapsed: float, done: float, left: float) -> str:
    if left <= 0:
        return "0 s"
    if done < 0.01:
        return "?"
    seconds = elapsed / done * left
    return f"{seconds / 60:.0f} min" if seconds > 120 else f"{seconds:.0f} s"
