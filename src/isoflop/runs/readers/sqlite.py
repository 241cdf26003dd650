"""SQLite files of others, opened so that nothing in them runs and nothing in them is changed."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from isoflop._errors import RunError
from isoflop.runs.readers.gathering import cannot_read, printable

MAGIC = b"SQLite format 3\0"
_LOGGED = b"\x02\x02"
"""Of a database in WAL mode, at byte 18."""
_MAX_VALUE = 1 << 24
_WAIT_S = 10.0


def is_sqlite(path: Path) -> bool:
    """Whether a file begins as SQLite's do."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def has_columns(path: Path, table: str, columns: set[str]) -> bool:
    """Whether a file is a database with such a table."""
    if not is_sqlite(path):
        return False
    try:
        with opened(path) as connection:
            return columns <= columns_of(connection, table)
    except RunError:
        return False


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that reads only; what goes wrong within is a RunError.

    Raises:
        RunError: no SQLite file, a damaged or a locked one.
    """
    if not is_sqlite(path):
        raise RunError(f"{printable(path)}: no SQLite file. Name the database that the tool wrote.")
    try:
        connection = _connect(path)
        with closing(connection):
            yield connection
    except OSError as error:
        raise cannot_read(path, error) from error
    # A damaged page may claim a value that no memory holds, a damaged schema be no UTF-8.
    except (sqlite3.Error, MemoryError, OverflowError, UnicodeDecodeError) as error:
        raise RunError(
            f"{printable(path)}: "
            f"the database cannot be read ({error}). If its tool is writing now, try "
            "again; if it is damaged, `sqlite3 FILE .recover` may mend a copy."
        ) from error


def _connect(path: Path) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode=ro"
    if _is_at_rest(path):
        address += "&immutable=1"
    connection = sqlite3.connect(address, uri=True, timeout=_WAIT_S)
    # Views, triggers and functions in a foreign schema are text of a stranger.
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE)
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    return connection


def _is_at_rest(path: Path) -> bool:
    """Whether a database keeps a log of writes, but nobody is writing.

    To read such a one SQLite would leave two new files beside it, or fail where it may not.
    """
    with path.open("rb") as stream:
        head = stream.read(20)
    return head[18:20] == _LOGGED and not path.with_name(f"{path.name}-wal").exists()


def columns_of(connection: sqlite3.Connection, table: str) -> set[str]:
    """Names of the columns of a plain table; of a view, a virtual or an absent table none."""
    query = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?"
    row = connection.execute(query, (table,)).fetchone()
    if row is None or not str(row[0]).upper().startswith("CREATE TABLE"):
        return set()
    query = "SELECT name FROM pragma_table_info(?)"
    return {str(name) for (name,) in connection.execute(query, (table,))}
