"""How a domain's files are read: kinds of file, languages by suffix, and the checks of both."""

from dataclasses import dataclass, fields
from typing import Any, Literal

from isoflop.specs.section import Section, require, require_within

Format = Literal["text", "code", "html", "jsonl", "csv", "tsv", "parquet", "arrow"]

LANGUAGES: dict[str, tuple[str, ...]] = {
    "c": (".c", ".h"),
    "cpp": (".cc", ".cpp", ".hpp"),
    "css": (".css",),
    "cuda": (".cu",),
    "go": (".go",),
    "haskell": (".hs",),
    "html": (".html",),
    "java": (".java",),
    "javascript": (".js",),
    "julia": (".jl",),
    "kotlin": (".kt",),
    "lua": (".lua",),
    "ocaml": (".ml",),
    "python": (".py", ".pyi"),
    "r": (".r",),
    "ruby": (".rb",),
    "rust": (".rs",),
    "scala": (".scala",),
    "shell": (".sh",),
    "sql": (".sql",),
    "swift": (".swift",),
    "typescript": (".ts",),
}
"""Suffixes in lower case; each stands for one language."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecontaminateSection(Section):
    """Train documents that share 13-grams with held-out text or with benchmarks go."""

    benchmarks: tuple[str, ...] = ()
    """`path:FOLDER_OR_FILE` each, relative to the study file: text that train must not hold,
    beside the corpus's own validation documents."""
    text_column: str = "text"
    """Key or column of the benchmarks' JSONL, CSV, Parquet and Arrow files."""
    max_overlap: float = 0.2
    """A train document goes if more than this share of its 13-grams is also in protected text;
    0 removes every document that shares one."""
    action: Literal["drop", "report"] = "drop"
    """`report` finds and records, and keeps every document."""

    def __post_init__(self) -> None:
        require(
            all(place.startswith("path:") and place != "path:" for place in self.benchmarks),
            "data.decontaminate.benchmarks",
            list(self.benchmarks),
            "path:FOLDER_OR_FILE each",
            "Write each benchmark as path:FILE.",
        )
        require(
            len(set(self.benchmarks)) == len(self.benchmarks),
            "data.decontaminate.benchmarks",
            list(self.benchmarks),
            "distinct places",
            "Name each benchmark once.",
        )
        require(
            0 <= self.max_overlap < 1,
            "data.decontaminate.max_overlap",
            self.max_overlap,
            "0 <= max_overlap < 1",
            "0.2 removes a document of which more than a fifth is protected text.",
        )
        require_column("data.decontaminate.text_column", self.text_column)


def require_column(key: str, value: str) -> None:
    """A column has a name."""
    require(bool(value), key, value, "a name", "Leave the key out for `text`.")


_KEYS_OF_KIND: dict[str, frozenset[str]] = {
    "package": frozenset(),
    "path": frozenset({"formats", "languages", "text_column", "max_document_mb"}),
    "hf": frozenset({"split", "subset", "text_column", "max_document_mb"}),
}
"""Keys of a domain that say how its source is read, by the kind of source that heeds them."""


def check_reading(domain: Any, *, kind: str) -> None:
    """The keys of a domain that say how its source is read go with the kind of source.

    Raises:
        StudyError: a key that this kind of source would ignore, or an unknown language.
    """
    # DomainSection stands above this file: its fields and their defaults are asked of the record.
    defaults = {one.name: one.default for one in fields(domain)}
    value = {key: getattr(domain, key) for key in frozenset().union(*_KEYS_OF_KIND.values())}
    for key in sorted(value.keys() - _KEYS_OF_KIND[kind]):
        require(
            value[key] == defaults[key],
            f"data.domains.{key}",
            value[key],
            f"left out beside {kind}:",
            "Remove the key.",
        )
    require_column("data.domains.text_column", value["text_column"])
    require_within("data.domains", domain, "max_document_mb", 0.001, 2000)
    _check_languages(value["formats"], value["languages"])


def _check_languages(formats: tuple[str, ...], languages: tuple[str, ...]) -> None:
    require(
        all(language in LANGUAGES for language in languages),
        "data.domains.languages",
        list(languages),
        f"each one of {', '.join(LANGUAGES)}",
        "Correct the name.",
    )
    require(
        not languages or not formats or "code" in formats,
        "data.domains.languages",
        list(languages),
        "formats left out, or 'code' among them",
        "Languages choose among source files: add 'code' to formats.",
    )
