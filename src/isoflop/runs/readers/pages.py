"""Pages of a series as a server gave them, kept on disk so that nothing is fetched twice.

One file a series: a line of JSON a page, appended once it is whole. Names of files are hashes:
what a server calls its runs and metrics never becomes a path.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from isoflop._errors import RunError
from isoflop.runs.readers.gathering import cannot_read, parse_json


class Page(NamedTuple):
    """Points [step, value] of all steps from `begin` on and before `end`."""

    begin: int
    end: int
    points: list[list[Any]]


@dataclass(frozen=True, slots=True)
class PageStore:
    """The pages of one series."""

    path: Path

    @staticmethod
    def of(cache: Path, *names: str) -> "PageStore":
        """The pages of the series that the names tell: server, project, run, metric."""
        digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()
        return PageStore(cache / digest[:2] / f"{digest[2:32]}.jsonl")

    def read(self) -> list[Page]:
        """Whole pages that follow one another; a torn last one is as if never fetched.

        Raises:
            RunError: the file cannot be read.
        """
        pages: list[Page] = []
        try:
            lines = self.path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise cannot_read(self.path, error) from error
        for line in lines:
            page = _page(line)
            if page is None or page.begin != (pages[-1].end if pages else 0):
                break
            pages.append(page)
        return pages

    def append(self, page: Page, kept: int) -> None:
        """Write a page after the `kept` ones that were read.

        Raises:
            RunError: the file cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as stream:
                stream.seek(0)
                for _ in range(kept):
                    stream.readline()
                stream.truncate()
                stream.write(json.dumps(page).encode() + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise RunError(
                f"{self.path}: the cache cannot be written ({error.strerror}). Free the disk, or "
                "name another folder."
            ) from error


def _page(line: bytes) -> Page | None:
    if not line.endswith(b"\n"):
        return None
    try:
        begin, end, points = parse_json(line)
        whole = all(isinstance(step, int) for step in (begin, end, *(step for step, _ in points)))
    except (ValueError, TypeError):
        return None
    return Page(begin, end, points) if whole else None
