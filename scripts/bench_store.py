"""The store under load: 32 writers at once, a long list, a table.

`make bench-store`. Every writer appends rows one by one to a run folder of its own, as a training
does, each row on disk for readers before the next. The goals: 50,000 rows/s together, no append
longer than 0.5 s. Then every row is counted. 1,000 runs are listed with the index and without it.
"""

import multiprocessing
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from isoflop.runs import Point, RunFolder, Status, list_runs
from isoflop.runs.index import INDEX
from isoflop.specs import DataSpec, ModelShape, Optimiser, RunConfig, Schedule

WRITERS, ROWS = 32, 10_000
RUNS, POINTS = 1000, 100
ROWS_S, STALL_S, LIST_S = 50_000, 0.5, 1.0
SHAPE = ModelShape(vocab_size=300, width=16, depth=1, n_heads=2, ff_width=32, context=16)
CONFIG = RunConfig(
    shape=SHAPE,
    data=DataSpec(corpus_hash="x", weights=(("prose", 1.0),)),
    schedule=Schedule(kind="trunk", warmup_tokens=256),
    optimiser=Optimiser(lr=1e-2, batch_tokens=64),
    seed=0,
)


def point(step: int) -> Point:
    """A row as a training writes it."""
    return Point(
        step=step, n_tokens=64 * step, flops=1e6 * step, loss=3.0 + 1 / step, lr=1e-3,
        kind="intermediate", loss_by_domain={"prose": 3.1, "code": 2.9 + 1 / step},
        wall_s=0.1 * step,
    )  # fmt: skip


def write(root: Path, seed: int, start: object, out: object) -> None:
    """Append rows once all are ready; the longest append and the times of the first and last."""
    folder = RunFolder.create(root / "runs", replace(CONFIG, seed=seed))
    points = [point(step) for step in range(1, ROWS + 1)]  # what a training measures is its own
    start.wait()  # type: ignore[attr-defined]
    began, cpu = time.perf_counter(), time.process_time()
    last = began
    stall = 0.0
    for one in points:
        folder.append(one)
        now = time.perf_counter()
        stall, last = max(stall, now - last), now
    out.put((began, last, stall, time.process_time() - cpu))  # type: ignore[attr-defined]


def measure_writers(root: Path) -> tuple[float, float, float]:
    """Rows a second of all together, the longest wait for an append [s], CPU time of a row [s]."""
    context = multiprocessing.get_context("fork")
    start, out = context.Barrier(WRITERS), context.Queue()
    writers = [context.Process(target=write, args=(root, i, start, out)) for i in range(WRITERS)]
    for writer in writers:
        writer.start()
    times = [out.get() for _ in writers]
    for writer in writers:
        writer.join()
    began, ended, stalls, cpu = zip(*times, strict=True)
    seconds = max(ended) - min(began)
    for path in (root / "runs").iterdir():
        lines = (path / "metrics.jsonl").read_bytes().count(b"\n")
        if lines != ROWS:
            raise SystemExit(f"{path}: {lines} rows of {ROWS}")
    return WRITERS * ROWS / seconds, max(stalls), sum(cpu) / (WRITERS * ROWS)


def measure_lists(root: Path) -> tuple[float, float]:
    """Seconds to list 1,000 runs with the index, and to make it."""
    points = [point(step) for step in range(1, POINTS + 1)]
    for seed in range(RUNS):
        folder = RunFolder.create(root / "runs", replace(CONFIG, seed=seed))
        folder.append(*points)
        folder.set_status(Status(state="done"))
        for file in folder.path.iterdir():  # runs of yesterday: the index trusts no young file
            os.utime(file, (1e9, 1e9))
    began = time.perf_counter()
    first = list_runs(root)
    made = time.perf_counter()
    again = list_runs(root)
    seconds = time.perf_counter() - made
    if len(first) != RUNS or again != first or not (root / "runs" / INDEX).exists():
        raise SystemExit("the list is not what was written")
    return seconds, made - began


def main() -> int:
    """Measure, print, and exit with 1 when something is slower than allowed."""
    with tempfile.TemporaryDirectory() as place:
        rows_s, stall_s, cpu_s = measure_writers(Path(place) / "writers")
        list_s, index_s = measure_lists(Path(place) / "list")
    sys.stdout.write(
        f"{WRITERS} writers x {ROWS} rows on {os.cpu_count()} cores, {1e6 * cpu_s:.1f} us CPU "
        f"a row; index of {RUNS} runs made in {index_s:.2f} s\n"
    )
    sys.stdout.write(f"rows_s={rows_s:.0f} max_stall_s={stall_s:.3f} list_1000_s={list_s:.3f}\n")
    return int(rows_s < ROWS_S or stall_s > STALL_S or list_s > LIST_S)


if __name__ == "__main__":
    sys.exit(main())
