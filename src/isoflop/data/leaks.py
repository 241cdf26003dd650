"""Train documents that hold held-out text or benchmarks: found, recorded, and left out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from isoflop._errors import DataError
from isoflop._types import Problem
from isoflop.data.card import DataCard, DomainCard
from isoflop.data.decontaminate import (
    GRAM_WORDS,
    SHORTEST_WORDS,
    Overlap,
    measure_overlap,
    protect,
)
from isoflop.data.documents import Document
from isoflop.data.kinds import Reading
from isoflop.data.readers import hash_files, list_files, read_files
from isoflop.data.shards import write_text
from isoflop.specs import DecontaminateSection

RECORD = "contamination.jsonl"
LEAKS_VERSION = 1
"""Raised when the same recipe finds other documents."""
ALARM_SHARE = 0.10
"""Of a domain's train tokens: when more than this goes, the domain is about the benchmark, or the
split tears apart what belongs together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """Text that train must not hold; `version` is known before any of it is read."""

    place: str
    path: Path
    files: tuple[Path, ...]
    version: str
    reading: Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaks:
    """Train documents that share 13-grams with protected text."""

    names: tuple[str, ...]
    """What was protected: `validation:DOMAIN` and the benchmarks."""
    found: Mapping[int, Overlap]
    """Of every train document that shares a 13-gram, by its number."""
    dropped: frozenset[int]
    short: int
    """Protected passages that are too short to be looked for."""


def resolve_benchmarks(
    section: DecontaminateSection | None, *, base: Path
) -> tuple[Benchmark, ...]:
    """The benchmarks of a section, paths relative to `base`.

    Raises:
        DataError: nothing at a path.
    """
    if section is None:
        return ()
    found = []
    for place in section.benchmarks:
        path = base / Path(place.removeprefix("path:")).expanduser()
        reading = Reading(text_column=section.text_column)
        key = f"data.decontaminate.benchmarks = {place!r}"
        files = list_files(path, key=key, reading=reading)
        version = f"sha256:{hash_files(path, files)}"
        found.append(
            Benchmark(place=place, path=path, files=files, version=version, reading=reading)
        )
    return tuple(found)


def find_leaks(
    documents: Sequence[Document],
    train: Mapping[str, Sequence[int]],
    validation: Mapping[str, Sequence[int]],
    benchmarks: Sequence[Benchmark],
    section: DecontaminateSection,
) -> Leaks:
    """Compare every train document with all held-out documents and benchmarks.

    Args:
        documents: the corpus.
        train: domain -> numbers of its train documents.
        validation: domain -> numbers of its held-out documents; they are never dropped.
        benchmarks: further protected text.
        section: how much overlap is too much, and what happens then.

    Raises:
        DataError: a benchmark cannot be read or holds no passage to compare; a domain would
            lose all its text.
    """
    protected = protect(
        {
            **{
                f"validation:{name}": (documents[i].text for i in numbers)
                for name, numbers in validation.items()
            },
            **{
                one.place: (d.text for d in read_files(one.path, one.files, one.reading))
                for one in benchmarks
            },
        }
    )
    # Held-out documents may all be short; a benchmark of which nothing is compared is a mistake.
    mine = len(validation)
    for name, passages in zip(protected.names[mine:], protected.passages[mine:], strict=True):
        if not passages:
            raise DataError(
                f"data.decontaminate: {name} holds no passage of {SHORTEST_WORDS} words or more, "
                "and shorter ones are not compared. Correct its path or text_column, or leave it "
                "out."
            )
    numbers = [i for members in train.values() for i in members]
    overlaps = measure_overlap(protected, (documents[i].text for i in numbers))
    found = {i: one for i, one in zip(numbers, overlaps, strict=True) if one.shared}
    over = frozenset(i for i, one in found.items() if one.share > section.max_overlap)
    dropped = over if section.action == "drop" else frozenset()
    for name, members in train.items():
        if members and dropped.issuperset(members):
            raise DataError(
                f"data.decontaminate: the domain {name!r} would lose all its {len(members)} train "
                f"documents: each shares more than max_overlap = {section.max_overlap:g} of its "
                f"{GRAM_WORDS}-grams with protected text. Raise max_overlap, or leave the domain "
                "or the benchmark out."
            )
    return Leaks(names=protected.names, found=found, dropped=dropped, short=sum(protected.short))


def record_leaks(
    leaks: Leaks | None, documents: Sequence[Document], domains: Sequence[str]
) -> str | None:
    """The text of `contamination.jsonl`: each document found, the gravest first, and what became
    of it; None where nobody looked.

    Args:
        leaks: what was found.
        documents: the corpus.
        domains: the domain of each document.
    """
    if leaks is None:
        return None
    rows = [
        {
            "domain": domains[i],
            # A file name need not be UTF-8; the record is.
            "document": documents[i].name.encode("utf-8", "replace").decode(),
            "sha256": documents[i].digest.hex(),
            "grams": one.grams,
            "shared": one.shared,
            "overlap": round(one.share, 6),
            "with": [leaks.names[owner] for owner in one.owners],
            "action": "dropped" if i in leaks.dropped else "kept",
        }
        for i, one in leaks.found.items()
    ]
    rows.sort(key=lambda row: (-float(str(row["overlap"])), str(row["sha256"])))
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_record(folder: Path, record: str | None) -> None:
    """Write what `record_leaks` gave; a record of an earlier corpus goes."""
    if record is None:
        (folder / RECORD).unlink(missing_ok=True)
    else:
        write_text(folder / RECORD, record)


def leak_problems(card: DataCard) -> tuple[Problem, ...]:
    """A warning for each domain that lost more than a tenth of its train tokens."""
    return tuple(map(partial(_problem, card), filter(_is_alarming, card.domains)))


def _is_alarming(domain: DomainCard) -> bool:
    return domain.contaminated_share > ALARM_SHARE


def _problem(card: DataCard, domain: DomainCard) -> Problem:
    return Problem(
        code="much_contamination",
        severity="warning",
        text=f"Decontamination took {domain.contaminated_share:.0%} of the train tokens of "
        f"{domain.name!r} ({domain.contaminated_documents} documents), protected text: "
        f"{', '.join(card.protected)}.",
        remedy=f"See {RECORD} in the corpus folder; text that repeats set phrases may need a "
        "higher data.decontaminate.max_overlap.",
        affects=("forecast",),
    )
