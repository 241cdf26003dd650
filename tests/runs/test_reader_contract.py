"""What every reader keeps: nothing runs, nobody is contacted, nothing is changed, kinds differ."""

import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isoflop._errors import RunError
from isoflop.runs.foreign import ForeignRun
from isoflop.runs.readers import READERS

Written = Callable[[str], tuple[Path, Any]]
WRITERS = {
    "wandb": "wandb",
    "tensorboard": "tensorboard",
    "mlflow": "mlflow",
    "trainer_state": "trainer",
    "lm_eval": "lm_eval",
    "trackio": "trackio",
}


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its time and content."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file): (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


@pytest.mark.parametrize("kind", READERS)
def test_reading_contacts_nobody_and_changes_nothing(
    written: Written, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = written(WRITERS[kind])

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a reader of files opened a connection")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    before = snapshot(folder)
    assert READERS[kind].sniff(folder)
    runs = list(READERS[kind].read(folder))
    assert runs
    assert snapshot(folder) == before
    # A second reading tells the same: what is watched is read again and again.
    assert [described(run) for run in READERS[kind].read(folder)] == [described(r) for r in runs]
    assert len({run.run_id for run in runs}) == len(runs)
    assert {run.tool for run in runs} == {kind}


def described(run: ForeignRun) -> object:
    """All of a run as plain values that compare (NaN by its text)."""
    series = {
        key: (each.step.tolist(), repr(each.value.tolist()), repr(each.wall_s.tolist()))
        for key, each in run.series.items()
    }
    return run.run_id, run.name, run.group, run.config, run.summary, run.problems, series


@pytest.mark.parametrize("kind", READERS)
def test_a_kind_knows_its_own_and_no_other(written: Written, kind: str, tmp_path: Path) -> None:
    for other, writer in WRITERS.items():
        folder, _ = written(writer)
        assert READERS[kind].sniff(folder) == (kind == other)
    (tmp_path / "notes.txt").write_text("<html>no run</html>")
    for name in ("a.csv", "b.json", "c.jsonl", "d.db", "e.parquet", "f.wandb", "tfevents"):
        (tmp_path / name).write_text("step,loss\n1,2.5\n" * 100)
        assert not READERS[kind].sniff(tmp_path / name)
    assert not READERS[kind].sniff(tmp_path / "nowhere")
    assert not READERS[kind].sniff(tmp_path)
    with pytest.raises(RunError):
        list(READERS[kind].read(tmp_path / "notes.txt"))


class _Trap:
    """Leaves a mark where a pickle of it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_nothing_in_a_folder_runs(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    out = tmp_path / "out"
    (out / "metrics").mkdir(parents=True)
    (out / "trainer_state.json").write_text('{"log_history": []}')
    (out / "training_args.bin").write_bytes(pickle.dumps(_Trap(mark)))
    (out / "meta.yaml").write_text(f"run_id: !!python/object/apply:os.mkdir ['{mark}']\n")
    for kind in ("trainer_state", "mlflow"):
        assert len(list(READERS[kind].read(out))) == 1
    assert not mark.exists()


def test_readers_import_no_tracker_and_no_heavy_package() -> None:
    code = (
        "import sys, isoflop.runs.readers\n"
        "heavy = {'wandb', 'mlflow', 'tensorboard', 'trackio', 'torch', 'pyarrow', 'pandas',"
        " 'google.protobuf', 'yaml', 'transformers', 'requests', 'httpx'}\n"
        "raise SystemExit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=60)
