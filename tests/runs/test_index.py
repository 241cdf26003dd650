"""The index makes lists quick and is never believed over the files."""

import json
import os
from dataclasses import replace

import pytest

from isoflop._errors import RunError
from isoflop.runs import Point, RunFolder, Status, list_runs
from isoflop.runs import index as module


@pytest.fixture
def runs(tmp_path, tiny_trunk):
    for seed in range(3):
        folder = RunFolder.create(tmp_path / "runs", replace(tiny_trunk, seed=seed))
        folder.append(_point(5, 3.0 + seed))
        folder.set_status(Status(state="running"))
        age(folder.path)
    return tmp_path


def _point(step, loss):
    return Point(step=step, n_tokens=64 * step, flops=1.0, loss=loss, lr=0.1, kind="intermediate")


def age(path, seconds=100):
    for file in path.iterdir():
        if file.is_file():
            seen = file.stat()
            os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns - seconds * 10**9))


def count_reads(monkeypatch):
    read = []
    summary = module._summary
    monkeypatch.setattr(module, "_summary", lambda path: (read.append(path.name), summary(path))[1])
    return read


def test_only_what_changed_is_read_again(runs, monkeypatch):
    first = list_runs(runs)
    assert sorted(run.loss for run in first) == [3.0, 4.0, 5.0]
    read = count_reads(monkeypatch)
    assert list_runs(runs) == first
    assert read == []
    folder = RunFolder(runs / "runs" / first[1].run_id)
    folder.append(_point(6, 2.0))
    assert list_runs(runs)[1].loss == 2.0
    assert read == [first[1].run_id]


def test_a_file_changed_within_the_grain_of_the_clock_is_seen(runs, monkeypatch):
    first = list_runs(runs)
    path = runs / "runs" / first[0].run_id / "status.json"
    list_runs(runs)
    text = path.read_text()
    path.write_text(text.replace("running", "preempt").replace("preempt", "running"))
    list_runs(runs)  # its entry is made while the file is young
    # The same size, time and inode, other content: as within one tick of a coarse clock.
    seen = path.stat()
    with path.open("r+") as stream:
        stream.write(text.replace('"step": 0', '"step": 7'))
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    read = count_reads(monkeypatch)
    list_runs(runs)
    assert read == [first[0].run_id]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 9, "runs": {}}', '{"version": 1, "runs": {"a": {}}}',
             '{"version": 1, "runs": []}', '{"version": 1, "runs": {"a": {"run": {}}}}']
)  # fmt: skip
def test_any_index_may_lie_there(runs, text):
    first = list_runs(runs)
    place = runs / "runs" / module.INDEX
    place.write_text(text)
    assert list_runs(runs) == first
    place.unlink()
    assert list_runs(runs) == first


def test_an_index_that_was_edited_is_not_believed(runs):
    first = list_runs(runs)
    place = runs / "runs" / module.INDEX
    data = json.loads(place.read_text())
    for entry in data["runs"].values():
        entry["run"]["loss"] = 9.0
    place.write_text(json.dumps(data))
    assert list_runs(runs) == first


def test_runs_that_go_leave_the_list_and_corrupt_ones_say_so(runs):
    first = list_runs(runs)
    (runs / "runs" / first[0].run_id / "config.json").write_text("{")
    gone = runs / "runs" / first[1].run_id
    gone.rename(runs / "elsewhere")
    left = list_runs(runs)
    assert [run.run_id for run in left] == [first[0].run_id, first[2].run_id]
    assert left[0].state == "corrupt"
    assert "config.json" in left[0].reason


def test_a_folder_that_may_only_be_read_is_listed(runs, monkeypatch):
    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module, "write_json_atomically", refused)
    assert len(list_runs(runs)) == 3
    with pytest.raises(RunError, match="no such folder"):
        list_runs(runs / "none")
