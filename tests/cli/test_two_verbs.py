"""`compare` and `next` on tables that the user already has."""

import csv
import json
from pathlib import Path

import pytest

from isoflop.cli.entry import run

RUNS = Path(__file__).parents[2] / "examples" / "runs.csv"


def answer(capsys, *words):
    code = run([*map(str, words), "--json"])
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    return code, json.loads(out)


@pytest.fixture
def dearer(tmp_path):
    """The example's runs as a recipe that needs 1.5 times the tokens for the same losses."""
    path = tmp_path / "dearer.csv"
    with RUNS.open(newline="") as source, path.open("w", newline="") as target:
        reader = csv.DictReader(source)
        writer = csv.DictWriter(target, reader.fieldnames)
        writer.writeheader()
        for row in reader:
            writer.writerow({**row, "n_tokens": int(1.5 * float(row["n_tokens"]))})
    return path


def test_compare_finds_the_multiplier(capsys, dearer):
    code, found = answer(capsys, "compare", RUNS, dearer)
    assert code == 0, found
    value = found["result"]["multiplier"]
    assert value["value"] == pytest.approx(1.5, rel=0.01)
    assert value["low"] <= value["value"] <= value["high"]
    # Three losses a size, each read between measured points of the same curve.
    assert {round(one["ratio"]["value"], 6) for one in found["result"]["tokens"]} == {1.5}


def test_compare_outside_the_range_is_disqualified(capsys, dearer):
    code, found = answer(capsys, "compare", RUNS, dearer, "--loss", "1.9")
    assert code == 3
    assert found["ok"]
    assert "outside_common_range" in {problem["code"] for problem in found["problems"]}
    assert found["result"]["multiplier"]["value"] is None


def test_compare_shows_the_headline(capsys, dearer):
    assert run(["compare", str(RUNS), str(dearer)]) == 0
    assert "B needs 1.5 [" in capsys.readouterr().out


def test_next_chooses_runs_within_the_budget(capsys):
    code, found = answer(capsys, "next", RUNS, "--flops", "1e22", "--budget", "1e20")
    assert code == 0, found
    design = found["result"]
    assert 0 < design["flops"] <= 1e20
    assert design["sd_after"] < design["sd_before"]
    assert design["one_more"]["verdict"] in ("pilot", "launch")
    assert run(["next", str(RUNS), "--flops", "1e22", "--budget", "1e20"]) == 0
    assert "one more pilot, or launch?" in capsys.readouterr().out


def test_a_study_file_leads_to_its_folder(tmp_path, capsys):
    run(["init", str(tmp_path / "mine.toml")])
    capsys.readouterr()
    for words in (["next", "--flops", "1e18", "--budget", "1e15"], ["compare", RUNS]):
        code, found = answer(capsys, *words, tmp_path / "mine.toml")
        assert code == 2
        assert str(tmp_path / "mine") in found["error"]
        assert "line" not in found["error"]


def test_next_from_nothing(capsys):
    words = ("--n-params", "7e9", "--n-tokens", "1.4e11", "--budget", "1e19")
    code, found = answer(capsys, "next", *words)
    assert code == 0, found
    assert found["result"]["of"] == "loss"
    assert len({one["n_params"] for one in found["result"]["runs"]}) >= 4


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["compare", RUNS, "/no/such/table"], "/no/such/table"),
        (["compare", RUNS, RUNS, "--target", "bpb"], "bpb"),
        (["compare", RUNS, RUNS, "--loss", "3", "--flops", "1e19"], "one of"),
        (["next", RUNS, "--flops", "1e22"], "--budget"),
        (["next", RUNS, "--budget", "1e20"], "--flops"),
        (["next", RUNS, "--flops", "1e22", "--n-params", "1e9", "--budget", "1e20"], "target"),
        (["next", RUNS, "--flops", "1e22", "--budget", "1e9"], "budget_flops"),
    ],
)
def test_refusals_are_named(capsys, words, named):
    code, found = answer(capsys, *words)
    assert code == 2
    assert named in found["error"]
