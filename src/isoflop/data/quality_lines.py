"""Statistics of lines, paragraphs and sentences of one document."""

import re
from collections.abc import Sequence
from typing import NamedTuple

_PARAGRAPH = re.compile(r"\n{2,}")
_BULLETS = ("•", "-")
_ELLIPSES = ("...", "…")
_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
_SENTENCE_BREAK = re.compile(r"(?<!\b[A-Za-z])[.!?…]+[)\]\"'’”]*[^\S\n]+(?=\S)")
"""Within a line; an initial (J. Smith) ends no sentence."""
TERMINAL = frozenset(".!?։؟۔।॥።។။‼⁇⁈⁉‽。．！？｡﹒﹗﹖")
"""Ends of a sentence in the larger scripts (Unicode property Sentence_Terminal)."""
C4_ENDS = (".", "?", "!", '"', "'")
C4_POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies",
             "use cookies")  # fmt: skip
C4_LONGEST_WORD = 1000
C4_FEWEST_WORDS = 3
SHORT_LINE = 30


class LineStatistics(NamedTuple):
    """What `measure_lines` finds; shares are 0 for an empty text."""

    lines: float
    bullet_lines: float
    ellipsis_lines: float
    dup_lines: float
    dup_line_chars: float
    dup_paragraphs: float
    dup_paragraph_chars: float
    punctuated_lines: float
    short_lines: float
    dup_text_chars: float
    newlines: float
    symbols: float
    """Hash signs or ellipses, whichever are more."""
    c4_lines: float
    c4_sentences: float
    c4_lorem_ipsum: float
    c4_curly_brackets: float


def measure_lines(text: str) -> LineStatistics:
    """One pass over the lines of a document: the line rules of Gopher, C4 and FineWeb.

    Source: Rae et al. 2021, arXiv:2112.11446, appendix A1.1; Raffel et al. 2019,
    arXiv:1910.10683, section 2.2; Penedo et al. 2024, arXiv:2406.17557, section 3.6.
    """
    lines = text.split("\n")
    filled = [line for line in lines if line]
    written = [line for line in filled if not line.isspace()]
    newlines = len(lines) - 1
    paragraphs = _PARAGRAPH.split(text) if "\n\n" in text else [text]
    n_chars, n_lines, n_written = max(len(text), 1), max(len(filled), 1), max(len(written), 1)
    dup_lines, dup_line_chars = _duplicates(filled)
    same = len(written) == len(filled)
    dup_text_chars = dup_line_chars if same else _duplicates(written)[1]
    dup_paragraphs, dup_paragraph_chars = _duplicates(paragraphs)
    bullets = [line for line in filled if line.lstrip().startswith(_BULLETS)]
    trailing = 0
    # Most documents have no ellipsis: do not look at each line then.
    if "..." in text or "…" in text:
        trailing = sum(line.rstrip().endswith(_ELLIPSES) for line in filled)
    return LineStatistics(
        len(filled),
        len(bullets) / len(lines),
        trailing / len(lines),
        dup_lines / n_lines,
        dup_line_chars / n_chars,
        dup_paragraphs / max(len(paragraphs), 1),
        dup_paragraph_chars / n_chars,
        sum([line[-1] in TERMINAL for line in written]) / n_written,
        sum([len(line) <= SHORT_LINE for line in written]) / n_written,
        dup_text_chars / max(len(text) - newlines, 1),
        newlines,
        max(text.count("#"), text.count("...") + text.count("…")),
        *_measure_c4(text, filled),
    )


def _duplicates(parts: Sequence[str]) -> tuple[int, int]:
    """Parts that equal an earlier one, and their characters."""
    distinct = set(parts)
    if len(distinct) == len(parts):
        return 0, 0
    return len(parts) - len(distinct), sum(map(len, parts)) - sum(map(len, distinct))


def _measure_c4(text: str, lines: Sequence[str]) -> tuple[float, float, float, float]:
    """Share of lines that C4 retains, their sentences; lines with lorem ipsum, with a `{`.

    In the order of the reference implementation: a line that an earlier rule removes is not asked
    the later ones, so a `{` in a line without an end mark costs nothing.
    """
    kept = [
        line
        for line in map(str.strip, _without_citations(text, lines))
        if line.endswith(C4_ENDS) and not line.endswith("...") and _has_words(line)
    ]
    low = text.lower()
    lorem = sum("lorem ipsum" in line.lower() for line in kept) if "lorem ipsum" in low else 0
    if "javascript" in low:
        kept = [line for line in kept if "javascript" not in line.lower()]
    brackets = sum("{" in line for line in kept) if "{" in text else 0
    if any(phrase in low for phrase in C4_POLICY):
        kept = [line for line in kept if not any(phrase in line.lower() for phrase in C4_POLICY)]
    sentences = len(kept) + len(_SENTENCE_BREAK.findall("\n".join(kept)))
    return len(kept) / max(len(lines), 1), sentences, lorem, brackets


def _without_citations(text: str, lines: Sequence[str]) -> Sequence[str]:
    if "[" not in text:
        return lines
    return [_CITATION.sub("", line) if "[" in line else line for line in lines]


def _has_words(line: str) -> bool:
    """At least three words, and none of more than 1,000 characters."""
    if len(line.split(None, C4_FEWEST_WORDS - 1)) < C4_FEWEST_WORDS:
        return False
    return len(line) <= C4_LONGEST_WORD or max(map(len, line.split())) <= C4_LONGEST_WORD
