"""One driver at a time: a lock that ends with the process that holds it, however it ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from isoflop._errors import StudyError


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold `folder/lock`, so that no other process works on the same study.

    Raises:
        StudyError: another process holds it, or the folder cannot be written.
    """
    import fcntl  # POSIX: asked for only where processes are started

    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / "lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise StudyError(
            f"{folder}: cannot be written ({error.strerror}). Name another folder with --into."
        ) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.seek(0)
            holder = stream.read().strip() or "unknown"
            raise StudyError(
                f"{folder}: another isoflop (process {holder}) is working on this study. "
                "Wait until it ends, or stop it."
            ) from error
        stream.truncate(0)
        stream.write(f"{os.getpid()}\n")
        stream.flush()
        yield
