"""`fit` and `plan` on a CSV that the user already has."""

import json
import math
from pathlib import Path

import pytest

from isoflop.cli.entry import run

RUNS = Path(__file__).parents[2] / "examples" / "runs.csv"


def answer(capsys, *words):
    code = run([*map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_fit_recovers_the_law_of_the_example(capsys):
    # examples/runs.csv was simulated from the constants `besiroglu`, noise 0.4 % a trunk.
    code, result = answer(capsys, "fit", RUNS)
    assert code == 0, result
    entropy = result["result"]["entropy"]
    assert entropy["low"] < math.exp(0.59711196) < entropy["high"]
    assert result["result"]["n_runs"] == 36


def test_plan_is_near_the_true_optimum(capsys):
    code, result = answer(capsys, "plan", RUNS, "--flops", "1e20")
    assert code == 0, result
    _, truth = answer(capsys, "plan", "--law", "besiroglu", "--flops", "1e20")
    planned, true = (r["result"]["n_params"]["value"] for r in (result, truth))
    # An optimum is flat: a factor 1.5 in size costs less than the noise.
    assert abs(math.log(planned / true)) < math.log(1.5)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "table"),
        ("n_params,loss\n1e6,3\n", "n_tokens"),
        ("n_params,n_tokens,loss\n1e6,1e7,nan\n", "loss"),
        ("n_params,n_tokens,loss\n1e6,1e7\n", "line 2"),
        ("n_params,n_tokens,loss\n1e6,1e7,three\n", "loss"),
    ],
)
def test_broken_table_is_named(tmp_path, capsys, text, named):
    path = tmp_path / "table.csv"
    path.write_text(text)
    code, result = answer(capsys, "fit", path)
    assert code == 2, result
    assert named in result["error"]
