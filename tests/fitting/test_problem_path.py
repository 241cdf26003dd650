"""Problems on their way to the user: predictions, plans, the verbs and their JSON."""

import csv
import json

import numpy as np
import pytest
from planted import FAULTS, HORIZONS, NOISE, SIZES, clean

from isoflop.cli.entry import run
from isoflop.fitting import fit
from isoflop.laws import find_law
from isoflop.planning import plan


def write_csv(path, table):
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(table)
        writer.writerows(zip(*(column.tolist() for column in table.values()), strict=True))
    return path


@pytest.fixture(scope="module")
def ray():
    return FAULTS["one_ray"](clean())


@pytest.mark.parametrize("code", ["outliers", "under_tuned", "mixed_kinds", "duplicated_runs"])
def test_problems_reach_the_plan(code):
    made = fit(FAULTS[code](clean()), law="chinchilla", n_draws=30)
    (problem,) = (one for one in made.problems if one.code == code)
    assert problem in plan(made, flops=1e15).problems
    assert problem in made.predict({"n_params": [1e6], "n_tokens": [2e7]}).problems


def test_a_ray_forecasts_along_itself_and_plans_nothing(ray):
    made = fit(ray, law="chinchilla", n_draws=100)
    truth = find_law("chinchilla").predict(
        np.array([1.6, 60.0, 0.40, 900.0, 0.45]),
        {"n_params": np.array([4e6]), "n_tokens": np.array([8e7])},
    )
    along = made.predict({"n_params": [4e6], "n_tokens": [8e7]})
    assert along.low[0] < truth[0] < along.high[0]
    assert along.high[0] / along.low[0] < 1.1
    asked = plan(made, flops=1e15)
    assert not asked.usable
    assert plan(made, n_params=4e6, n_tokens=8e7).usable


def test_a_ray_ends_the_verb_plan_with_code_3(ray, tmp_path, capsys):
    path = write_csv(tmp_path / "ray.csv", ray)
    assert run(["plan", str(path), "--flops", "1e15", "--json"]) == 3
    answer = json.loads(capsys.readouterr().out)
    assert answer["result"]["usable"] is False
    assert "one_ray" in {one["code"] for one in answer["problems"]}


def test_a_plan_far_beyond_the_runs_says_so():
    made = fit(clean(), law="chinchilla", n_draws=30)
    far = plan(made, flops=6 * SIZES[-1] * HORIZONS[-1] * 1000)
    (problem,) = (one for one in far.problems if one.code == "extrapolation")
    assert problem.severity == "warning"
    assert "1e+03 times" in problem.text


def test_fit_json_carries_every_problem(tmp_path, capsys):
    # Faults that leave each other alone, in one table.
    table = FAULTS["shape_confounded"](FAULTS["repeated_data"](clean()))
    table = FAULTS["under_tuned"](table)
    table["tokenizer"] = np.where(np.arange(42) % 2 == 0, "a", "b")
    table["loss"] = table["loss"] * np.where(np.arange(42) == 30, 0.93, 1.0)
    table = FAULTS["duplicated_runs"](table)
    path = write_csv(tmp_path / "runs.csv", table)
    assert run(["fit", str(path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    planted = {
        "shape_confounded", "repeated_data", "under_tuned", "mixed_metrics", "outliers",
        "duplicated_runs",
    }  # fmt: skip
    assert answer["result"]["sensitivity"]["answers"][0]["name"] == "default"
    for place in (answer, answer["result"], answer["result"]["fit"]):
        assert planted <= {one["code"] for one in place["problems"]}


def test_noise_of_the_clean_tables_is_what_the_tests_say():
    made = fit(clean(), law="chinchilla", n_draws=30)
    assert made.estimate.sigma == pytest.approx(NOISE * 2**0.5, rel=0.5)
