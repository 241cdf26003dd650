"""Words: ASCII by translation as by the pattern, symbols of scripts without spaces one by one."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoflop.data.words import count_words, normalise


@given(st.text(st.characters(max_codepoint=0x2FF)))
@settings(max_examples=300, deadline=None)
def test_words_are_runs_of_word_characters(text: str) -> None:
    assert normalise(text) == " ".join(re.findall(r"\w+", text.lower()))


@given(st.text(st.characters(max_codepoint=127)))
@settings(max_examples=300, deadline=None)
def test_ascii_is_as_any_text(text: str) -> None:
    assert normalise(text) == normalise(text + " \u00e9").removesuffix("\u00e9").rstrip()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\u6570\u636e Data\u6e96\u5099", "\u6570 \u636e data \u6e96 \u5099"),
        ("\u3072\u3089\u304c\u306a\u3001\u30ab\u30ca", "\u3072 \u3089 \u304c \u306a \u30ab \u30ca"),
        ("\U00020000\U00020001", "\U00020000 \U00020001"),
        # Thai: ko kai with sara am has no sign of its own; tho thahan with mai ek and sara ii has.
        ("\u0e17\u0e35\u0e48\u0e19\u0e35\u0e48 x", "\u0e17\u0e35\u0e48 \u0e19\u0e35\u0e48 x"),
        ("\u1780\u17b6\u179a", "\u1780\u17b6 \u179a"),  # Khmer
        ("\u0e81\u0eb2\u0e99", "\u0e81 \u0eb2 \u0e99"),  # Lao: its vowel aa is a letter
        ("\u1019\u103c\u1014\u103a", "\u1019\u103c \u1014\u103a"),  # Myanmar
    ],
)
def test_scripts_without_spaces(text: str, words: str) -> None:
    assert normalise(text) == words
    assert count_words(words) == len(words.split())


@pytest.mark.parametrize("text", ["", " \n", "+++", "\u3002\u0e4f"])
def test_nothing_but_signs_is_nothing(text: str) -> None:
    assert normalise(text) == ""
    assert count_words("") == 0
