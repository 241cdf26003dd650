"""`measure_quality`: every statistic of the published rule sets in one pass over each text."""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from isoflop.data.documents import in_parts
from isoflop.data.languages import SCRIPTS, guess_language, script_counts
from isoflop.data.quality_batch import take_apart
from isoflop.data.quality_lines import LineStatistics, measure_lines
from isoflop.data.quality_words import divide, measure_words
from isoflop.specs.quality import STATISTICS

QUALITY_VERSION = 1
"""Raised when a statistic changes its meaning: columns of another version are not used."""
BATCH_CHARS = 1_000_000
"""Text taken at once: some 60 MB of arrays."""
LONGEST_CHARS = 4_000_000
"""ASSUMPTION: a longer document is like its beginning. What one takes in memory is bounded."""
ZLIB_LEVEL = 1
"""The level changes the ratio of prose by a tenth, and the time threefold."""

Columns = dict[str, Any]


def measure_quality(texts: Sequence[str]) -> Columns:
    """Columns (D,) of every statistic in STATISTICS for D texts: float64, two of them text.

    A text's statistics do not depend on the other texts.

    Source: arXiv:2112.11446 appendix A1 (Gopher), arXiv:1910.10683 section 2.2 (C4),
    arXiv:2406.17557 section 3.6 (FineWeb).
    """
    parts = [_measure(batch) for batch in batches(texts)] or [_measure([""])]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in STATISTICS}
    return {name: column[: len(texts)] for name, column in columns.items()}


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts in order, some BATCH_CHARS characters at a time."""
    return in_parts(texts, len, least=BATCH_CHARS)


def _measure(whole: Sequence[str]) -> Columns:
    texts = [text[:LONGEST_CHARS] for text in whole]
    found: Columns = dict(measure_words(take_apart(texts)))
    lines = np.array([measure_lines(text) for text in texts], dtype=np.float64)
    found |= dict(zip(LineStatistics._fields, lines.T, strict=True))
    found["symbol_ratio"] = divide(found["symbols"], found["pieces"])
    found["list_ratio"] = divide(found["newlines"], found["pieces"])
    found["compression"] = np.array([_compression(text) for text in texts])
    counts = np.array([script_counts(text) for text in texts], dtype=np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    votes, scores = found["language"].astype(int).tolist(), found["language_score"].tolist()
    found["language"] = np.array(
        [guess_language(*row) for row in zip(votes, scores, shares, strict=True)], dtype=object
    )
    scripts = np.array(SCRIPTS, dtype=object)
    found["script"] = np.where(counts.any(axis=1), scripts[shares.argmax(axis=1)], "none")
    found["script_share"] = shares.max(axis=1)
    found["latin_share"] = shares[:, SCRIPTS.index("latin")]
    return found


def _compression(text: str) -> float:
    data = text.encode("utf-8", "surrogatepass")
    return len(data) / len(zlib.compress(data, ZLIB_LEVEL))
