"""Which hidden passages does decontamination find? The table of edits, and its speed.

`make bench-contamination` takes the running Python's documentation strings and sources (the recipe
`stdlib`), holds out every twentieth document, hides one passage of a held-out document in each of
many train documents, changed in one of several ways, and counts what is found (a 13-gram shared)
and what would be dropped (more than a fifth of the document's 13-grams shared). Train documents
that share a 13-gram with the held-out ones by themselves are left out first, so everything found
was planted. The speed is that of one core, by processor time. About half a minute.
"""

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from isoflop.data import find_recipe
from isoflop.data.decontaminate import Protected, measure_overlap, protect
from isoflop.data.recipes import read_recipe
from isoflop.data.words import normalise

LENGTHS = (13, 25, 50, 100, 200)
PLANTED = 100
"""Passages of each length and edit."""
HOST_WORDS = 500
MAX_OVERLAP = 0.2
SPEED_MB = 40


def exact(words: list[str], rng: random.Random) -> str:
    """As it is."""
    return " ".join(words)


def loud(words: list[str], rng: random.Random) -> str:
    """Upper case, with punctuation and line ends between the words."""
    return "".join(word.upper() + rng.choice([", ", ";\n", " -- ", ". "]) for word in words)


def one_in(k: int) -> Callable[[list[str], random.Random], str]:
    """One word of each k replaced, at a random place."""

    def change(words: list[str], rng: random.Random) -> str:
        out = list(words)
        for at in range(0, len(out), k):
            place = at + rng.randrange(k)
            if place < len(out):
                out[place] = "changed"
        return " ".join(out)

    return change


def reordered(words: list[str], rng: random.Random) -> str:
    """Its sentences, of 15 words each, in another order."""
    parts = [words[at : at + 15] for at in range(0, len(words), 15)]
    rng.shuffle(parts)
    return " ".join(word for part in parts for word in part)


EDITS: dict[str, Callable[[list[str], random.Random], str]] = {
    "exact": exact,
    "case, punctuation": loud,
    "1 word in 40": one_in(40),
    "1 word in 20": one_in(20),
    "1 word in 10": one_in(10),
    "sentences reordered": reordered,
}


def main() -> int:
    """Print the table; 0 if every exact passage was found."""
    recipe = find_recipe("stdlib")
    texts = [document.text for document in read_recipe(recipe, cache=Path("."))]
    rng = random.Random(0)
    rng.shuffle(texts)
    held_out, train = texts[::20], [text for k, text in enumerate(texts) if k % 20]
    protected = protect({"held out": held_out})
    overlaps = measure_overlap(protected, train)
    clean = [text for text, one in zip(train, overlaps, strict=True) if not one.shared]
    hosts = [words for text in clean if len(words := normalise(text).split()) >= HOST_WORDS]
    sources = [words for text in held_out if len(words := normalise(text).split()) >= 200]
    rows = []
    for name, edit in EDITS.items():
        for n in LENGTHS:
            found = count(protected, hosts, sources, edit, n, rng)
            rows.append((name, n, *found))
    out = sys.stdout.write
    out(f"{'edit':22}{'words':>6}{'found':>8}{'dropped':>9}{'shared 13-grams':>17}\n")
    for name, n, seen, dropped, shared in rows:
        out(f"{name:22}{n:6}{seen / PLANTED:8.0%}{dropped / PLANTED:9.0%}{shared:17.1f}\n")
    missed = sum(PLANTED - seen for name, _, seen, _, _ in rows if name in list(EDITS)[:2])
    out(
        f"exact_missed={missed} clean={len(clean)} of={len(train)} "
        f"mb_s={speed(protected, train):.0f}\n"
    )
    return int(missed > 0)


def count(
    protected: Protected,
    hosts: list[list[str]],
    sources: list[list[str]],
    edit: Callable[[list[str], random.Random], str],
    n: int,
    rng: random.Random,
) -> tuple[int, int, float]:
    """(found, dropped, mean shared 13-grams) of passages of n words, each in 500 clean words."""
    planted = []
    for _ in range(PLANTED):
        source, host = rng.choice(sources), rng.choice(hosts)
        at, cut = rng.randrange(len(source) - n + 1), rng.randrange(HOST_WORDS)
        begin = rng.randrange(len(host) - HOST_WORDS + 1)
        around = host[begin : begin + HOST_WORDS]
        passage = edit(source[at : at + n], rng)
        planted.append(" ".join([*around[:cut], passage, *around[cut:]]))
    found = list(measure_overlap(protected, planted))
    return (
        sum(one.shared > 0 for one in found),
        sum(one.share > MAX_OVERLAP for one in found),
        sum(one.shared for one in found) / PLANTED,
    )


def speed(protected: Protected, texts: list[str]) -> float:
    """MB of text a second of processor time."""
    size = sum(len(text.encode()) for text in texts)
    repeats = max(1, round(SPEED_MB * 1e6 / size))
    begin = time.process_time()
    for _ in measure_overlap(protected, texts * repeats):
        pass
    return repeats * size / 1e6 / (time.process_time() - begin)


if __name__ == "__main__":
    sys.exit(main())
