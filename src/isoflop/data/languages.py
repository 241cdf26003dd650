"""A guess at script and language without a model: shares of scripts, counts of frequent words."""

import numpy as np
from numpy.typing import NDArray

from isoflop._types import Array

_FREQUENT = {
    "en": "the of and to in is that it was for with as his on be at by this had not are but from",
    "de": "der die und das ist nicht den zu mit sich auf für ein eine dem des von wird im auch",
    "fr": "le la les et des est une dans que qui pas pour du sur au par plus ne avec ce il",
    "es": "el la los que y en las del por con una para es se no su al lo como más pero",
    "it": "il di che la e è per una non sono del della con gli dei nel alla si come anche",
    "pt": "o de que e do da em um para com não uma os no se na por mais as dos ao",
    "nl": "de het een van en is dat niet op te zijn met voor er aan ook als maar bij wordt",
    "sv": "och att det som en är på av för med den till inte om har de ett var jag från",
    "da": "og at det er en på af for med den til ikke der som har de et var jeg fra",
    "pl": "i w nie na się z do to że jest o jak po ale za od co przez dla są",
    "cs": "a se v na je to že s z i do o k jako pro ale po by jsou jeho",
    "tr": "ve bir bu da de için ile çok olarak daha olan gibi ne var kadar sonra en her ben",
    "fi": "ja on ei että se oli hän mutta ovat kun myös niin joka tai sekä mukaan ole hänen",
    "ru": "и в не на что с он как это по к но из у за от так же для была",
    "uk": "і в не на що з та до як це за від але для у його про є також",
}
LANGUAGES = tuple(_FREQUENT)
"""Told apart by their frequent words; others by their script alone."""
OF_SCRIPT = {
    "kana": "ja", "hangul": "ko", "han": "zh", "greek": "el", "hebrew": "he", "arabic": "ar",
    "devanagari": "hi", "thai": "th",
}  # fmt: skip
UNKNOWN = "unknown"
LOWEST_SCORE = 0.05
"""ASSUMPTION: prose holds four times as many frequent words; tables and code fewer."""
_BITS = {
    word: sum(1 << k for k, language in enumerate(LANGUAGES) if word in _FREQUENT[language].split())
    for words in _FREQUENT.values()
    for word in words.split()
}
SCRIPTS = ("latin", "cyrillic", "greek", "hebrew", "arabic", "devanagari", "thai", "kana", "hangul",
           "han", "other")  # fmt: skip
_RANGES = (
    (0x41, 0x5A, "latin"), (0x61, 0x7A, "latin"), (0xC0, 0x24F, "latin"),
    (0x370, 0x3FF, "greek"), (0x400, 0x52F, "cyrillic"), (0x5D0, 0x5EA, "hebrew"),
    (0x620, 0x6FF, "arabic"), (0x750, 0x77F, "arabic"), (0x904, 0x97F, "devanagari"),
    (0xE01, 0xE4E, "thai"), (0x1100, 0x11FF, "hangul"), (0x1E00, 0x1EFF, "latin"),
    (0x1F00, 0x1FFF, "greek"), (0x3041, 0x30FF, "kana"), (0x3400, 0x4DBF, "han"),
    (0x4E00, 0x9FFF, "han"), (0xAC00, 0xD7A3, "hangul"), (0xF900, 0xFAFF, "han"),
    (0x20000, 0x323AF, "han"),
)  # fmt: skip
"""Blocks of the Unicode standard that hold letters of a script, ascending."""
_LOW = np.array([low for low, _, _ in _RANGES])
_HIGH = np.array([high for _, high, _ in _RANGES])
_SCRIPT = np.array([SCRIPTS.index(script) for _, _, script in _RANGES])


def known_words() -> dict[str, int]:
    """Frequent words as they stand in a line and at its head; bit k: one of language k."""
    heads = {word.capitalize(): bits for word, bits in _BITS.items()}
    return heads | _BITS


def script_counts(text: str) -> NDArray[np.int64]:
    """Letters of a text in each of SCRIPTS; `other` are letters outside the ranges known here."""
    counts = np.zeros(len(SCRIPTS), dtype=np.int64)
    if text.isascii():
        histogram = np.bincount(np.frombuffer(text.encode(), dtype=np.uint8), minlength=128)
        counts[0] = histogram[0x41:0x5B].sum() + histogram[0x61:0x7B].sum()
        return counts
    codes = np.frombuffer(text.encode("utf-32-le", "replace"), dtype=np.uint32)
    distinct, times = np.unique(codes, return_counts=True)
    index = np.searchsorted(_LOW, distinct, side="right") - 1
    inside = (index >= 0) & (distinct <= _HIGH[index])
    inside &= (distinct != 0xD7) & (distinct != 0xF7)  # the signs of multiplication and division
    np.add.at(counts, _SCRIPT[index[inside]], times[inside])
    rest = zip(distinct[~inside].tolist(), times[~inside].tolist(), strict=True)
    counts[-1] = sum(number for code, number in rest if chr(code).isalpha())
    return counts


def guess_language(votes: int, score: float, scripts: Array) -> str:
    """The language: by script where a script tells, else the one with most frequent words.

    Args:
        votes: index in LANGUAGES of the language with most frequent words in the document.
        score: share of the document's words that are frequent words of it.
        scripts: (S,) shares of the letters in SCRIPTS.
    """
    by_script = dict(zip(SCRIPTS, scripts.tolist(), strict=True))
    if by_script["kana"] >= 0.05 and by_script["kana"] + by_script["han"] >= 0.5:
        return "ja"
    for script, language in OF_SCRIPT.items():
        if by_script[script] >= 0.5:
            return language
    return LANGUAGES[votes] if score >= LOWEST_SCORE else UNKNOWN
