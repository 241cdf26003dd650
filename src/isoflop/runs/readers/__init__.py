"""Readers of what other tools recorded: files and folders here, servers in their own modules.

What to use when:
- `READERS`: by kind; `sniff` says whether a path is of the kind, `read` yields its runs.

A reader understands no metric's name and no unit, imports none of the tools, runs nothing that a
file holds and contacts nobody.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from isoflop.runs.foreign import ForeignRun
from isoflop.runs.readers import mlflow, tensorboard, wandb


@dataclass(frozen=True, slots=True)
class Reader:
    """How runs of one tool are found and read.

    `read` raises RunError where the path itself is none of the tool's; what is wrong within is
    among the `problems` of its run.
    """

    kind: str
    sniff: Callable[[Path], bool]
    read: Callable[[Path], Iterator[ForeignRun]]


_ALL = tuple(
    Reader(module.TOOL, module.sniff, module.read) for module in (wandb, tensorboard, mlflow)
)

READERS: dict[str, Reader] = {reader.kind: reader for reader in _ALL}
"""Every reader of files by its kind; where a folder is of several kinds, the first tells most."""

__all__ = ["READERS", "Reader"]
