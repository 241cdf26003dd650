"""Parquet files: statistics keyed by document digest, and what was dropped for which reason."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isoflop._errors import MissingExtraError
from isoflop.data.documents import in_parts
from isoflop.data.quality import QUALITY_VERSION, Columns
from isoflop.data.quality_workers import measure_batches
from isoflop.data.scorer import Scorer
from isoflop.data.scoring_model import ScoringModel
from isoflop.data.store import DocumentStore
from isoflop.specs.quality import MODEL_STATISTICS, STATISTICS

_VERSION_KEY = b"isoflop_quality_version"
PART_BYTES = 64_000_000
"""Text between two writes: a killed preparation measures at most this much again."""
SCORED_BYTES = 4_000_000
"""The same where a model scores, which takes far longer."""
Measure = Callable[[Sequence[str], Callable[[float], None]], Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What a file holds beside digests."""

    names: tuple[str, ...]
    version: str
    part_bytes: int


def quality_path(folder: Path, domain: str) -> Path:
    """`<folder>/work/quality/<domain>.parquet`."""
    return folder / "work" / "quality" / f"{domain}.parquet"


def score_path(folder: Path, domain: str, model: ScoringModel) -> Path:
    """`<folder>/work/quality/<domain>.<model>.parquet`: another model has a file of its own."""
    return folder / "work" / "quality" / f"{domain}.{model.version[:12]}.parquet"


def measured(path: Path, documents: DocumentStore, *, progress: Callable[[float], None]) -> Columns:
    """Columns of the documents, in their order: read from `path` where they are there.

    What is missing is measured and added to the file; equal texts are measured once.

    Raises:
        MissingExtraError: the extra `data` is not installed.
        WorkerError: a process that measures has ended.
    """
    kind = _Kind(names=tuple(STATISTICS), version=str(QUALITY_VERSION), part_bytes=PART_BYTES)

    def measure(texts: Sequence[str], tell: Callable[[float], None]) -> Columns:
        found = list(measure_batches(texts, progress=tell))
        return {name: np.concatenate([one[name] for one in found]) for name in STATISTICS}

    return _columns(path, documents, kind, measure, progress=progress)


def scored(
    path: Path,
    documents: DocumentStore,
    model: ScoringModel,
    *,
    progress: Callable[[float], None],
) -> Columns:
    """Columns of what the model says of the documents, in their order; as `measured`.

    Raises:
        DataError: the model cannot be used.
        MissingExtraError: the extra `data` is not installed.
        WorkerError: the process that scores has ended.
    """
    kind = _Kind(names=tuple(MODEL_STATISTICS), version=model.version, part_bytes=SCORED_BYTES)
    with Scorer(model) as scorer:
        return _columns(path, documents, kind, scorer.measure, progress=progress)


def _columns(
    path: Path,
    documents: DocumentStore,
    kind: _Kind,
    measure: Measure,
    *,
    progress: Callable[[float], None],
) -> Columns:
    """What the file holds of the documents, once what it lacks was measured and added."""
    known = _read(path, kind)
    digests, sizes = documents.digests, documents.n_bytes
    there = set(known.get("digest", ()))
    # The last of equal texts stands for all.
    new = [i for digest, i in {d: i for i, d in enumerate(digests)}.items() if digest not in there]
    done = 0
    for part in in_parts(new, sizes.__getitem__, least=kind.part_bytes):

        def tell(share: float, before: int = done, size: int = len(part)) -> None:
            progress((before + share * size) / len(new))

        rows = dict(measure([documents.text(i) for i in part], tell))
        rows["digest"] = np.array([digests[i] for i in part], dtype=object)
        known = {n: np.concatenate((known[n], rows[n])) for n in rows} if known else rows
        _write(path, known, kind)
        done += len(part)
    place = {digest: row for row, digest in enumerate(known.get("digest", ()))}
    rows_of = np.array([place[digest] for digest in digests], dtype=np.int64)
    return {name: known[name][rows_of] for name in kind.names}


def write_dropped(path: Path, rows: Mapping[str, Sequence[Any]]) -> None:
    """Replace `dropped.parquet`: one row a document, with `first` and `all` rules it failed."""
    pyarrow, _ = _import()
    texts = {name: pyarrow.string() for name in ("domain", "name", "sha256", "first")}
    kinds = {**texts, "bytes": pyarrow.int64(), "all": pyarrow.list_(pyarrow.string())}
    schema = pyarrow.schema([(name, kinds[name]) for name in rows])
    _replace(path, pyarrow.table(dict(rows), schema=schema))


def _read(path: Path, kind: _Kind) -> Columns:
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
    names = ("digest", *kind.names)
    if version != kind.version.encode() or not set(names) <= set(table.column_names):
        return {}
    return {name: table.column(name).to_numpy(zero_copy_only=False) for name in names}


def _write(path: Path, columns: Columns, kind: _Kind) -> None:
    pyarrow, _ = _import()
    table = pyarrow.table({name: pyarrow.array(columns[name]) for name in ("digest", *kind.names)})
    _replace(path, table.replace_schema_metadata({_VERSION_KEY: kind.version}))


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
