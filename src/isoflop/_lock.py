"""One process at a time: a lock that ends with the process that holds it, however it ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from isoflop._errors import InputError


@contextmanager
def hold(path: Path, *, error: type[InputError], busy: str, denied: str) -> Iterator[None]:
    """Hold the lock file `path`, so that no other process does the same work.

    Args:
        path: the file; made if it is not there, its folder too.
        error: what is raised.
        busy: what to say where another process holds it; `{holder}` is its id.
        denied: what to say where the file cannot be written; `{reason}` is why.

    Raises:
        InputError: another process holds it, or it cannot be written.
    """
    import fcntl  # POSIX: asked for only where work is to be done

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+", encoding="utf-8")
    except OSError as cause:
        raise error(denied.replace("{reason}", str(cause.strerror))) from cause
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            stream.seek(0)
            holder = stream.read().strip() or "unknown"
            raise error(busy.replace("{holder}", holder)) from cause
        stream.truncate(0)
        stream.write(f"{os.getpid()}\n")
        stream.flush()
        yield
