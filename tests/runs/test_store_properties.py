"""Appends, cuts at any byte, restarts in any order: nothing complete lost, nothing doubled."""

import math
import multiprocessing
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isoflop.runs import ImportedRun, Point, RunFolder
from isoflop.runs.imported import ImportedFolder

QUICK = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LOSS = st.floats(min_value=1e-3, max_value=1e3)
APPENDS = st.tuples(st.just("append"), st.lists(LOSS, min_size=1, max_size=4))
CUTS = st.tuples(st.just("cut"), st.floats(min_value=0, max_value=1))
RESTARTS = st.tuples(st.just("restart"), st.none())


def point(step, loss):
    return Point(
        step=step, n_tokens=64 * step, flops=1.0 + step, loss=loss, lr=0.1, kind="intermediate",
        loss_by_domain={"é": loss},
    )  # fmt: skip


def complete(data, ends):
    """How many appended lines lie in `data`: the newline alone may be missing."""
    return sum(end - 1 <= len(data) for end in ends)


@QUICK
@given(st.lists(st.one_of(APPENDS, CUTS, RESTARTS), max_size=25))
def test_a_run_folder_holds_what_was_complete(actions):
    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder(Path(place))
        path, held = folder.path / "metrics.jsonl", []
        for action, value in actions:
            if action == "append":
                folder.mend()  # what a trainer does before its first step
                new = [point(len(held) + 1 + i, loss) for i, loss in enumerate(value)]
                folder.append(*new)
                held += new
            elif action == "cut" and path.exists():
                data = path.read_bytes()
                ends = np.cumsum([len(line) + 1 for line in data.split(b"\n")[: len(held)]])
                cut = data[: round(value * len(data))]
                path.write_bytes(cut)
                held = held[: complete(cut, ends)]
            elif action == "restart":
                assert folder.mend() == (held[-1].step if held else -1)
            assert folder.points() == held
            assert folder.last() == (held[-1] if held else None)


def append_rows(place, rows):
    folder = RunFolder(Path(place))
    for step in range(1, rows + 1):
        folder.append(point(step, 3.0 / step))


def test_writers_of_different_runs_do_not_meet(tmp_path):
    places = [tmp_path / str(number) for number in range(8)]
    for place in places:
        place.mkdir()
    writers = [
        multiprocessing.get_context("spawn").Process(target=append_rows, args=(str(place), 300))
        for place in places
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    wanted = [point(step, 3.0 / step) for step in range(1, 301)]
    assert all(RunFolder(place).points() == wanted for place in places)


def imported(points):
    names = ("step", "n_tokens", "loss", "lr")
    columns = {
        name: np.array([one[i] for one in points], dtype=float) for i, name in enumerate(names)
    }
    return ImportedRun(
        id="r", tool="table", name="r", state="running", n_params={"total": 1e6}, facts={},
        points=columns,
    )  # fmt: skip


def rows(points):
    """As the folder reads them: what is NaN was not measured, what is inf is no number."""
    named = [dict(zip(("step", "n_tokens", "loss", "lr"), one, strict=True)) for one in points]
    return [{k: v for k, v in one.items() if not math.isnan(v)} for one in named]


GROWS = st.tuples(st.just("grow"), st.lists(st.one_of(LOSS, st.just(math.inf)), max_size=4))
REWINDS = st.tuples(st.just("rewind"), st.floats(min_value=0, max_value=1))


@QUICK
@given(st.lists(st.one_of(GROWS, REWINDS, CUTS), min_size=1, max_size=20))
def test_an_imported_run_follows_its_source(actions):
    source, restarts = [], 0
    with tempfile.TemporaryDirectory() as place:
        folder = ImportedFolder(Path(place) / "run")
        path = folder.path / "metrics.jsonl"
        for action, value in actions:
            if action == "grow":
                first = source[-1][0] + 1 if source else 1
                source += [
                    (first + i, 10.0 * (first + i), v, math.nan) for i, v in enumerate(value)
                ]
            elif action == "rewind":
                # A restart: steps from some checkpoint on are done again, with other numbers.
                kept = round(value * len(source))
                restarts += 1
                again = [(s, n, 2 * v, restarts) for s, n, v, _ in source[kept : kept + 2]]
                source = [*source[:kept], *again] if again else source
            elif path.exists():
                data = path.read_bytes()
                path.write_bytes(data[: round(value * len(data))])
                folder.points()  # readable at any moment
            before = path.read_bytes() if path.exists() else b""
            folder.write(imported(source))
            data = path.read_bytes() if path.exists() else b""
            # Append-only: what was complete is still there.
            assert data.startswith(before[: before.rfind(b"\n") + 1])
            assert same(folder.points(), rows(source))
            assert folder.write(imported(source)) == 0
            assert (path.read_bytes() if path.exists() else b"") == data


def same(found, wanted):
    def plain(one):
        return {k: None if not math.isfinite(v) else v for k, v in one.items()}

    return [plain(one) for one in found] == [plain(one) for one in wanted]


def test_a_source_that_shrinks_takes_nothing_away(tmp_path):
    folder = ImportedFolder(tmp_path / "run")
    source = [(1, 10.0, 3.0, math.nan), (2, 20.0, 2.5, math.nan)]
    assert folder.write(imported(source)) == 2
    assert folder.write(imported(source[:1])) == 0
    assert same(folder.points(), rows(source))


def test_every_cut_of_an_import_is_mended_by_the_next(tmp_path):
    source = [(step, 10.0 * step, 3.0 / step, 0.1) for step in range(1, 6)]
    folder = ImportedFolder(tmp_path / "run")
    folder.write(imported(source))
    path = folder.path / "metrics.jsonl"
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        folder.points()
        folder.write(imported(source))
        assert path.read_bytes() == whole
