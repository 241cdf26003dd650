"""Files made to harm: names of HTML, texts of no file, depth, counts, lengths, links, pipes."""

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from tracker_bytes import event, field, item, row, tf_record, wandb_file

from isoflop._errors import RunError
from isoflop.runs.foreign import ForeignRun
from isoflop.runs.readers import READERS
from isoflop.runs.readers.frames import MAX_RECORD
from isoflop.runs.readers.gathering import MAX_METRICS

READ_WANDB = READERS["wandb"].read


def wandb_run(tmp_path: Path, *records: bytes) -> ForeignRun:
    """The run of a file with these records."""
    path = tmp_path / "run-x.wandb"
    path.write_bytes(wandb_file(*records))
    (run,) = READ_WANDB(path)
    # Whatever is in it, it can be written down.
    text = json.dumps(
        [run.config, list(run.series), run.summary, run.problems, run.name, run.run_id]
    )
    text.encode()
    json.dumps(json.loads(text), ensure_ascii=False).encode()
    return run


def test_a_record_over_many_blocks_is_one(tmp_path: Path) -> None:
    long = json.dumps("x" * 200_000).encode()
    config = field(5, field(1, item("long", long)))
    run = wandb_run(tmp_path, config, row(0, item("a", b"0.5")), config, row(1, item("a", b"0.25")))
    assert run.config["long"] == "x" * 200_000
    np.testing.assert_array_equal(run.series["a"].value, [0.5, 0.25])


@pytest.mark.parametrize("size", range(32_740, 32_775))
def test_a_record_may_end_anywhere_in_a_block(tmp_path: Path, size: int) -> None:
    filler = field(99, bytes(size))
    run = wandb_run(tmp_path, filler, row(7, item("a", b"0.5")))
    np.testing.assert_array_equal(run.series["a"].step, [7])


def test_a_record_too_large_is_passed_over(tmp_path: Path) -> None:
    large = field(99, bytes(MAX_RECORD))
    run = wandb_run(tmp_path, row(0, item("a", b"1")), large, row(1, item("a", b"2")))
    np.testing.assert_array_equal(run.series["a"].value, [1, 2])
    assert run.problems == ("a record of more than 16 MiB was left out",)


def test_names_are_kept_as_they_are_and_shown_quoted(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>\x1b[31m\n[bold]"
    run = wandb_run(tmp_path, row(0, item(name, b"1")), row(1, item(name, b'"text"')))
    assert list(run.series) == [name]
    assert "\x1b" not in run.problems[0]
    assert "\n" not in run.problems[0]


def test_texts_that_no_file_can_hold_are_mended(tmp_path: Path) -> None:
    config = field(5, field(1, item("a", b'{"\\ud800": "\\udfff", "pair": "\\ud83d\\ude00"}')))
    run = wandb_run(tmp_path, config, row(0, field(1, b"\xff\xfe") + field(16, b"1")))
    assert run.config == {"a.?": "?", "a.pair": "\U0001f600"}
    assert list(run.series) == ["\ufffd\ufffd"]


@pytest.mark.parametrize("depth", [500, 900, 100_000])
def test_depth_is_bounded(tmp_path: Path, depth: int) -> None:
    brackets = b"[" * depth + b"]" * depth
    braces = b'{"a":' * depth + b"1" + b"}" * depth
    path = ["k"] * depth
    records = [field(5, field(1, item("list", brackets))), field(5, field(1, item("dict", braces)))]
    records += [field(5, field(1, item(path, b"1"))), field(5, field(1, item("fine", b"[[1]]")))]
    run = wandb_run(tmp_path, *records, row(0, item("a", brackets), item(path, b"2")))
    assert run.config["fine"] == [[1]]
    assert all(len(key) < 2000 for key in run.config)


def test_a_metric_named_by_a_counter_fills_no_memory(tmp_path: Path) -> None:
    rows = (row(i, *(item(f"m{i}_{j}", b"1") for j in range(100))) for i in range(200))
    run = wandb_run(tmp_path, *rows)
    assert len(run.series) == MAX_METRICS
    assert run.problems == (f"more than {MAX_METRICS} metrics: the others were left out",)


def test_values_out_of_range(tmp_path: Path) -> None:
    many = b"1" * 5000
    run = wandb_run(
        tmp_path,
        row(0, item("digits", many), item("huge", b"1e999"), item("words", b"tru")),
        row((1 << 63) - 1, item("a", b"1")),
        row(1 << 63, item("b", b"1")),  # as int64 this is negative
    )
    np.testing.assert_array_equal(run.series["huge"].value, [np.inf])
    np.testing.assert_array_equal(run.series["a"].step, [(1 << 63) - 1])
    np.testing.assert_array_equal(run.series["b"].step, [-(1 << 63)])


def test_restarts_without_end_take_no_time(tmp_path: Path) -> None:
    restart = tf_record(field(2, 1 << 40) + field(7, field(1, 1)))
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(b"".join(event(i, b"a", 1.0) for i in range(3000)) + restart * 20_000)
    (run,) = READERS["tensorboard"].read(path)
    assert len(run.series["a"].value) == 3000
    assert "restarts" in run.problems[0]


def test_empty_records_are_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(tf_record(b"") * 100_000 + event(3, b"a", 0.5))
    tracemalloc.start()
    (run,) = READERS["tensorboard"].read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(run.series["a"].value, [0.5])
    assert run.problems == ()
    assert peak < 100e6


def test_pipes_and_circles_of_links_are_not_followed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run-pipe.wandb")
    os.mkfifo(tmp_path / "events.out.tfevents.1")
    os.mkfifo(tmp_path / "trainer_state.json")
    os.mkfifo(tmp_path / "x.db")
    (tmp_path / "circle").symlink_to(tmp_path)
    for reader in READERS.values():
        assert not reader.sniff(tmp_path)
        with pytest.raises(RunError, match="holds no runs"):
            list(reader.read(tmp_path))


def test_names_of_files_need_be_no_utf8(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\xff\xfe"
    os.mkdir(folder)
    content = {
        b"run-a.wandb": wandb_file(row(0, item("a", b"1"))),
        b"events.out.tfevents.1": event(0, b"a", 1.0),
        b"trainer_state.json": b'{"log_history": []}',
        b"results_1.json": b'{"results": {}, "config": {}}',
        b"x.wandb": b"no",
    }
    for name, data in content.items():
        with open(folder + b"/" + name, "wb") as stream:
            stream.write(data)
    for kind in ("wandb", "tensorboard", "trainer_state", "lm_eval"):
        for run in READERS[kind].read(tmp_path):
            "".join((run.place, run.run_id, run.name, *run.problems)).encode()


def test_without_pyarrow_parquet_is_asked_for_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1" + bytes(100))
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from pathlib import Path\n"
        "from isoflop.runs.readers import READERS\n"
        "from isoflop._errors import MissingExtraError\n"
        "path = Path(sys.argv[1])\n"
        "assert not READERS['trackio'].sniff(path)\n"
        "try:\n    list(READERS['trackio'].read(path / 'a.parquet'))\n"
        "except MissingExtraError as error:\n    assert 'isoflop[data]' in str(error)\n"
        "else:\n    raise SystemExit(3)\n"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, tmp_path], env=env, check=True, timeout=60)


def test_a_value_that_is_no_json_leaves_its_row_whole(tmp_path: Path) -> None:
    run = wandb_run(tmp_path, row(0, item("a", b"1"), item("bad", b"{tru"), item("b", b"2")))
    assert set(run.series) == {"a", "b"}
    assert run.problems == ("no numbers in some rows of 'bad': left out there",)


def test_lists_of_millions_fill_no_memory(tmp_path: Path) -> None:
    lists = b"[" + b"[]," * 5_000_000 + b"[]]"
    tracemalloc.start()
    run = wandb_run(tmp_path, field(5, field(1, item("c", lists))), row(0, item("a", lists)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6
    assert "a record cannot be read" in run.problems[0]
    assert "no numbers in some rows of 'a'" in run.problems[1]


def test_old_rows_of_nested_values(tmp_path: Path) -> None:
    nested = item("eval", b'{"loss": 0.5, "per": {"x": "NaN"}}')
    picture = item("image", b'{"_type": "image-file", "width": 3}')
    run = wandb_run(tmp_path, row(4, nested, picture))
    assert set(run.series) == {"eval.loss", "eval.per.x"}
    assert run.problems == ("no numbers in some rows of 'image': left out there",)
