"""`fit --curves`: whole loss curves of a study and of a CSV, for people and as JSON."""

import csv
import json
from pathlib import Path

from isoflop import fit_curves, read_curves
from isoflop.cli.entry import run

STUDY = Path(__file__).parents[2] / "examples" / "results" / "cpu-study"


def test_a_study_gives_the_law_of_its_curves(capsys):
    assert run(["fit", str(STUDY), "--curves", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"]
    result = found["result"]
    assert result["law"] == "annealed_sizes"
    assert result["n_curves"] == 34
    assert result["n_trunks"] == 8
    assert result["theta"] == fit_curves(read_curves(STUDY)).to_json()["theta"]
    power = result["theta"]["p"]
    assert power["low"] < power["value"] < power["high"]
    assert {problem["code"] for problem in found["problems"]} == {"early_points"}


def test_the_law_is_shown_with_what_was_left_out(capsys):
    assert run(["fit", str(STUDY), "--curves"]) == 0
    shown = capsys.readouterr().out
    for words in ("annealed_sizes", "C*H^p*N^gamma", "memory of the rate", "early_points"):
        assert words in shown


def test_a_csv_of_points_is_fitted_like_the_study(capsys, tmp_path):
    table = read_curves(STUDY)
    path = tmp_path / "points.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(table)
        writer.writerows(zip(*(column.tolist() for column in table.values()), strict=True))
    assert run(["fit", str(path), "--curves", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["result"]
    assert found["theta"] == fit_curves(table).to_json()["theta"]


def test_a_csv_that_names_no_curves_is_refused(capsys):
    runs = STUDY.parents[1] / "runs.csv"
    assert run(["fit", str(runs), "--curves", "--json"]) == 2
    assert "column 'run'" in json.loads(capsys.readouterr().out)["error"]


def test_a_law_card_of_curves_is_refused(capsys, tmp_path):
    words = ["fit", str(STUDY), "--curves", "--card", str(tmp_path / "law.json"), "--json"]
    assert run(words) == 2
    assert "--card" in json.loads(capsys.readouterr().out)["error"]
