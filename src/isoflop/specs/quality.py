"""`QualitySection`: which documents of a domain stay, by published rules or one's own."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from isoflop._errors import StudyError
from isoflop.specs.section import Section, require

RuleSet = Literal["gopher_quality", "gopher_repetition", "c4", "fineweb"]
PUBLISHED: Mapping[RuleSet, Mapping[str, float]] = {
    "gopher_quality": {
        "min_words": 50,
        "max_words": 100_000,
        "min_mean_word_length": 3,
        "max_mean_word_length": 10,
        "max_symbol_ratio": 0.1,
        "max_bullet_lines": 0.9,
        "max_ellipsis_lines": 0.3,
        "min_alpha_words": 0.8,
        "min_stop_words": 2,
    },
    "gopher_repetition": {
        "max_dup_lines": 0.30,
        "max_dup_paragraphs": 0.30,
        "max_dup_line_chars": 0.20,
        "max_dup_paragraph_chars": 0.20,
        "max_top_2gram": 0.20,
        "max_top_3gram": 0.18,
        "max_top_4gram": 0.16,
        "max_dup_5gram": 0.15,
        "max_dup_6gram": 0.14,
        "max_dup_7gram": 0.13,
        "max_dup_8gram": 0.12,
        "max_dup_9gram": 0.11,
        "max_dup_10gram": 0.10,
    },
    "c4": {"max_c4_lorem_ipsum": 0, "max_c4_curly_brackets": 0, "min_c4_sentences": 5},
    "fineweb": {
        "min_punctuated_lines": 0.12,
        "max_short_lines": 0.67,
        "max_dup_text_chars": 0.10,
        "max_list_ratio": 0.3,
    },
}
"""Rule sets with the thresholds of their papers: arXiv:2112.11446 appendix A1 (Gopher),
arXiv:1910.10683 section 2.2 (C4), arXiv:2406.17557 section 3.6 (FineWeb; the ratio of line ends to
words stands in its code only)."""

STATISTICS: Mapping[str, str] = {
    "words": "Words with a letter or digit.",
    "pieces": "Words and symbols.",
    "mean_word_length": "Characters per word.",
    "symbol_ratio": "`#`, or ellipses, per word or symbol: the larger of the two.",
    "alpha_words": "Share of words and symbols with a letter.",
    "stop_words": "How many of eight English function words occur.",
    "lines": "Lines that are not empty.",
    "bullet_lines": "Share of lines that start with a bullet or dash.",
    "ellipsis_lines": "Share of lines that end with an ellipsis.",
    "dup_lines": "Share of lines that repeat an earlier one.",
    "dup_line_chars": "Their characters, as a share of the text.",
    "dup_paragraphs": "Share of paragraphs that repeat an earlier one.",
    "dup_paragraph_chars": "Their characters, as a share of the text.",
    **{
        f"top_{n}gram": f"Share of characters in the most frequent {n} words in a row."
        for n in (2, 3, 4)
    },
    **{
        f"dup_{n}gram": f"Share of characters in repeats of {n} words in a row."
        for n in (5, 6, 7, 8, 9, 10)
    },
    "punctuated_lines": "Share of lines with text that end a sentence.",
    "short_lines": "Share of lines with text of at most 30 characters.",
    "dup_text_chars": "Characters of repeated lines with text, line ends not counted.",
    "list_ratio": "Line ends per word or symbol.",
    "c4_lines": "Share of lines that C4's line rules keep.",
    "c4_sentences": "Sentences in them.",
    "c4_lorem_ipsum": "Lines with lorem ipsum that get as far as that rule of C4.",
    "c4_curly_brackets": "Lines with a `{` that get as far as that rule of C4.",
    "compression": "Bytes per byte after zlib: high in repetitive text, near 1 in random text.",
    "language_score": "Share of words that are among the language's 20 most frequent.",
    "language": "Language by script and frequent words; `unknown` where neither tells.",
    "script": "Script of most letters.",
    "script_share": "Share of the letters that are of that script.",
    "latin_share": "Share of the letters that are Latin.",
}
"""Every statistic of a text by itself: what `where` can ask for, and the columns on disk."""
MODEL_STATISTICS: Mapping[str, str] = {
    "model_bpb": "Loss under the run that `model` names [bits per byte].",
}
"""Those that a trained model gives: `where` can ask for them beside `model`."""
TEXT_STATISTICS: Mapping[str, tuple[str, ...]] = {
    "language": (
        "en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "pl", "cs", "tr", "fi", "ru", "uk",
        "ja", "ko", "zh", "el", "he", "ar", "hi", "th", "unknown",
    ),
    "script": (
        "latin", "cyrillic", "greek", "hebrew", "arabic", "devanagari", "thai", "kana", "hangul",
        "han", "other", "none",
    ),
}  # fmt: skip
"""Those that are text, with all that they can be: another value would drop or keep everything."""

_CONDITION = re.compile(r"\s*([a-z_0-9]+)\s*(<=|>=|==|!=|<|>)\s*(\S+)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition of `where`, which a document that stays meets."""

    text: str
    statistic: str
    operator: str
    value: float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class QualitySection(Section):
    """What a document must be like to stay; one that fails any of these rules goes.

    A threshold whose rule set is named has the published value unless given; a threshold that is
    given is applied with or without its set.
    """

    rules: tuple[RuleSet, ...] = ()
    """Published rule sets, with their papers' thresholds."""
    min_words: float | None = None
    max_words: float | None = None
    min_mean_word_length: float | None = None
    max_mean_word_length: float | None = None
    max_symbol_ratio: float | None = None
    max_bullet_lines: float | None = None
    max_ellipsis_lines: float | None = None
    min_alpha_words: float | None = None
    min_stop_words: float | None = None
    max_dup_lines: float | None = None
    max_dup_paragraphs: float | None = None
    max_dup_line_chars: float | None = None
    max_dup_paragraph_chars: float | None = None
    max_top_2gram: float | None = None
    max_top_3gram: float | None = None
    max_top_4gram: float | None = None
    max_dup_5gram: float | None = None
    max_dup_6gram: float | None = None
    max_dup_7gram: float | None = None
    max_dup_8gram: float | None = None
    max_dup_9gram: float | None = None
    max_dup_10gram: float | None = None
    max_c4_lorem_ipsum: float | None = None
    max_c4_curly_brackets: float | None = None
    min_c4_sentences: float | None = None
    min_punctuated_lines: float | None = None
    max_short_lines: float | None = None
    max_dup_text_chars: float | None = None
    max_list_ratio: float | None = None
    min_compression: float | None = None
    max_compression: float | None = None
    min_language_score: float | None = None
    min_model_bpb: float | None = None
    max_model_bpb: float | None = None
    model: str = ""
    """`path:RUN_FOLDER`, relative to the study file: a finished run of isoflop's own trainer, whose
    loss on a document is its `model_bpb`."""
    languages: tuple[str, ...] = ()
    """Languages that stay, as two letters (`en`), or `unknown`; docs/quality.md lists them."""
    where: tuple[str, ...] = ()
    """Further conditions on any statistic, all of which must hold: `"compression < 4"`."""

    def __post_init__(self) -> None:
        for key in THRESHOLDS:
            value = getattr(self, key)
            require(
                value is None or value >= 0,
                f"data.domains.quality.{key}",
                value,
                f"{key} >= 0",
                "Give a count or a share, or leave the key out.",
            )
        for name in self.languages:
            _require_findable(f"data.domains.quality.languages = {name!r}", "language", name)
        require(
            not self.model or self.model.startswith("path:"),
            "data.domains.quality.model",
            self.model,
            "path:RUN_FOLDER",
            "Name a finished run, relative to the study file: path:STUDY/runs/ID.",
        )
        require(
            not self.uses_model() or bool(self.model),
            "data.domains.quality.model",
            self.model,
            "a model beside min_model_bpb, max_model_bpb or model_bpb in where",
            "Name a finished run, relative to the study file: path:STUDY/runs/ID.",
        )

    def limits(self) -> dict[str, float]:
        """The thresholds that apply, in the order of the rules."""
        published = {key: v for name in self.rules for key, v in PUBLISHED[name].items()}
        found = {}
        for key in THRESHOLDS:
            value = getattr(self, key)
            value = published.get(key) if value is None else value
            if value is not None:
                found[key] = float(value)
        return found

    def conditions(self) -> tuple[Condition, ...]:
        """The conditions of `where`.

        Raises:
            StudyError: not of the form `statistic < number`; an unknown statistic, language or
                script.
        """
        return tuple(_condition(text) for text in self.where)

    def uses_model(self) -> bool:
        """Whether a rule asks for what a model says."""
        asked = {key.split("_", 1)[1] for key in self.limits()}
        asked |= {condition.statistic for condition in self.conditions()}
        return not asked.isdisjoint(MODEL_STATISTICS)

    def is_empty(self) -> bool:
        """Whether every document stays."""
        return not (self.limits() or self.languages or self.where)


THRESHOLDS = tuple(f.name for f in fields(QualitySection) if f.name.startswith(("min_", "max_")))


def _require_findable(place: str, statistic: str, value: str) -> None:
    known = TEXT_STATISTICS[statistic]
    if value not in known:
        raise StudyError(
            f"{place} is never found as a {statistic}. Choose among {', '.join(known)}."
        )


def _condition(text: str) -> Condition:
    key = f"data.domains.quality.where = {text!r}"
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise StudyError(
            f"{key}: not a condition. Write it as `compression < 4` or `language == en`."
        )
    statistic, operator, word = match.groups()
    known = (*STATISTICS, *MODEL_STATISTICS)
    if statistic not in known:
        raise StudyError(f"{key}: unknown statistic. Choose among {', '.join(known)}.")
    if statistic in TEXT_STATISTICS:
        if operator not in ("==", "!="):
            raise StudyError(f"{key}: {statistic} is text. Compare it with == or !=.")
        name = word.strip("\"'")
        _require_findable(f"{key}: {name!r}", statistic, name)
        return Condition(text=text, statistic=statistic, operator=operator, value=name)
    try:
        value = float(word)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise StudyError(f"{key}: {word} is not a number. Compare {statistic} with a number.")
    return Condition(text=text, statistic=statistic, operator=operator, value=value)
