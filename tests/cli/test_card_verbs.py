"""`fit --card` writes the law card, `plan` takes it instead of the runs."""

import json
from pathlib import Path

import pytest

from isoflop.cli.entry import run

RUNS = Path(__file__).parents[2] / "examples" / "runs.csv"


def answer(capfd, *words):
    code = run([*map(str, words), "--json"])
    captured = capfd.readouterr()
    return code, json.loads(captured.out), captured.err


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs.law.json"


def test_a_card_plans_as_the_runs_do_and_cites_them(place, capfd):
    code, fitted, told = answer(capfd, "fit", RUNS, "--card", place)
    assert code == 0
    assert str(place) in told
    assert str(place.with_suffix(".md")) in told
    digest = fitted["result"]["fit"]["record"]["data_sha256"]
    assert digest in place.with_suffix(".md").read_text(encoding="utf-8")
    plans = []
    for source in (RUNS, place):
        code, plan, told = answer(capfd, "plan", source, "--flops", "1e20")
        assert code == 0
        assert plan["result"]["data_sha256"] == digest
        assert digest[:12] in told
        plans.append(plan)
    for name in ("n_params", "n_tokens", "loss"):
        first, second = (plan["result"][name] for plan in plans)
        assert first["value"] == second["value"]
        assert first["low"] == pytest.approx(second["low"], rel=1e-4)
        assert first["high"] == pytest.approx(second["high"], rel=1e-4)
    codes = [[problem["code"] for problem in plan["problems"]] for plan in plans]
    assert codes[0] == codes[1]


def test_two_fits_write_the_same_bytes(place, capfd):
    other = place.with_name("other.json")
    for file in (place, other):
        assert answer(capfd, "fit", RUNS, "--card", file)[0] == 0
    assert place.read_bytes() == other.read_bytes()


def test_without_the_option_nothing_is_written_and_the_way_is_shown(place, capfd):
    assert answer(capfd, "fit", RUNS)[2].rstrip().splitlines()[-1] == (
        f"law card: isoflop fit {RUNS} --card runs.law.json"
    )
    assert list(place.parent.iterdir()) == []


def test_another_file_is_kept_and_told_before_anything_is_fitted(place, capfd):
    place.write_text("mine", encoding="utf-8")
    code, refused, _ = answer(capfd, "fit", "no-such.csv", "--card", place)
    assert code == 2
    assert "no law card" in refused["error"]
    assert place.read_text(encoding="utf-8") == "mine"
    code, refused, _ = answer(capfd, "plan", place, "--flops", "1e20")
    assert code == 2
    assert str(place) in refused["error"]
