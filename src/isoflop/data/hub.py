"""Data sets of the Hugging Face hub, or a local folder that its library loads, row by row."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isoflop._errors import DataError, MissingExtraError
from isoflop.data.documents import Document, make_document
from isoflop.data.kinds import Reading
from isoflop.specs import DomainSection


def hub_version(section: DomainSection, *, base: Path) -> str:
    """`hf:` and a hash of the files that the split is made of, at the revision the hub has now.

    Raises:
        DataError: no such data set, subset or split, or the hub is out of reach.
        MissingExtraError: the package `datasets` is not installed.
    """
    datasets, place = _import(), _place(section, base)
    split = section.split or "train"
    try:
        builder = datasets.load_dataset_builder(place, section.subset or None)
    except (ValueError, OSError) as error:
        raise _failed(section, error) from error
    files = builder.config.data_files or {}
    chosen = files.get(split)
    if files and chosen is None:
        raise DataError(
            f"data.domains {section.name!r}: {section.source} has no split {split!r} but "
            f"{', '.join(map(str, files))}. Set split of the domain."
        )
    marks = [builder.hash, builder.config.name, split, *map(str, chosen or ())]
    marks += [str(mark) for mark in getattr(chosen, "origin_metadata", ())]
    return f"hf:{hashlib.sha256(chr(0).join(marks).encode()).hexdigest()}"


def read_hub(section: DomainSection, *, base: Path) -> Iterator[Document]:
    """One document a row of the column `text_column`, streamed; null is empty text.

    Raises:
        DataError: the data set cannot be read, or a row holds no such text.
    """
    datasets, reading = _import(), Reading.of(section)
    split, column = section.split or "train", section.text_column
    try:
        rows = datasets.load_dataset(
            _place(section, base), section.subset or None, split=split, streaming=True
        )
        for number, row in enumerate(rows, start=1):
            if column not in row or not isinstance(row[column], str | None):
                raise DataError(
                    f"{section.source}, row {number}: no text in the column {column!r} among "
                    f"{', '.join(row)}. Set text_column of the domain."
                )
            content = (row[column] or "").encode("utf-8", "surrogatepass")
            if len(content) > reading.max_bytes:
                raise DataError(
                    f"{section.source}, row {number}: a document of {len(content) / 1e6:.1f} MB, "
                    f"and max_document_mb = {section.max_document_mb:g}. Raise it, or leave the "
                    "source out."
                )
            yield make_document(f"{split}:{number}", content)
    except DataError:
        raise
    except (ValueError, OSError) as error:
        raise _failed(section, error) from error


def _place(section: DomainSection, base: Path) -> str:
    name = section.source.partition(":")[2]
    local = base / Path(name).expanduser()
    return str(local) if local.is_dir() else name


def _failed(section: DomainSection, error: Exception) -> DataError:
    return DataError(
        f"data.domains {section.name!r}: {section.source} cannot be read "
        f"({' '.join(str(error).split())[:300]}). Correct its name, subset or split; without the "
        "hub, download its files and use path:FOLDER."
    )


def _import() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(
            "datasets", extra="hub", needed_for="reading hf: sources"
        ) from error
    return datasets
