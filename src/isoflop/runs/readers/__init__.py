"""Readers of trackers' files: each yields what the tool recorded, before anything is understood."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from isoflop.runs.foreign import ForeignRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """One kind of source: whether a path is one, and its runs."""

    kind: str
    sniff: Callable[[Path], bool]
    read: Callable[[Path], Iterator[ForeignRun]]


READERS: dict[str, Reader] = {}
