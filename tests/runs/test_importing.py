"""Importing: again, grown, killed, moved; always the same runs, each point once."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from foreign_runs import CONFIG, curve

from isoflop._errors import RunError
from isoflop.runs import RunFolder, import_runs, list_runs, read_foreign, read_runs
from isoflop.runs.imported import SOURCE, ImportedFolder


def write_log(path, last, *, seed=1, width=256):
    path.parent.mkdir(parents=True, exist_ok=True)
    steps = range(0, last + 1, 10)
    lines = [json.dumps({"config": {**CONFIG, "seed": seed, "d_model": width}})]
    lines += [
        json.dumps({"step": s, "val_loss": v}) for s, v in zip(steps, curve(steps), strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def logs(tmp_path):
    for number in range(3):
        write_log(tmp_path / "logs" / f"r{number}" / "metrics.jsonl", 100, seed=number)
    return tmp_path / "logs"


def take(source, into):
    return import_runs(read_foreign([source], home=into), into)


def content(study):
    return {
        path.relative_to(study).as_posix(): path.read_bytes()
        for path in sorted(study.rglob("*"))
        if path.name in (SOURCE, "metrics.jsonl")
    }


def test_again_and_nothing_changes(logs, tmp_path):
    study = tmp_path / "study"
    first = take(logs, study)
    assert [(one.is_new, one.n_new) for one in first] == [(True, 10)] * 3
    before = content(study)
    again = take(logs, study)
    assert [(one.is_new, one.n_new) for one in again] == [(False, 0)] * 3
    assert content(study) == before
    table = read_runs(study)
    assert sorted(table["run_name"]) == ["r0", "r1", "r2"]
    assert table["loss"].tolist() == [curve([100])[0]] * 3


def test_a_grown_source_adds_only_its_new_points(logs, tmp_path):
    study = tmp_path / "study"
    take(logs, study)
    before = content(study)
    write_log(logs / "r1" / "metrics.jsonl", 150, seed=1)
    write_log(logs / "r3" / "metrics.jsonl", 100, seed=3)
    news = {one.run.name: (one.is_new, one.n_new) for one in take(logs, study)}
    assert news == {"r0": (False, 0), "r1": (False, 5), "r2": (False, 0), "r3": (True, 10)}
    for name, data in content(study).items():
        assert data.startswith(before.get(name, b"")) or name.endswith(SOURCE)


def test_however_the_source_is_named(logs, tmp_path, monkeypatch):
    study = tmp_path / "study"
    take(logs, study)
    monkeypatch.chdir(tmp_path)
    for source in (Path("logs"), Path("logs/r0/metrics.jsonl"), Path("./study/../logs/r0")):
        assert all(not one.is_new for one in take(source, study)), source
    assert len(read_runs(study)["run"]) == 3


def test_a_study_moves_as_it_is(logs, tmp_path):
    """No file of it names the machine; moved with its sources, they are still the same runs."""
    study = tmp_path / "study"
    take(logs, study)
    before = read_runs(study)
    listed = list_runs(study)
    for data in content(study).values():
        assert str(tmp_path).encode() not in data
    assert str(tmp_path).encode() not in (study / "runs" / "index.json").read_bytes()
    other = tmp_path / "elsewhere" / "deep"
    other.mkdir(parents=True)
    shutil.move(study, other / "study")
    shutil.move(logs, other / "logs")
    after = read_runs(other / "study")
    for name, column in before.items():
        np.testing.assert_array_equal(after[name], column)
    assert list_runs(other / "study") == listed
    assert all(not one.is_new for one in take(other / "logs", other / "study"))


def test_a_folder_with_trainings_of_its_own_is_refused(logs, tmp_path, tiny_trunk):
    RunFolder.create(tmp_path / "own" / "runs", tiny_trunk)
    with pytest.raises(RunError, match=r"own: has trainings of its own.*--into"):
        take(logs, tmp_path / "own")


KILLED = """
import sys
from pathlib import Path
from isoflop.runs import import_runs, read_foreign
source, study = map(Path, sys.argv[1:])
import_runs(read_foreign([source], home=study), study)
"""


def test_killed_at_any_moment_and_done_again(tmp_path):
    """As soon as some runs are there the importing process is killed; the next finishes."""
    logs = tmp_path / "logs"
    for number in range(60):
        write_log(logs / f"r{number}" / "metrics.jsonl", 1000, seed=number)
    take(logs, tmp_path / "whole")
    study = tmp_path / "study"
    for wanted in (1, 15, 40):
        command = [sys.executable, "-c", KILLED, str(logs), str(study)]
        process = subprocess.Popen(command)
        while process.poll() is None and len(list(study.glob(f"runs/*/{SOURCE}"))) < wanted:
            time.sleep(0.002)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        for folder in study.glob(f"runs/*/{SOURCE}"):
            ImportedFolder(folder.parent).read()  # whatever is there can be read
    take(logs, study)
    assert content(study) == content(tmp_path / "whole")


def test_a_folder_of_the_store_is_no_foreign_source(logs, tmp_path):
    study = tmp_path / "study"
    take(logs, study)
    for place in (study, study / "runs", next((study / "runs").iterdir())):
        with pytest.raises(RunError, match="holds runs of isoflop's already"):
            read_foreign([place])
    # Beside sources it is passed over.
    assert len(read_foreign([tmp_path], home=study).runs) == 3


def test_points_without_their_description_are_no_run_yet(logs, tmp_path):
    study = tmp_path / "study"
    take(logs, study)
    before = content(study)
    for path in study.glob(f"runs/*/{SOURCE}"):
        path.unlink()
    with pytest.raises(RunError, match="no final point"):
        read_runs(study)
    take(logs, study)
    assert content(study) == before


def test_an_earlier_attempt_that_comes_later_takes_its_run_along(tmp_path):
    """Two CSVs of one training: the second attempt alone first, then both."""
    study, source = tmp_path / "study", tmp_path / "csv"
    source.mkdir()
    head = "run,group,step,val_loss,d_model,n_layers,vocab_size,batch_tokens\n"

    def write(name, steps):
        rows = [
            f"{name},g,{s},{v!r},256,4,32000,1000" for s, v in zip(steps, curve(steps), strict=True)
        ]
        (source / f"{name}.csv").write_text(head + "\n".join(rows) + "\n")

    write("second", range(50, 101, 10))
    (orphan,) = take(source, study)
    assert any("begins at step 50" in text for text in orphan.run.problems)
    write("first", range(0, 71, 10))
    take(source, study)
    table = read_runs(study, kind="any")
    assert table["n_tokens"].tolist() == [1000.0 * s for s in range(10, 101, 10)]
    assert len(set(table["run"])) == 1


WHOLE = {
    "version": 1, "tool": "t", "id": "", "name": "", "state": "done", "n_params": {}, "facts": {},
    "finals": {}, "provenance": {}, "segments": [], "problems": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "corrupt"), ("[]", "version unknown"), ('{"version": 2}', "version unknown"),
        ('{"version": 1}', "'tool'"), (json.dumps({**WHOLE, "state": "asleep"}), "state"),
        (json.dumps({**WHOLE, "n_params": {"total": -1}}), "n_params"),
        (json.dumps({**WHOLE, "facts": []}), "facts"),
    ],
)  # fmt: skip
def test_a_corrupt_description_is_named(logs, tmp_path, text, said):
    study = tmp_path / "study"
    one = take(logs, study)[0]
    (study / "runs" / one.run.run_id / SOURCE).write_text(text)
    with pytest.raises(RunError, match=rf"{SOURCE}.*{said}"):
        read_runs(study)


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"loss": 1}', '{"step": 1.5}', '{"step": 1, "a": "b"}']
)
def test_a_corrupt_line_is_named(logs, tmp_path, line):
    study = tmp_path / "study"
    one = take(logs, study)[0]
    path = study / "runs" / one.run.run_id / "metrics.jsonl"
    path.write_text(line + "\n" + path.read_text())
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 1: not a point"):
        read_runs(study)


def test_imports_of_several_sources_at_once(tmp_path):
    """Four processes write into one study; the index is made by all of them."""
    processes = []
    for number in range(4):
        source = tmp_path / f"logs{number}"
        for seed in range(5):
            write_log(source / f"r{number}{seed}" / "metrics.jsonl", 300, seed=10 * number + seed)
        command = [sys.executable, "-c", KILLED + "\nfrom isoflop.runs import list_runs\n"
                   "list_runs(study)\n", str(source), str(tmp_path / "study")]  # fmt: skip
        processes.append(subprocess.Popen(command))
    assert [process.wait() for process in processes] == [0] * 4
    runs = list_runs(tmp_path / "study")
    assert len(runs) == 20
    assert {run.loss for run in runs} == {curve([300])[0]}
    for path in (tmp_path / "study" / "runs").glob("*/metrics.jsonl"):
        steps = [json.loads(line)["step"] for line in path.read_text().splitlines()]
        assert steps == list(range(10, 301, 10))


def test_a_run_that_another_process_imports_is_waited_for(logs, tmp_path):
    import fcntl

    study = tmp_path / "study"
    one = take(logs, study)[0]
    with (study / "runs" / one.run.run_id / "lock").open("a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(RunError, match=r"is importing this run\. Wait for it"):
            take(logs, study)
    assert sum(one.n_new for one in take(logs, study)) == 0
