"""Data sets of the Hugging Face hub, or a local folder that its library loads, row by row."""

import hashlib
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isoflop._errors import DataError, MissingExtraError
from isoflop.data.documents import Document, make_document
from isoflop.data.kinds import Reading
from isoflop.data.readers import hash_files
from isoflop.specs import DomainSection

_SETTINGS = ("README.md", ".huggingface.yaml", "dataset_infos.json")
"""Files of a local data set that say how the others are read."""

_COMMIT = re.compile(r"[0-9a-f]{40}")


def resolve_hub(section: DomainSection, *, base: Path) -> tuple[str, str | None]:
    """(version, revision) of the split that is there now; a local folder has no revision.

    The version is `hf:` and a hash: of a local folder over the contents of its files, wherever it
    lies; of the hub over their names at this revision.

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
    local, names = Path(place).is_dir(), [str(name) for name in chosen or ()]
    marks = [builder.config.name, split]
    if local and names and all(Path(name).is_file() for name in names):
        marks.append(_hash_folder(Path(place).resolve(), names))
    else:
        marks += [builder.hash, *names, *map(str, getattr(chosen, "origin_metadata", ()))]
    version = f"hf:{hashlib.sha256(chr(0).join(marks).encode()).hexdigest()}"
    # Of a data set of the hub, the library's hash is the commit.
    commit = not local and _COMMIT.fullmatch(builder.hash or "")
    return version, builder.hash if commit else None


def _hash_folder(folder: Path, names: list[str]) -> str:
    settings = [folder / name for name in _SETTINGS if (folder / name).is_file()]
    inside = [Path(name) for name in names if Path(name).is_relative_to(folder)]
    outside = [Path(name) for name in names if not Path(name).is_relative_to(folder)]
    parts = [hash_files(folder, (*settings, *inside))]
    return "".join([*parts, *(hash_files(path, (path,)) for path in outside)])


def read_hub(
    section: DomainSection, *, base: Path, revision: str | None = None
) -> Iterator[Document]:
    """One document a row of the column `text_column`, streamed; null is empty text.

    Rows are those of `revision`, as the hub may have moved on since the version was taken.

    Raises:
        DataError: the data set cannot be read, or a row holds no such text.
    """
    datasets, reading = _import(), Reading.of(section)
    split, column = section.split or "train", section.text_column
    try:
        rows = datasets.load_dataset(
            _place(section, base),
            section.subset or None,
            split=split,
            revision=revision,
            streaming=True,
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
    except (ValueError, OSError, EOFError, zlib.error) as error:
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
