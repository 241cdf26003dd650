"""SQLite files of others, opened so that nothing in them runs and nothing in them is changed."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from isoflop._errors import RunError
from isoflop.runs.readers.gathering import printable

MAGIC = b"SQLite format 3\0"
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
        try:
            yield connection
        finally:
            connection.close()
    # A damaged page may claim a value that no memory holds, a damaged schema be no UTF-8.
    except (sqlite3.Error, MemoryError, OverflowError, UnicodeDecodeError) as error:
        raise RunError(
            f"{printable(path)}: "
            f"the database cannot be read ({error}). If its tool is writing now, try "
            "again; if it is damaged, `sqlite3 FILE .recover` may mend a copy."
        ) from error


def _connect(path: Path) -> sqlite3.Connection:
    address = path.absolute().as_uri()
    connection = sqlite3.connect(f"{address}?mode=ro", uri=True, timeout=_WAIT_S)
    try:
        connection.execute("SELECT name FROM sqlite_master LIMIT 1").fetchall()
    except sqlite3.OperationalError:
        connection.close()
        # A log of writes beside a database in a folder where we may not write: without the log.
        connection = sqlite3.connect(f"{address}?mode=ro&immutable=1", uri=True)
    # Views, triggers and functions in a foreign schema are text of a stranger.
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE)
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    return connection


def columns_of(connection: sqlite3.Connection, table: str) -> set[str]:
    """Names of the columns of a plain table; of a view, a virtual or an absent table none."""
    query = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?"
    row = connection.execute(query, (table,)).fetchone()
    if row is None or not str(row[0]).upper().startswith("CREATE TABLE"):
        return set()
    query = "SELECT name FROM pragma_table_info(?)"
    return {str(name) for (name,) in connection.execute(query, (table,))}
