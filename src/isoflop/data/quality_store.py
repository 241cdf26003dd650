"""Parquet files: statistics keyed by document digest, and what was dropped for which reason."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isoflop._errors import MissingExtraError
from isoflop.data.documents import in_parts
from isoflop.data.quality import QUALITY_VERSION, Columns
from isoflop.data.quality_workers import measure_batches
from isoflop.data.store import DocumentStore
from isoflop.specs.quality import STATISTICS

_VERSION_KEY = b"isoflop_quality_version"
PART_BYTES = 64_000_000
"""Text between two writes: a killed preparation measures at most this much again."""


def quality_path(folder: Path, domain: str) -> Path:
    """`<folder>/work/quality/<domain>.parquet`."""
    return folder / "work" / "quality" / f"{domain}.parquet"


def measured(path: Path, documents: DocumentStore, *, progress: Callable[[float], None]) -> Columns:
    """Columns of the documents, in their order: read from `path` where they are there.

    What is missing is measured and added to the file; equal texts are measured once.

    Raises:
        MissingExtraError: the extra `data` is not installed.
        WorkerError: a process that measures has ended.
    """
    known = _read(path)
    digests, sizes = documents.digests, documents.n_bytes
    there = set(known.get("digest", ()))
    # The last of equal texts stands for all.
    new = [i for digest, i in {d: i for i, d in enumerate(digests)}.items() if digest not in there]
    done = 0
    for part in in_parts(new, sizes.__getitem__, least=PART_BYTES):
        texts = [documents.text(i) for i in part]

        def tell(share: float, before: int = done, size: int = len(part)) -> None:
            progress((before + share * size) / len(new))

        found = list(measure_batches(texts, progress=tell))
        rows = {name: np.concatenate([one[name] for one in found]) for name in STATISTICS}
        rows["digest"] = np.array([digests[i] for i in part], dtype=object)
        known = {n: np.concatenate((known[n], rows[n])) for n in rows} if known else rows
        _write(path, known)
        done += len(part)
    place = {digest: row for row, digest in enumerate(known.get("digest", ()))}
    rows_of = np.array([place[digest] for digest in digests], dtype=np.int64)
    return {name: known[name][rows_of] for name in STATISTICS}


def write_dropped(path: Path, rows: Mapping[str, Sequence[Any]]) -> None:
    """Replace `dropped.parquet`: one row a document, with `first` and `all` rules it failed."""
    pyarrow, _ = _import()
    texts = {name: pyarrow.string() for name in ("domain", "name", "sha256", "first")}
    kinds = {**texts, "bytes": pyarrow.int64(), "all": pyarrow.list_(pyarrow.string())}
    schema = pyarrow.schema([(name, kinds[name]) for name in rows])
    _replace(path, pyarrow.table(dict(rows), schema=schema))


def _read(path: Path) -> Columns:
    """The stored columns; empty if there are none, or of another version, or the file is broken.

    They are derived from the texts, so that a broken file costs time and nothing else.
    """
    pyarrow, parquet = _import()
    if not path.is_file():
        return {}
    try:
        table = parquet.read_table(path)
    except (OSError, pyarrow.ArrowException):
        return {}
    version = (table.schema.metadata or {}).get(_VERSION_KEY)
    if version != str(QUALITY_VERSION).encode() or not {"digest", *STATISTICS} <= set(
        table.column_names
    ):
        return {}
    return {
        name: table.column(name).to_numpy(zero_copy_only=False) for name in ("digest", *STATISTICS)
    }


def _write(path: Path, columns: Columns) -> None:
    pyarrow, _ = _import()
    table = pyarrow.table({name: pyarrow.array(columns[name]) for name in ("digest", *STATISTICS)})
    _replace(path, table.replace_schema_metadata({_VERSION_KEY: str(QUALITY_VERSION)}))


def _replace(path: Path, table: Any) -> None:
    _, parquet = _import()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    parquet.write_table(table, temporary, compression="zstd")
    os.replace(temporary, path)


def _import() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", extra="data", needed_for="quality statistics") from error
    return pyarrow, pyarrow.parquet
