"""`isoflop import`: what it shows, takes, asks for and writes."""

import json
from pathlib import Path

import numpy as np
import pytest

from isoflop.cli.entry import run
from isoflop.runs import read_runs

HEAD = "name,params,tokens,val_loss\n"


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A planted Chinchilla law, one row a run, under other names than ours."""
    monkeypatch.chdir(tmp_path)
    rows = [
        f"r{i}{j},{n:.0f},{d:.0f},{float(1.7 + 400 / n**0.34 + 410 / d**0.28)!r}"
        for i, n in enumerate(np.geomspace(1e6, 1e8, 5))
        for j, d in enumerate(np.geomspace(1e8, 1e10, 4))
    ]
    (tmp_path / "sweep.csv").write_text(HEAD + "\n".join(rows) + "\n")
    return tmp_path


def result(capsys):
    out = capsys.readouterr().out
    made = json.loads(out)
    assert made["ok"]
    return made["result"]


def test_a_dry_run_writes_nothing(sweep, capsys):
    assert run(["import", "sweep.csv", "--into", "study", "--dry-run", "--json"]) == 0
    found = result(capsys)
    assert (found["written"], len(found["runs"]), found["missing"]) == (False, 20, [])
    first = found["runs"][0]
    assert (first["n_params"], first["n_tokens"], first["new_points"]) == (
        {"unknown": 1e6},
        1e8,
        None,
    )
    assert first["provenance"]["loss"] == "sweep.csv: val_loss"
    assert not (sweep / "study").exists()
    assert run(["import", "sweep.csv"]) == 0
    assert "20 runs would be taken; to take them: --into" in capsys.readouterr().out


def test_imported_runs_are_fitted_as_any(sweep, capsys):
    assert run(["import", "sweep.csv", "--into", "study", "--convention", "total"]) == 0
    assert "20 runs in study, 20 new points; next: isoflop fit study" in capsys.readouterr().out
    assert run(["import", "sweep.csv", "--into", "study", "--json", "--convention", "total"]) == 0
    assert {one["new_points"] for one in result(capsys)["runs"]} == {0}
    assert run(["status", "study", "--json"]) == 0
    assert [one["state"] for one in result(capsys)["runs"]] == ["unknown"] * 20
    assert run(["fit", "study", "--json"]) == 0
    found = result(capsys)["fit"]
    assert found["law"] == "chinchilla"
    planted = {"E": 1.7, "A": 400, "alpha": 0.34, "B": 410, "beta": 0.28}
    assert run(["plan", "study", "--flops", "1e22", "--json"]) == 0
    assert result(capsys)["n_params_convention"] == "total"
    values = {name: one["value"] for name, one in found["theta"].items()}
    assert values == pytest.approx(planted, rel=1e-3)


@pytest.mark.parametrize("suffix", ["csv", "json", "jsonl", "parquet"])
def test_a_study_is_exported(sweep, capsys, suffix):
    assert run(["import", "sweep.csv", "--into", "study", "--convention", "total"]) == 0
    capsys.readouterr()
    assert run(["import", "study", "--to", f"out/runs.{suffix}", "--json"]) == 0
    assert result(capsys)["rows"] == 20
    mine, theirs = read_runs("study"), read_runs(f"out/runs.{suffix}")
    assert list(mine) == list(theirs)
    for name, column in mine.items():
        np.testing.assert_array_equal(theirs[name], column)


def test_trainings_of_our_own_are_exported_with_all_their_points(tmp_path, capsys):
    study = Path(__file__).parents[2] / "examples" / "results" / "cpu-study"
    for kind in ("final", "any"):
        to = tmp_path / f"{kind}.csv"
        assert run(["import", str(study), "--to", str(to), "--kind", kind]) == 0
        mine, theirs = read_runs(study, kind=kind), read_runs(to)
        for name, column in mine.items():
            np.testing.assert_array_equal(theirs[name], column)


def test_what_is_missing_is_shown_with_its_remedy(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f'{{"step": {s}, "val_loss": {4 - s / 100}}}\n' for s in range(0, 101, 10))
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(rows)
    assert run(["import", "."]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "a and 1 more" in said
    assert "--n-params 'a=COUNT'" in said
    assert "0 runs would be taken, 2 left out" in said
    assert run(["import", ".", "--into", "study"]) == 2
    assert "no run can be taken. a: its settings say no width" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()
    options = ["--n-params", "a=1e6", "--n-params", "b=3e6", "--batch-tokens", "1000"]
    assert run(["import", ".", "--into", "study", *options]) == 0
    table = read_runs(tmp_path / "study")
    assert sorted(table["n_params"].tolist()) == [1e6, 3e6]
    assert table["n_tokens"].tolist() == [1e5, 1e5]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.csv"], "no such folder or file"),
        (["sweep.csv", "--map", "a"], "is not NAME=WORD"),
        (["sweep.csv", "--to", "x.xlsx"], "ends with one of"),
        (["sweep.csv", "--to", "x.csv", "--into", "s"], "exclude each other"),
        (["sweep.csv", "--to", "x.csv", "--kind", "last"], "must be one of"),
        (["sweep.csv", "--unit", "bytes"], "nats or bits"),
        (["sweep.csv", "--into", "sweep.csv"], "sweep.csv"),
    ],
)
def test_bad_words_are_one_line_and_two(sweep, capsys, words, said):
    assert run(["import", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in sweep.iterdir()) == ["sweep.csv"]


def test_names_from_files_are_no_markup(sweep, capsys):
    (sweep / "evil.csv").write_text(HEAD + "[red]<script>,1e6,1e8,3.0\n")
    assert run(["import", "evil.csv"]) == 0
    assert "[red]<script>" in capsys.readouterr().out
