"""Tables and logs of any making; what is torn, foreign or hostile is named, nothing breaks."""

import json
import math

import numpy as np
import pytest
from foreign_runs import CONFIG, curve

from isoflop._errors import InputError, RunError
from isoflop.runs import Asked, read_foreign, read_runs, write_table
from isoflop.runs.tables import is_table, read_table
from optional import need_package


def log_lines(steps, **config):
    yield json.dumps({"config": {**CONFIG, **config}})
    for step, loss in zip(steps, curve(steps), strict=True):
        yield json.dumps({"step": step, "val_loss": loss})


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "small" / "metrics.jsonl"
    path.parent.mkdir()
    path.write_text("\n".join(log_lines(range(0, 101, 10))) + "\n")
    return path


def test_a_log_of_one_run(log):
    (run,) = read_foreign([log]).runs
    assert (run.name, run.tool) == ("small", "table")
    assert run.points["loss"].tolist() == curve(range(10, 101, 10))
    assert run.facts["width"] == 256
    assert run.provenance["loss"] == "metrics.jsonl: val_loss"
    assert run.provenance["width"] == "metrics.jsonl: config.d_model"
    (again,) = read_foreign([log.parent.parent]).runs
    assert again.run_id == run.run_id  # however it is named
    assert again.provenance["loss"].endswith("small/metrics.jsonl: val_loss")


def test_a_log_cut_at_any_byte_gives_its_whole_rows(log):
    whole = log.read_bytes()
    ends = np.cumsum([len(line) + 1 for line in whole.split(b"\n")[:-1]])
    for cut in range(int(ends[2]), len(whole) + 1, 7):
        log.write_bytes(whole[:cut])
        (run,) = read_foreign([log]).runs
        # A last row that lacks only its newline is whole.
        rows = int((ends - 1 <= cut).sum()) - 1
        assert run.points["step"].size == rows - 1
        torn = cut not in ends and cut + 1 not in ends
        assert any("torn" in text for text in run.problems) == torn


def test_one_row_a_run_with_foreign_names(tmp_path):
    path = tmp_path / "sweep.csv"
    path.write_text("name,params,tokens,val_loss\ns,1000000,2e7,3.5\nm,3e6,6e7,3.25\n")
    table = read_runs(path, asked=Asked(convention="total"))
    assert table["loss"].tolist() == [3.5, 3.25]
    assert table["run_name"].tolist() == ["s", "m"]
    assert table["n_params"].tolist() == [1e6, 3e6]
    assert table["n_params_convention"].tolist() == ["total", "total"]
    assert table["flops"].tolist() == [6 * 1e6 * 2e7, 6 * 3e6 * 6e7]


def test_rows_of_a_run_are_its_points(tmp_path):
    path = tmp_path / "long.tsv"
    rows = [f"{run}\t{step}\t{1000 * step}\t{4 - step / 100}" for run in "ab" for step in (50, 100)]
    path.write_text("run\tstep\ttokens\tval_loss\n" + "\n".join(rows) + "\n")
    found = read_foreign([path], Asked(n_params=(("*", 1e6),), convention="total")).runs
    assert [run.name for run in found] == ["a", "b"]
    assert found[0].points["n_tokens"].tolist() == [50_000, 100_000]


def test_a_column_map_says_what_names_mean(tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text("which,Größe,Daten,nll\nx,1000000,2e7,5.05\ny,3e6,6e7,4.5\n")
    columns = {"which": "run", "Größe": "n_params", "Daten": "n_tokens", "nll": "loss"}
    table = read_runs(path, asked=Asked(columns=columns, unit="bits"))
    np.testing.assert_allclose(table["loss"], np.array([5.05, 4.5]) * math.log(2), rtol=1e-15)


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl", ".parquet"])
def test_what_is_written_is_read_to_the_last_digit(tmp_path, suffix):
    if suffix == ".parquet":
        need_package("pyarrow", "data")
    table = {
        "run": np.array(["a,b", 'é"\n', "=1+1"]), "n_params": np.array([1e6, 1 / 3 * 1e7, 3e7]),
        "n_tokens": np.array([1e8, 2e8, 3e8]), "loss": np.array([3.1, 0.1 + 0.2, 2.9]),
        "acc_x": np.array([0.5, math.nan, 0.25]),
    }  # fmt: skip
    path = write_table(tmp_path / f"runs{suffix}", table)
    back = read_runs(path)
    assert list(back) == list(table)
    for name, column in table.items():
        np.testing.assert_array_equal(back[name], column)


def test_a_place_that_no_table_can_be_written_to(tmp_path):
    with pytest.raises(RunError, match=r"ends with one of \.csv"):
        write_table(tmp_path / "runs.xlsx", {"loss": np.ones(1)})
    (tmp_path / "runs.csv").mkdir()
    with pytest.raises(RunError, match="is a folder"):
        write_table(tmp_path / "runs.csv", {"loss": np.ones(1)})


HOSTILE = {
    "wrong_cells.csv": (b"step,loss\n1,2,3\n", "line 2: wrong number of cells"),
    "twice.csv": (b"step,loss,loss\n1,2,3\n", "two columns have one name"),
    "latin.csv": ("step,loss,größe\n1,2,3\n".encode("latin-1"), "not UTF-8"),
    "empty.csv": (b"step,loss\n", "no row"),
    "quote.csv": (b'step,loss\n"1,2\n', "Mend the table"),
    "bad.jsonl": (b'{"step": 1, "loss": 2}\n{"step": \n{"step": 2}\n', "line 2: not JSON"),
    "list.jsonl": (b'{"step": 1, "loss": 2}\n[1]\n', "line 2: not an object"),
    "deep.jsonl": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "not JSON"),
    "fake.parquet": (b"PAR1" + b"\xff" * 64, "no Parquet file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_bad_table_is_named_and_the_others_are_read(tmp_path, log, name):
    if name.endswith(".parquet"):
        need_package("pyarrow", "data")
    content, said = HOSTILE[name]
    path = log.parent.parent / name
    path.write_bytes(content)
    reading = read_foreign([log.parent.parent])
    assert [run.name for run in reading.runs] == ["small"]
    (bad,) = reading.bad
    assert said in bad.reason
    assert bad.place.endswith(name)
    with pytest.raises(InputError, match=said.split(":")[-1].strip()):
        list(read_table(path))


def test_files_that_are_no_tables_are_passed_over(tmp_path, log):
    root = log.parent.parent
    (root / "blob.csv").write_bytes(b"\0\1\2,")
    (root / "note.csv").write_text("no comma here\n")
    (root / "list.jsonl").write_text("[1, 2]\n")
    (root / "model.parquet").write_bytes(b"not parquet")
    (root / "loop").symlink_to(root, target_is_directory=True)
    assert not any(is_table(path) for path in root.glob("*.*"))
    assert [run.name for run in read_foreign([root]).runs] == ["small"]


def test_strange_numbers_and_names_break_nothing(tmp_path):
    path = tmp_path / "x.csv"
    evil = "<script>alert(1)</script>[red]../../etc/passwd"
    path.write_text(
        "run,step,tokens,val_loss,vocab_size\n"
        f"{evil},1,1e3,nan,1e999\n{evil},2,inf,inf,-5\n{evil},99999999999999999999,3e3,2.0,0\n"
        "ok,10,1e4,3.0,32000\n"
    )
    reading = read_foreign([path], Asked(n_params=(("*", 1e6),), convention="total"))
    assert {run.name for run in reading.runs} == {evil, "ok"}


@pytest.mark.parametrize("along", ["Step", "tokens"])
def test_the_export_of_a_chart_of_wandb(tmp_path, along):
    path = tmp_path / "wandb_export.csv"
    steps, unit = (50, 100), 1 if along == "Step" else 1000
    rows = [f'"{s * unit}","{4 - s / 100}","4","5","{3 - s / 100}","",""' for s in steps]
    names = ("r - one - val_loss", "r - one - val_loss__MIN", "r - one - val_loss__MAX",
             "two - val_loss", "two - val_loss__MIN", "two - val_loss__MAX")  # fmt: skip
    path.write_text(",".join(f'"{name}"' for name in (along, *names)) + "\n" + "\n".join(rows))
    asked = Asked(
        n_params=(("r - one", 1e6), ("two", 2e6)), convention="total",
        batch_tokens=(("*", 1000.0),) if along == "Step" else (),
    )  # fmt: skip
    first, second = read_foreign([tmp_path], asked).runs
    assert (first.name, second.name) == ("r - one", "two")
    assert first.points["loss"].tolist() == [3.5, 3.0]
    assert first.points["n_tokens"].tolist() == [50_000, 100_000]
    assert second.points["loss"].tolist() == [2.5, 2.0]
    assert any("export of a chart" in text for text in first.problems)
    assert read_runs(path, asked=asked)["n_params"].tolist() == [1e6, 2e6]


def test_text_among_numbers_is_left_out_and_told(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(
        '{"step": 1, "val_loss": 4.0}\n{"step": 2, "val_loss": "-"}\n'
        '{"step": 3, "val_loss": "NaN"}\n{"step": 4, "val_loss": 3.0}\n'
    )
    asked = Asked(n_params=(("*", 1e6),), batch_tokens=(("*", 100.0),))
    (run,) = read_foreign([path], asked).runs
    assert run.points["step"].tolist() == [1, 3, 4]
    assert run.points["loss"][1] == math.inf  # logged, and no number
    assert "val_loss: no number in 1 rows, which were left out" in run.problems


def test_a_file_that_goes_while_it_is_read_stops_no_other(tmp_path, log, monkeypatch):
    from isoflop.runs import sources

    (log.parent / "gone.csv").write_text("step,val_loss\n1,2\n")
    whole = sources.read_table

    def read(path, columns):
        if path.name == "gone.csv":
            path.unlink()
        return whole(path, columns)

    monkeypatch.setattr(sources, "read_table", read)
    reading = read_foreign([log.parent])
    assert [run.name for run in reading.runs] == ["small"]
    (bad,) = reading.bad
    assert "cannot be read (No such file or directory)" in bad.reason


def test_parquet_without_its_package_stops_no_other(tmp_path, log, monkeypatch):
    import sys

    (log.parent / "x.parquet").write_bytes(b"PAR1 and more")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    reading = read_foreign([log.parent])
    assert [run.name for run in reading.runs] == ["small"]
    assert "pip install 'isoflop[data]'" in reading.bad[0].reason


def test_an_unknown_place_and_an_empty_one(tmp_path):
    with pytest.raises(RunError, match="no such folder or file"):
        read_foreign([tmp_path / "none"])
    with pytest.raises(RunError, match="nothing in it is known"):
        read_foreign([tmp_path])


def test_runs_left_out_of_a_table_are_warned_of(tmp_path, log):
    bad = tmp_path / "other.jsonl"
    bad.write_text('{"step": 1, "val_loss": 4.0}\n')
    with pytest.warns(UserWarning, match=r"1 runs or sources left out: other \(its settings say"):
        table = read_runs(log, bad)
    assert table["run_name"].tolist() == ["small"]
    with pytest.raises(RunError, match="no run can be taken"):
        read_runs(bad)


def test_a_server_is_asked_for_what_has_a_meaning(tmp_path, monkeypatch):
    """`wandb:ENTITY/PROJECT` goes to the server's reader, through the user's cache."""
    from foreign_runs import foreign

    from isoflop.runs import sources

    asked = []

    def served(place, cache, wanted):
        names = ("val/loss", "gpu.0.temp", "mine", "train/global_step")
        asked.append((place, cache, [name for name in names if wanted(name)]))
        yield foreign("r1", place=f"wandb:{place}/r1")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(sources.SERVERS, "wandb", served)
    table = read_runs("wandb:me/project", asked=Asked(columns={"mine": "loss_mine"}))
    assert table["loss"].tolist() == curve([100])
    wanted = ["val/loss", "mine", "train/global_step"]
    assert asked == [("me/project", tmp_path / "isoflop" / "trackers", wanted)]
    assert list(tmp_path.iterdir()) == []
