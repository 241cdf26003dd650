"""Encoding by a table of words: a word's tokens do not depend on its neighbours, and words repeat.

Byte-level BPE as GPT-2's splits text into pieces (words with the space before them, numbers, marks,
blanks) by one regular expression, and merges within pieces only. The pieces are found here, and the
library is asked only for those not seen before: a third of its processor time (LOG.md).
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from isoflop.data.shards import Tokens

MOST_WORDS = 1_000_000
"""Entries of the table, some 200 MB: then it starts anew, and frequent words are soon back."""
LONGEST_WORD = 40
"""Longer pieces (a line of base64, a Chinese sentence) hardly repeat and are not kept."""
SEGMENT_CHARS = 500_000
MOSTLY_ASCII = 1.1
"""Bytes a character up to which pieces are words that repeat; text beyond goes to the library."""
_SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_CUT = re.compile(rf"(?<=[^{_SPACE}])\n(?=[^{_SPACE}])")


class WordCache(dict[str, bytes]):
    """The ids of pieces as bytes; `ids(text)` is what the tokenizer's own `encode` gives."""

    __slots__ = ("_dtype", "_inner")

    def __init__(self, inner: Any, dtype: np.dtype[np.unsignedinteger[Any]]) -> None:
        super().__init__()
        self._dtype = dtype
        self._inner = inner

    def __missing__(self, piece: str) -> bytes:
        ids = self._inner.encode(piece, add_special_tokens=False).ids
        data = np.array(ids, dtype=self._dtype).tobytes()
        if len(piece) <= LONGEST_WORD:
            if len(self) >= MOST_WORDS:
                self.clear()
            self[piece] = data
        return data

    def ids(self, text: str) -> Tokens | None:
        """The ids of a text; None where this is no way to find them."""
        if not text.isascii() and not _is_known(text):
            return None
        data = b"".join(
            b"".join(map(self.__getitem__, _pieces().findall(part))) for part in segments(text)
        )
        return np.frombuffer(data, dtype=self._dtype)


def splits_like_gpt2(inner: Any) -> bool:
    """Whether a tokenizer merges within the pieces of GPT-2's regular expression, and no more."""
    described = json.loads(inner.to_str())
    before, model = described["pre_tokenizer"] or {}, described["model"]
    return bool(
        described["normalizer"] is None
        and before.get("type") == "ByteLevel"
        and before.get("use_regex", True)
        and not before["add_prefix_space"]
        and model["type"] == "BPE"
        and not model.get("dropout")
        and not model.get("ignore_merges")
        and all(token["special"] for token in described["added_tokens"])
    )


def segments(text: str) -> Iterator[str]:
    """The text in parts of some SEGMENT_CHARS characters, cut where pieces always end: behind a
    line end between two characters that are no blanks."""
    at = 0
    while len(text) - at > SEGMENT_CHARS:
        cut = _CUT.search(text, at + SEGMENT_CHARS)
        if cut is None:
            break
        yield text[at : cut.end()]
        at = cut.end()
    yield text[at:]


def _is_known(text: str) -> bool:
    few_others = len(text.encode()) <= MOSTLY_ASCII * len(text)
    return few_others and _unsure().search(text) is None


@cache
def _pieces() -> re.Pattern[str]:
    """GPT-2's regular expression with its classes spelt out.

    Source: Radford et al. 2019; `bytes_to_unicode` and `pat` of openai/gpt-2, encoder.py.
    """
    letters, numbers = _class("L"), _class("N")
    return re.compile(
        rf"'(?:[stmd]|re|ve|ll)| ?[{letters}]+| ?[{numbers}]+"
        rf"| ?[^{_SPACE}{letters}{numbers}]+|[{_SPACE}]+(?![^{_SPACE}])|[{_SPACE}]+"
    )


@cache
def _unsure() -> re.Pattern[str]:
    """Characters whose class is not the same in Unicode 3.2 and now, and so may be in the library
    of another version; and those beyond the first 65,536."""
    old = unicodedata.ucd_3_2_0
    known = _ranges(
        [code for code in range(1 << 16)
         if old.category(chr(code)) == unicodedata.category(chr(code)) != "Cn"]
    )  # fmt: skip
    return re.compile(f"[^{known}]")


@cache
def _class(kind: str) -> str:
    return _ranges(
        [code for code in range(1 << 16) if unicodedata.category(chr(code)).startswith(kind)]
    )


def _ranges(codes: list[int]) -> str:
    """Ascending codes as ranges of a character class."""
    gaps = [0, *(i for i in range(1, len(codes)) if codes[i] != codes[i - 1] + 1), len(codes)]
    return "".join(f"\\u{codes[a]:04x}-\\u{codes[b - 1]:04x}" for a, b in pairwise(gaps))
