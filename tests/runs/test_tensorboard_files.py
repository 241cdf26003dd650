"""TensorBoard's event files: what real writers logged comes back; restarts void what they redo."""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tracker_bytes import crc, event, tf_record

from isoflop._errors import RunError
from isoflop.runs.readers import READERS
from isoflop.runs.readers.frames import masked_crc32c

Written = Callable[[str], tuple[Path, Any]]
READ = READERS["tensorboard"].read


def test_series_equal_what_was_logged(written: Written) -> None:
    folder, truth = written("tensorboard")
    assert READERS["tensorboard"].sniff(folder)
    runs = {run.name: run for run in READ(folder)}
    assert set(runs) == set(truth)
    for name, expected in truth.items():
        run = runs[name]
        assert set(run.series) == set(expected)
        for tag, (steps, values) in expected.items():
            np.testing.assert_array_equal(run.series[tag].step, steps)
            np.testing.assert_array_equal(run.series[tag].value, values)
        assert run.problems == ()
    walls = runs["restarted"].series["train/loss"].wall_s
    np.testing.assert_array_equal(walls, 1e9 + np.arange(70))


def test_settings_come_from_the_hparams_plugin_and_from_json_texts(written: Written) -> None:
    folder, _ = written("tensorboard")
    (run,) = READ(folder / "precise")
    assert run.config == {
        "args.lr": 0.1, "args.nested.a": [1, 2], "lr": 0.5, "name": "x", "flag": True,
    }  # fmt: skip
    assert run.state == "done"


def event_file(folder: Path) -> Path:
    """The first event file of the run that was restarted."""
    return min((folder / "restarted").iterdir())


def test_every_truncation_gives_a_prefix(written: Written, tmp_path: Path) -> None:
    folder, _ = written("tensorboard")
    whole = event_file(folder).read_bytes()
    cut = tmp_path / "events.out.tfevents.1"
    full = next(iter(READ(event_file(folder)))).series["train/loss"].value
    lengths = set()
    for size in range(0, len(whole), 11):
        cut.write_bytes(whole[:size])
        (run,) = READ(cut)
        got = run.series["train/loss"].value if run.series else np.zeros(0)
        np.testing.assert_array_equal(got, full[: len(got)])
        # The file is fresh: its writer may well live.
        assert run.problems == ()
        assert run.state == "running"
        lengths.add(len(got))
    assert lengths == set(range(len(full) + 1))
    os.utime(cut, (1e9, 1e9))
    (run,) = READ(cut)
    assert run.state == "unknown"
    assert "ends within a record" in run.problems[0]


def test_a_flipped_bit_ends_the_reading_with_a_sentence(written: Written, tmp_path: Path) -> None:
    folder, _ = written("tensorboard")
    whole = bytearray(event_file(folder).read_bytes())
    whole[len(whole) // 2] ^= 4
    (tmp_path / "events.out.tfevents.1").write_bytes(whole)
    (run,) = READ(tmp_path)
    assert 0 < len(run.series["train/loss"].value) < 50
    assert "checksum" in run.problems[0] or "within a record" in run.problems[0]


def test_crc32c_is_that_of_its_published_vectors() -> None:
    # RFC 3720, appendix B.4.
    vectors = {
        bytes(32): 0x8A9136AA,
        b"\xff" * 32: 0x62A8AB43,
        bytes(range(32)): 0x46DD794E,
        bytes(range(31, -1, -1)): 0x113FDB5C,
    }
    for data, value in vectors.items():
        masked = ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF
        assert crc(data) == struct.pack("<I", masked)


def test_crc32c_of_long_spans_is_that_of_its_definition() -> None:
    data = np.random.default_rng(0).bytes(3000)
    begin = np.array([0, 0, 5, 100, 2999, 17])
    end = np.array([3000, 256, 262, 100, 3000, 1041])
    for one, first, last in zip(masked_crc32c(data, begin, end), begin, end, strict=True):
        register = 0xFFFFFFFF
        for byte in data[first:last]:
            register ^= byte
            for _ in range(8):
                register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
        value = register ^ 0xFFFFFFFF
        assert one == ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_a_huge_length_is_refused_whether_or_not_its_checksum_is_right(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    head = struct.pack("<Q", 1 << 62)
    path.write_bytes(tf_record(b"\x1a\x0dbrain.Event:2") + head + b"\0\0\0\0" + b"x" * 99)
    (run,) = READ(path)
    assert "checksum" in run.problems[0]
    path.write_bytes(tf_record(b"\x1a\x0dbrain.Event:2") + head + crc(head) + b"x" * 99)
    os.utime(path, (1e9, 1e9))
    (run,) = READ(path)
    assert "more than 16 MiB" in run.problems[0]
    assert "ends within a record" in run.problems[1]


def test_a_large_record_is_passed_over_and_what_follows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    point = event(7, b"a", 2.5)
    path.write_bytes(point + tf_record(bytes((1 << 24) + 1)) + point)
    (run,) = READ(path)
    np.testing.assert_array_equal(run.series["a"].step, [7, 7])
    np.testing.assert_array_equal(run.series["a"].value, [2.5, 2.5])
    assert "more than 16 MiB" in run.problems[0]


def test_what_is_no_event_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.tfevents"
    path.write_bytes(b"<html>this is no event file</html>")
    assert not READERS["tensorboard"].sniff(path)
    with pytest.raises(RunError, match=r"x\.tfevents: .* checksum.*Name an event file"):
        list(READ(path))
