"""Which files are read, and as what: kinds by suffix, languages by suffix."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from isoflop._errors import DataError
from isoflop.specs import LANGUAGES, DomainSection, Format

_TEXT = frozenset((".txt", ".md", ".rst", ".tex"))
_CODE = frozenset(suffix for suffixes in LANGUAGES.values() for suffix in suffixes)
TEXT_SUFFIXES = _TEXT | _CODE
_PLAIN_JSONL = (".jsonl", ".jsonl.gz")
_SUFFIXES: dict[Format, tuple[str, ...]] = {
    "text": tuple(sorted(_TEXT)),
    "code": tuple(sorted(_CODE)),
    "html": (".html", ".htm", ".xhtml"),
    "jsonl": (*_PLAIN_JSONL, ".jsonl.zst"),
    "csv": (".csv",),
    "tsv": (".tsv",),
    "parquet": (".parquet",),
    "arrow": (".arrow",),
}
_WHOLE_DATA_SETS = (".parquet", ".arrow", ".jsonl.zst")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How the files of a source are read; empty `formats` and `languages` leave it to the files."""

    formats: tuple[Format, ...] = ()
    languages: tuple[str, ...] = ()
    text_column: str = "text"
    max_bytes: int = 100_000_000
    """Of one document, line or field."""

    @staticmethod
    def of(section: DomainSection) -> "Reading":
        """What a domain asks for."""
        return Reading(
            formats=section.formats,
            languages=section.languages,
            text_column=section.text_column,
            max_bytes=round(section.max_document_mb * 1e6),
        )


def kind_of(name: str, reading: Reading) -> Format | None:
    """The kind that a file is read as, or None if it is not asked for.

    `.html` is source code as long as nobody asks for the text of HTML; `cache-*.arrow` is what the
    datasets library derived from another file.
    """
    low = name.lower()
    formats: Iterable[Format] = reading.formats or (
        ("code",) if reading.languages else ("text", "code", "jsonl", "csv", "tsv", "parquet",
                                             "arrow")
    )  # fmt: skip
    if low.startswith("cache-") and low.endswith(".arrow"):
        return None
    # HTML first: where it is asked for, `.html` is no source code.
    for kind in sorted(formats, key=lambda one: one != "html"):
        suffixes = _SUFFIXES[kind]
        if kind == "code" and reading.languages:
            suffixes = tuple(s for language in reading.languages for s in LANGUAGES[language])
        if Path(low).suffix in suffixes or low.endswith(suffixes if kind == "jsonl" else ()):
            return kind
    return None


def choose_files(paths: list[Path], reading: Reading, *, place: str) -> list[Path]:
    """The files of a folder that are read.

    Where nothing is asked for, text, source code and JSONL count; tables only where the folder
    holds none of these, as a stray CSV among sources is no corpus.

    Raises:
        DataError: text beside whole data sets, and nobody said which of them is the corpus.
    """
    asked = [path for path in paths if kind_of(path.name, reading) is not None]
    if reading.formats or reading.languages:
        return asked
    plain = [path for path in asked if _is_plain(path.name)]
    sets = [path for path in asked if path.name.lower().endswith(_WHOLE_DATA_SETS)]
    if plain and sets:
        raise DataError(
            f"{place} holds {plain[0].name} beside {sets[0].name}: which of them is the corpus? "
            'Say formats = ["parquet"], ["arrow"], ["jsonl"], ["text"] or several of them.'
        )
    return plain or asked


def _is_plain(name: str) -> bool:
    return name.lower().endswith(_PLAIN_JSONL) or Path(name).suffix.lower() in TEXT_SUFFIXES
