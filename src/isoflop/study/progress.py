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

_LINE_EVERY_S = 30.0

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
    if not console.is_terminal:
        yield _lines(console, title)
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
        clock = _Clock()

        def report(share: float, label: str) -> None:
            progress.update(task, completed=share, eta=clock.eta(share), label=label)

        yield report
        progress.update(task, completed=1.0, eta="0 s", label="")


class _Clock:
    """Time left by the speed of this process."""

    def __init__(self) -> None:
        self.began, self.first = time.monotonic(), -1.0

    def eta(self, share: float) -> str:
        self.first = share if self.first < 0 else self.first
        return _eta(time.monotonic() - self.began, share - self.first, 1.0 - share)


def _lines(console: Console, title: str) -> Stage:
    """A line now and then, for logs: a bar would be a page of control characters, or nothing."""
    clock, said = _Clock(), -_LINE_EVERY_S

    def report(share: float, label: str) -> None:
        nonlocal said
        eta, now = clock.eta(share), time.monotonic() - clock.began
        if now - said >= _LINE_EVERY_S:
            said = now
            console.print(f"{title}: {share:.0%}, eta {eta}, {label}", markup=False)

    return report


def _eta(elapsed: float, done: float, left: float) -> str:
    if left <= 0:
        return "0 s"
    if done < 0.01:
        return "?"
    seconds = elapsed / done * left
    return f"{seconds / 60:.0f} min" if seconds > 120 else f"{seconds:.0f} s"
