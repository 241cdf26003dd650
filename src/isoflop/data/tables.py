"""Documents in a column of a table: CSV, TSV, Parquet, and the Arrow files of saved data sets.

Rows are read a batch at a time; names are `file:row`, rows counted from 1 as a reader counts them.
"""

import csv
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from isoflop._errors import DataError, MissingExtraError
from isoflop.data.documents import Document, make_document
from isoflop.data.kinds import Reading
from isoflop.data.lines import bounded_lines

BATCH_ROWS = 256
"""Rows decoded at most at once: more is not faster."""
_END_MARKS = (b"\xff\xff\xff\xff\0\0\0\0", b"\0\0\0\0")
"""Of an Arrow stream; the short one is that of Arrow before 0.15."""


def read_csv(path: Path, name: str, reading: Reading, delimiter: str) -> Iterator[Document]:
    """One document a row, from the column that the header calls `reading.text_column`.

    Raises:
        DataError: no such column, a row of more or fewer fields than the header, or quotes that
            do not close; names the line.
    """
    # The module's own limit is global and smaller than a document: it is raised, never lowered.
    csv.field_size_limit(max(csv.field_size_limit(), reading.max_bytes))
    with path.open("rb") as stream:
        # Bytes that are not UTF-8 pass as surrogates, so that they are found out and marked.
        lines = (
            raw.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape")
            for number, raw in bounded_lines(stream, path, reading.max_bytes)
        )
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        begin = 1
        try:
            header = next(rows, [])
            column = _position(path, header, reading.text_column)
            begin = rows.line_num + 1
            for number, row in enumerate(rows, start=1):
                if not row:  # an empty line
                    begin = rows.line_num + 1
                    continue
                # A field too many is a delimiter without quotes: the rest of a text would be lost.
                if len(row) != len(header):
                    raise DataError(
                        f"{path}:{begin}: a row of {len(row)} fields under a header of "
                        f"{len(header)}. Quote the fields that hold {delimiter!r}, or remove the "
                        "row."
                    )
                content = row[column].encode("utf-8", "surrogateescape")
                _check_size(path, number, len(content), reading)
                yield make_document(f"{name}:{number}", content)
                begin = rows.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"{path}:{begin}: not a row of a table ({error}); it begins on this line. "
                "Mend its quotes or remove the row."
            ) from error


def read_parquet(path: Path, name: str, reading: Reading) -> Iterator[Document]:
    """One document a row of the column `reading.text_column`; null is empty text.

    Raises:
        DataError: cut or not Parquet, no such column of text, or a document too long.
    """
    _import()
    import pyarrow.parquet as parquet

    with (
        _refusing(path, "Parquet"),
        parquet.ParquetFile(path, page_checksum_verification=True) as table,
    ):
        _check_column(path, table.schema_arrow, reading.text_column)
        yield from _documents(path, name, _parquet_batches(table, reading), reading)


def read_arrow(path: Path, name: str, reading: Reading) -> Iterator[Document]:
    """The same of an Arrow file: the stream that `Dataset.save_to_disk` writes, or a file.

    Raises:
        DataError: as `read_parquet`.
    """
    pyarrow = _import()
    with _refusing(path, "Arrow"), pyarrow.memory_map(str(path)) as source:
        try:
            table = pyarrow.ipc.open_stream(source)
            batches: Iterable[Any] = _whole_stream(source, table)
        except pyarrow.ArrowInvalid:
            source.seek(0)
            table = pyarrow.ipc.open_file(source)
            batches = (table.get_batch(i) for i in range(table.num_record_batches))
        _check_column(path, table.schema, reading.text_column)
        # A batch of a memory map is cut into small ones without a copy.
        small = (
            batch.slice(at, BATCH_ROWS).select([reading.text_column])
            for batch in batches
            for at in range(0, batch.num_rows, BATCH_ROWS)
        )
        yield from _documents(path, name, small, reading)


@contextmanager
def _refusing(path: Path, kind: str) -> Iterator[None]:
    """What Arrow says of a damaged file, as a DataError; one that is gone is not damaged."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (_import().ArrowException, OSError) as error:  # the latter: pages that do not unpack
        raise DataError(
            # Arrow's messages have several lines.
            f"{path}: cut or not {kind} ({' '.join(str(error).split())}). Restore or remove it."
        ) from error


def _parquet_batches(table: Any, reading: Reading) -> Iterator[Any]:
    """Batches of the column of about `reading.max_bytes`, by the mean row of each row group."""
    for number in range(table.metadata.num_row_groups):
        group = table.metadata.row_group(number)
        chunks = (group.column(i) for i in range(group.num_columns))
        size = sum(
            one.total_uncompressed_size
            for one in chunks
            if one.path_in_schema == reading.text_column
        )
        rows = reading.max_bytes * group.num_rows // max(size, 1)
        yield from table.iter_batches(
            batch_size=min(max(rows, 1), BATCH_ROWS),
            row_groups=[number],
            columns=[reading.text_column],
        )


def _whole_stream(source: Any, stream: Any) -> Iterator[Any]:
    """The batches of a stream that has its end mark: Arrow takes one cut between batches for whole.

    Raises:
        ArrowInvalid: the mark is missing.
    """
    end = source.tell()
    for batch in stream:
        end = source.tell()
        yield batch
    source.seek(end)
    if not source.read(8).startswith(_END_MARKS):
        raise _import().ArrowInvalid("the end mark of the stream is missing")


def _documents(
    path: Path, name: str, batches: Iterable[Any], reading: Reading
) -> Iterator[Document]:
    for row, buffer in enumerate(_buffers(batches), start=1):
        if buffer is not None:
            _check_size(path, row, buffer.size, reading)
        yield make_document(f"{name}:{row}", b"" if buffer is None else buffer.to_pybytes())


def _buffers(batches: Iterable[Any]) -> Iterator[Any]:
    """The bytes of each row of one column, without a copy; None for null."""
    pyarrow = _import()
    known: Any = None
    texts: Any = None
    for batch in batches:
        column = batch.column(0)
        if not pyarrow.types.is_dictionary(column.type):
            for value in _as_bytes(column):
                yield value.as_buffer()
            continue
        if known is None or _places(known) != _places(column.dictionary):
            known, texts = column.dictionary, _as_bytes(column.dictionary)
        column.indices.validate(full=True)
        # Looked up, not decoded: a long text that repeats would be copied for every row.
        checked = pyarrow.DictionaryArray.from_arrays(column.indices, texts)
        for index in checked.indices.to_pylist():
            yield None if index is None else texts[index].as_buffer()


def _as_bytes(column: Any) -> Any:
    """The column as bytes, its offsets checked: in a damaged file they point out of the file.

    As bytes, since Arrow does not check that a string is UTF-8, and a broken one must be marked.
    """
    pyarrow = _import()
    kinds = {
        pyarrow.string(): pyarrow.binary(),
        pyarrow.large_string(): pyarrow.large_binary(),
        pyarrow.string_view(): pyarrow.binary_view(),
    }
    found = column.view(kinds.get(column.type, column.type))
    found.validate(full=True)
    return found


def _places(column: Any) -> list[int | None]:
    """Where the data of a column lies: equal for the dictionary that batches share."""
    return [len(column), column.offset, *(b and b.address for b in column.buffers())]


def _check_size(path: Path, row: int, size: int, reading: Reading) -> None:
    if size > reading.max_bytes:
        raise DataError(
            f"{path}, row {row}: a document of {size / 1e6:.1f} MB, and max_document_mb = "
            f"{reading.max_bytes / 1e6:g}. Split it, or raise max_document_mb of the domain."
        )


def _position(path: Path, header: list[str], wanted: str) -> int:
    if header.count(wanted) != 1:
        raise _no_column(path, wanted, header)
    return header.index(wanted)


def _check_column(path: Path, schema: Any, wanted: str) -> None:
    types = _import().types
    if schema.names.count(wanted) != 1:
        raise _no_column(path, wanted, schema.names)
    kind = schema.field(wanted).type
    value = kind.value_type if types.is_dictionary(kind) else kind
    if not any(
        check(value)
        for check in (
            types.is_string, types.is_large_string, types.is_string_view, types.is_binary,
            types.is_large_binary, types.is_binary_view,
        )
    ):  # fmt: skip
        raise DataError(
            f"{path}: the column {wanted!r} holds {kind}, not text. "
            "Set text_column to a column of strings, or remove the file."
        )


def _no_column(path: Path, wanted: str, names: list[str]) -> DataError:
    found = "twice" if names.count(wanted) > 1 else "nowhere"
    return DataError(
        f"{path}: the column {wanted!r} is {found} among {', '.join(names[:12]) or 'none'}. "
        "Set text_column of the domain to a column that all its files have, or part the files "
        "into domains."
    )


def _import() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError as error:
        raise MissingExtraError(
            "pyarrow", extra="data", needed_for="reading Parquet, Arrow and .zst files"
        ) from error
    return pyarrow
