"""Overlaps equal those of plain sets of tuples; planted passages are found."""

import random

import numpy as np
import pytest

from isoflop.data.decontaminate import GRAM_WORDS, SHORTEST_WORDS, measure_overlap, protect
from isoflop.data.words import normalise

WORDS = ["a", "B", "c-d", "é", "中文", "x_1", "Σ", "don't", "Maße", "9"]

EIGHT = "one passage of exactly eight words stands here"


def by_tuples(protected: list[str], text: str) -> tuple[int, int]:
    """(grams, shared) by the definition, with sets and slices."""
    grams, short = set(), set()
    for passage in protected:
        words = normalise(passage).split()
        if len(words) >= GRAM_WORDS:
            grams |= {tuple(words[i : i + 13]) for i in range(len(words) - 12)}
        elif len(words) >= SHORTEST_WORDS:
            short.add(tuple(words))
    words = normalise(text).split()
    if not words:
        return 0, 0
    windows = [tuple(words[i : i + 13]) for i in range(max(1, len(words) - 12))]
    holds = [
        window in grams
        or any(
            window[i : i + len(part)] == part
            for part in short
            for i in range(len(window) - len(part) + 1)
        )
        for window in windows
    ]
    return len(windows), sum(holds)


def make(rng: random.Random, low: int, high: int) -> str:
    few = WORDS[: rng.randint(2, len(WORDS))]
    return rng.choice([" ", "\n", ", "]).join(rng.choices(few, k=rng.randint(low, high)))


@pytest.mark.parametrize("seed", range(5))
def test_overlaps_equal_those_of_sets_of_tuples(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        protected = [make(rng, 0, rng.choice([14, 40])) for _ in range(rng.randint(0, 4))]
        texts = [make(rng, 0, 60) for _ in range(rng.randint(0, 4))] + [""]
        texts += [f"{make(rng, 0, 20)} {one} {make(rng, 0, 20)}" for one in protected[:2]]
        found = list(measure_overlap(protect({"v": protected}), texts))
        assert [(one.grams, one.shared) for one in found] == [
            by_tuples(protected, text) for text in texts
        ]


def test_long_texts_in_pieces_equal_the_definition() -> None:
    rng = random.Random(0)
    words = [f"w{i}" for i in range(3000)]
    long = " ".join(rng.choices(words, k=150_000))  # 800 kB: four pieces
    passages = [long[at : at + 400].split(" ", 1)[1] for at in (0, 262_000, 524_100, 790_000)]
    assert len(long) > 3 * 2**18
    for text in (long, long.replace("w1 ", "ß1 ")):
        (found,) = measure_overlap(protect({"v": passages}), [text])
        assert (found.grams, found.shared) == by_tuples(passages, text)
        assert found.shared > 150


def test_owners_are_named_once_each() -> None:
    one, two = (" ".join(f"{mark}{i}" for i in range(20)) for mark in "ab")
    protected = protect({"first": [one], "second": [one, two], "third": [EIGHT]})
    assert protected.passages == (1, 2, 1)
    texts = [one, two, f"{two} {one}", f"a {EIGHT}, yes", "nothing at all"]
    owners = [found.owners for found in measure_overlap(protected, texts)]
    # What is in several is booked to the first.
    assert owners == [(0,), (1,), (0, 1), (2,), ()]


def test_passages_below_eight_words_condemn_nothing() -> None:
    seven = EIGHT.rsplit(" ", 1)[0]
    protected = protect({"answers": ["yes", "", seven, "..."], "questions": ["No.", EIGHT]})
    assert (protected.passages, protected.short) == ((0, 1), (2, 1))
    texts = ["yes " * 40, "yes", f"no, {seven}", f"no, {EIGHT}"]
    found = list(measure_overlap(protected, texts))
    assert [one.shared for one in found] == [0, 0, 0, 1]
    assert found[3].owners == (1,)


def test_case_punctuation_and_line_ends_hide_nothing() -> None:
    passage = "The quick brown fox jumps over the lazy dog, and then it sleeps all day."
    loud = passage.upper().replace(" ", "\n--").replace(",", ";")
    clean, found = measure_overlap(protect({"v": [passage]}), ["word " * 30, f"x {loud} y"])
    assert clean.shared == 0
    assert found.shared == found.grams - 2 == len(passage.split()) - 12


def test_no_two_of_a_million_grams_collide() -> None:
    """Odds of a false alarm: 10^12 / 2^60, one in a million."""
    rng = np.random.default_rng(0)
    ids = rng.permutation(2_000_000)
    one = " ".join(map(str, ids[:1_000_000]))
    two = " ".join(map(str, ids[1_000_000:]))
    (found,) = measure_overlap(protect({"v": [one]}), [two])
    assert (found.grams, found.shared) == (999_988, 0)
    assert len(protect({"v": [one]}).tables[13].grams) == 999_988


# ---- planted contamination: a passage of n words hidden in a document of 1,000

LENGTHS = (13, 25, 50, 100, 200)


def plant(rng: random.Random, words: list[str], n: int) -> tuple[str, list[str], str]:
    """(held-out document, its passage of n words, document around a hole)."""
    held_out = rng.choices(words, k=300)
    at = rng.randrange(300 - n)
    return " ".join(held_out), held_out[at : at + n], " ".join(rng.choices(words, k=1000))


def test_every_exact_passage_is_found_and_no_clean_document() -> None:
    rng = random.Random(1)
    words = [f"w{i}" for i in range(5000)]
    held_out, hiding, clean = [], [], []
    for n in LENGTHS:
        for _ in range(40):
            text, passage, around = plant(rng, words, n)
            held_out.append(text)
            clean.append(around)
            cut = rng.randrange(len(around))
            hiding.append(f"{around[:cut]} {', '.join(passage).title()} {around[cut:]}")
    protected = protect({"validation": held_out})
    found = list(measure_overlap(protected, hiding))
    expected = [n - 12 for n in LENGTHS for _ in range(40)]
    assert [one.shared for one in found] == expected
    assert not any(one.shared for one in measure_overlap(protected, clean))


@pytest.mark.parametrize(("every", "shared"), [(10, 0), (13, 0), (14, 14), (20, 70), (40, 135)])
def test_an_edit_takes_the_grams_that_hold_it(every: int, shared: int) -> None:
    """200 words, each k-th changed: 200 / k runs of k - 1 words with k - 13 grams each."""
    words = [f"w{i}" for i in range(200)]
    edited = [f"new{i}" if i % every == every - 1 else word for i, word in enumerate(words)]
    (found,) = measure_overlap(protect({"v": [" ".join(words)]}), [" ".join(edited)])
    assert found.shared == shared
