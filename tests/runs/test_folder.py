"""Run folders survive torn writes and refuse corruption by name."""

import fcntl
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isoflop._errors import InputError, RunError
from isoflop.accounting import count_params
from isoflop.runs import Point, RunFolder, Status, read_runs
from isoflop.specs import RunConfig


def _point(step: int, kind: str = "intermediate") -> Point:
    return Point(
        step=step, n_tokens=64 * step, flops=1e6 * step, loss=3.0 / step, lr=1e-3,
        kind=kind, loss_by_domain={"a": 0.1, "b": 1 / 3}, bpb=None, wall_s=0.5,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, tiny_trunk: RunConfig) -> RunFolder:
    return RunFolder.create(tmp_path / "runs", tiny_trunk)


def test_append_then_read_is_exact(folder: RunFolder) -> None:
    points = [_point(1), _point(3), _point(7, "final")]
    for point in points:
        folder.append(point)
    assert folder.points() == points
    assert folder.final() == points[-1]


def test_a_last_line_cut_at_any_byte_is_read_past_and_mended(folder: RunFolder) -> None:
    folder.append(_point(1))
    folder.append(_point(2))
    path = folder.path / "metrics.jsonl"
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole) + 1):
        path.write_bytes(whole[:cut])
        # Only the newline may be missing from a line that counts.
        there = [_point(1), _point(2)] if cut >= len(whole) - 1 else [_point(1)]
        assert folder.points() == there
        assert folder.mend() == there[-1].step
        assert folder.points() == there
        if there[-1].step < 2:
            folder.append(_point(2))
        assert path.read_bytes() == whole


def test_mending_nothing(folder: RunFolder) -> None:
    assert folder.mend() == -1
    (folder.path / "metrics.jsonl").write_bytes(b'{"st')
    assert folder.mend() == -1
    assert (folder.path / "metrics.jsonl").read_bytes() == b""


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("n_tokens", "null"), ("n_tokens", '"abc"'), ("n_tokens", "1.5"), ("step", "-1"),
        ("loss", '"abc"'), ("loss", "null"), ("loss", "NaN"), ("loss", "-3"), ("loss", "1e400"),
        ("loss", "true"), ("loss_a", "Infinity"), ("flops", "0"), ("lr", "[]"), ("wall_s", "-1"),
        ("bpb", "{}"), ("kind", '"last"'), ("loss", "1" + 400 * "0"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("newline", ["\n", ""])
def test_an_impossible_value_is_named_with_its_line(
    folder: RunFolder, key: str, text: str, newline: str
) -> None:
    folder.append(_point(1))
    record = {**_point(2).to_json(), key: "THIS"}
    path = folder.path / "metrics.jsonl"
    with path.open("a") as stream:
        stream.write(json.dumps(record).replace('"THIS"', text) + newline)
    before = path.read_bytes()
    with pytest.raises(RunError, match=rf"metrics\.jsonl, line 2: not a point: {key} = "):
        folder.points()
    with pytest.raises(RunError, match="line 2"):
        folder.mend()
    assert path.read_bytes().rstrip() == before.rstrip()


def test_a_bad_line_within_is_named(folder: RunFolder) -> None:
    (folder.path / "metrics.jsonl").write_text('{"step": 1}\n{}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 1"):
        folder.points()


@pytest.mark.parametrize("name", ["config.json", "status.json"])
@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", '{"state": "asleep"}', "null", '{"attempt": 1}',
        '{"state": "done", "step": 1.5}', '{"state": "done", "n_tokens": "abc"}',
        '{"state": "done", "heartbeat": NaN}', '{"state": "done", "reason": null}',
        '{"state": "done", "mood": 1}', '{"state": []}',
    ],
)  # fmt: skip
def test_corrupt_files_are_named(folder: RunFolder, name: str, text: str) -> None:
    (folder.path / name).write_text(text)
    with pytest.raises(InputError, match=name):
        folder.config() if name == "config.json" else folder.status()


def test_a_status_says_which_key_is_wrong(folder: RunFolder) -> None:
    (folder.path / "status.json").write_text('{"state": "done", "step": null}')
    with pytest.raises(RunError, match=r"status\.json: not a status: step = None .* Delete"):
        folder.status()


def test_a_changed_or_copied_configuration_is_refused(folder: RunFolder) -> None:
    config = folder.config()
    assert config.run_id == folder.run_id
    copy = folder.path.with_name("copy")
    shutil.copytree(folder.path, copy)
    with pytest.raises(RunError, match=rf"describes run {config.run_id}, not copy"):
        RunFolder(copy).config()
    path = folder.path / "config.json"
    data = json.loads(path.read_text())
    data["optimiser"]["lr"] *= 2
    path.write_text(json.dumps(data))
    with pytest.raises(RunError, match=rf"config\.json: was changed.*not {folder.run_id}"):
        folder.config()


def test_a_run_folder_is_known_from_within(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.path)
    assert RunFolder(Path(".")).config() == folder.config()


def test_a_run_is_held_while_its_lock_is(folder: RunFolder) -> None:
    assert not folder.is_held()
    with (folder.path / "lock").open("w") as stream:
        assert not folder.is_held()
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert folder.is_held()
    assert not folder.is_held()


def test_status_and_execution(folder: RunFolder) -> None:
    assert folder.status() == Status(state="queued")
    folder.set_status(Status(state="running", attempt=2))
    folder.beat(step=5)
    assert (folder.status().attempt, folder.status().step) == (2, 5)
    assert folder.freeze_execution({"threads": 1}) == {"threads": 1}
    assert folder.freeze_execution({"threads": 2}) == {"threads": 1}


def test_read_runs_takes_final_points_with_their_counts(folder: RunFolder) -> None:
    folder.append(_point(5))
    folder.append(_point(9, "final"))
    table = read_runs(folder.path.parent)
    # 4·16² + 2·16·32 + 300·16: attention, MLP and head of the tiny model.
    assert table["n_params"].tolist() == [1024 + 1024 + 4800]
    assert table["n_tokens"].tolist() == [9 * 64]
    np.testing.assert_array_equal(table["flops"], 6 * table["n_params"] * table["n_tokens"])
    assert table["loss_b"].tolist() == [1 / 3]
    total = count_params(folder.config().shape).total
    assert table["n_params_total"].tolist() == [total]
    assert table["n_params_non_embedding_with_head"].tolist() == table["n_params"].tolist()
    np.testing.assert_array_equal(table["flops_6nd"], table["flops"])
    # Attention to (16 + 1) / 2 positions: 12·L·d FLOPs each and token.
    extra = table["flops_exact_causal"] - table["flops_6nd"]
    np.testing.assert_allclose(extra, 12 * 16 * 8.5 * table["n_tokens"])


def test_a_mixture_is_counted_by_what_is_active(tmp_path: Path, tiny_trunk: RunConfig) -> None:
    """The fits' C = 6·N·D must be the FLOPs that were spent."""
    shape = replace(tiny_trunk.shape, n_experts=8)
    folder = RunFolder.create(tmp_path, replace(tiny_trunk, shape=shape))
    folder.append(_point(4, kind="final"))
    table = read_runs(tmp_path)
    count = count_params(shape)
    assert table["n_params"].tolist() == [count.under("active")]
    assert table["n_params_total"].tolist() == [count.total]
    assert table["flops"].tolist() == (6 * table["n_params"] * table["n_tokens"]).tolist()
    assert table["n_params_convention"].tolist() == ["active"]


def test_read_runs_reads_csv_and_says_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("n_params,n_tokens,loss,run\n1e6,2e7,3.5,a\n")
    assert read_runs(path)["loss"].tolist() == [3.5]
    with pytest.raises(RunError, match="no such folder"):
        read_runs(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="no final point"):
        read_runs(tmp_path / "empty")


def test_a_csv_in_another_encoding_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_bytes("n_params,n_tokens,loss,run\n1e6,2e7,3.5,a\n1e6,2e7,3.4,é\n".encode("latin-1"))
    with pytest.raises(RunError, match=r"runs\.csv, line 3: not UTF-8"):
        read_runs(path)


def test_a_csv_of_a_spreadsheet_begins_with_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("n_params,n_tokens,loss\n1e6,2e7,3.5\n", encoding="utf-8-sig")
    assert read_runs(path)["n_params"].tolist() == [1e6]


def test_a_short_csv_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("n_params,n_tokens,loss\n1e6,2e7,3.5\n1e6,2e7\n")
    with pytest.raises(RunError, match=r"runs\.csv, line 3: wrong number of cells"):
        read_runs(path)
