"""Tables and records with any bytes changed: a result or one clear error, never a fault."""

import io
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from foreign_runs import CONFIG, curve
from hypothesis import given, settings
from hypothesis import strategies as st

from isoflop._errors import InputError
from isoflop.runs import ImportedRun, import_runs, list_runs, read_foreign, read_runs, table_files
from isoflop.runs.imported import SOURCE
from optional import need_package

FUZZ = settings(max_examples=60, deadline=None)


def csv_bytes():
    rows = [f"a,{s},{v!r},256,4,32000,1000" for s, v in zip(range(6), curve(range(6)), strict=True)]
    head = "run,step,val_loss,d_model,n_layers,vocab_size,batch_tokens\n"
    return (head + "\n".join(rows) + "\n").encode()


def jsonl_bytes():
    rows = [
        {"config": CONFIG},
        *({"step": s, "val_loss": v} for s, v in enumerate(curve(range(6)))),
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet_bytes():
    import pyarrow
    from pyarrow import parquet

    out = io.BytesIO()
    table = {"step": list(range(6)), "val_loss": curve(range(6)), "n_params_total": [1e6] * 6}
    parquet.write_table(pyarrow.table(table), out)
    return out.getvalue()


def changed(data, edits):
    """Bytes put in place of others, or before them."""
    made = bytearray(data)
    for place, piece, insert in edits:
        at = round(place * len(made))
        made[at : at + (0 if insert else len(piece))] = piece
    return bytes(made)


PIECES = st.one_of(
    st.binary(min_size=1, max_size=8),
    st.sampled_from([b'"', b",", b"\n", b"\0", b"NaN", b"1e999", b"-1", b"{", b"[[[[", b"null",
                     b"99999999999999999999999", b"\xff\xfe", b"Infinity", b'"step"', b"<b>"]),
)  # fmt: skip
EDITS = st.lists(st.tuples(st.floats(0, 1), PIECES, st.booleans()), min_size=1, max_size=4)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_table_with_any_bytes_changed(suffix):
    if suffix == "parquet":
        need_package("pyarrow", "data")
    data = {"csv": csv_bytes, "jsonl": jsonl_bytes, "parquet": parquet_bytes}[suffix]()

    @FUZZ
    @given(EDITS)
    def check(edits):
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / f"x.{suffix}"
            path.write_bytes(changed(data, edits))
            try:
                reading = read_foreign([path], home=Path(place))
                assert all(isinstance(run, ImportedRun) for run in reading.runs)
                first = import_runs(reading, Path(place) / "study")
                again = import_runs(reading, Path(place) / "study")
                assert len(first) == len(again)
                assert all(one.n_new == 0 for one in again)
                read_runs(Path(place) / "study", kind="any")
            except InputError:
                pass

    check()


@pytest.mark.parametrize("name", [SOURCE, "metrics.jsonl", "index.json"])
def test_a_record_with_any_bytes_changed(tmp_path, name):
    (tmp_path / "x.jsonl").write_bytes(jsonl_bytes())
    study = tmp_path / "study"
    import_runs(read_foreign([tmp_path / "x.jsonl"], home=study), study)
    for file in study.rglob("*.json*"):
        os.utime(file, (1e9, 1e9))  # an index believes no young file
    before = list_runs(study)
    (path,) = study.rglob(name)
    data = path.read_bytes()

    @FUZZ
    @given(EDITS)
    def check(edits):
        path.write_bytes(changed(data, edits))
        listed = list_runs(study)  # says `corrupt`, raises nothing
        assert len(listed) == 1
        if name == "index.json":
            assert listed == before
        with suppress(InputError):
            read_runs(study, kind="any")

    check()


def test_what_is_too_much_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(table_files, "_MOST_CELLS", 100)
    wide = tmp_path / "wide.jsonl"
    # A new column in every row would take rows times columns of memory.
    wide.write_text("".join(f'{{"step": {i}, "val_loss": 3, "k{i}": 1}}\n' for i in range(50)))
    (bad,) = read_foreign([wide]).bad
    assert "rows of" in bad.reason
    assert "too much to read" in bad.reason
    monkeypatch.setattr(table_files, "_MOST_BYTES", 10)
    (bad,) = read_foreign([wide]).bad
    assert "GiB" in bad.reason


def test_a_parquet_file_that_unpacks_to_too_much(tmp_path, monkeypatch):
    need_package("pyarrow", "data")
    (tmp_path / "x.parquet").write_bytes(parquet_bytes())
    monkeypatch.setattr(table_files, "_MOST_CELLS", 10)
    (bad,) = read_foreign([tmp_path / "x.parquet"]).bad
    assert "6 rows of 3 columns" in bad.reason
