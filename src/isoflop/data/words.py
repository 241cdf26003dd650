"""Words as duplicates are compared by them: lower case, one symbol a word where no spaces stand."""

import re
import unicodedata

_HAN_AND_KANA = (
    r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
    r"\U00030000-\U000323af"
)
# Thai, Lao, Myanmar (with its two extensions), Khmer: letters with vowel signs around them.
_WITH_SIGNS = ((0xE00, 0xEFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0xA9E0, 0xA9FF),
               (0xAA60, 0xAA7F))  # fmt: skip
_SOUTH_EAST = "".join(f"{chr(low)}-{chr(high)}" for low, high in _WITH_SIGNS)
_SIGNS = "".join(
    chr(code)
    for low, high in _WITH_SIGNS
    for code in range(low, high + 1)
    if unicodedata.category(chr(code)).startswith("M")
)
_SYMBOL = re.compile(rf"[{_HAN_AND_KANA}{_SOUTH_EAST}]")
_WORD = re.compile(r"\w+")
_WORD_OR_SYMBOL = re.compile(
    rf"[^\W{_HAN_AND_KANA}{_SOUTH_EAST}]+|(?=\w)[{_HAN_AND_KANA}]|(?=\w)[{_SOUTH_EAST}][{_SIGNS}]*"
)
_ASCII_LOWER = bytes(
    ord(chr(code).lower()) if code < 128 and _WORD.match(chr(code)) else ord(" ")
    for code in range(256)
)


def normalise(text: str) -> str:
    r"""Lower-case words (runs of `\w`) joined by single spaces; in scripts that are written without
    spaces (Han, kana, Thai, Lao, Khmer, Myanmar) each symbol with its vowel signs is a word."""
    if text.isascii():  # the same by translation, four times as fast
        return " ".join(text.encode().translate(_ASCII_LOWER).decode().split())
    pattern = _WORD if _SYMBOL.search(text) is None else _WORD_OR_SYMBOL
    return " ".join(pattern.findall(text.lower()))


def count_words(normal: str) -> int:
    """Words of a normalised text."""
    return normal.count(" ") + 1 if normal else 0
