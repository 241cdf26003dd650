"""`--law FILE.py:FUNCTION`: a function of the user's file, and what is wrong with others."""

import csv
import json

import numpy as np
import pytest

from isoflop.cli.entry import run

CODE = """
def mine(n_params, n_tokens, E, A, alpha, B, beta):
    return E + A / n_params**alpha + B / n_tokens**beta

number = 3
"""


@pytest.fixture
def places(tmp_path):
    n, d = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e4, 2e5, 5), [1e6, 3e6, 1e7, 3e7]))
    loss = 1.6 + 60 * n**-0.4 + 900 * d**-0.45
    with open(tmp_path / "runs.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["n_params", "n_tokens", "loss"])
        writer.writerows(zip(n.tolist(), d.tolist(), loss.tolist(), strict=True))
    (tmp_path / "laws.py").write_text(CODE)
    (tmp_path / "broken.py").write_text("import no_such_module")
    return tmp_path


def answer(capsys, *words):
    code = run([*map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_fit_and_plan_by_a_law_of_ones_own(places, capsys):
    law = f"{places / 'laws.py'}:mine"
    _, result = answer(capsys, "fit", places / "runs.csv", "--law", law)
    assert result["result"]["fit"]["law"] == "mine (own)"
    assert result["result"]["fit"]["theta"]["E"]["value"] == pytest.approx(1.6, rel=1e-3)
    code, result = answer(capsys, "plan", places / "runs.csv", "--law", law, "--flops", "1e15")
    assert code == 0
    # N_opt = (alpha A/(beta B))^(1/(alpha+beta)) (C/6)^(beta/(alpha+beta))
    truth = (0.4 * 60 / (0.45 * 900)) ** (1 / 0.85) * (1e15 / 6) ** (0.45 / 0.85)
    assert result["result"]["n_params"]["value"] == pytest.approx(truth, rel=1e-2)
    assert not (places / "__pycache__").exists()


def test_a_built_in_law_by_name(places, capsys):
    _, result = answer(capsys, "fit", places / "runs.csv", "--law", "chinchilla_tied")
    assert result["result"]["fit"]["law"] == "chinchilla_tied"


@pytest.mark.parametrize(
    ("law", "words"),
    [
        ("nowhere.py:mine", "there is no file nowhere.py"),
        ("{}/laws.py", "FILE.py:FUNCTION"),
        ("{}/laws.py:yours", "no function yours"),
        ("{}/laws.py:number", "no function number"),
        ("{}/broken.py:mine", "ModuleNotFoundError"),
        ("laws:mine", "must be one of"),
    ],
)
def test_what_cannot_be_loaded_is_named(places, capsys, law, words):
    code, result = answer(capsys, "fit", places / "runs.csv", "--law", law.format(places))
    assert code == 2
    assert words in result["error"]


def test_laws_compete_and_a_card_plans_with_its_function(places, capsys):
    law, card = f"{places / 'laws.py'}:mine", places / "card.json"
    _, result = answer(
        capsys, "fit", places / "runs.csv", "--law", "kaplan_joint", "--law", law, "--card", card
    )
    assert [one["law"] for one in result["result"]["fit"]["scores"]] == [
        "kaplan_joint", "mine (own)",
    ]  # fmt: skip
    code, result = answer(capsys, "plan", card, "--flops", "1e15")
    assert code == 2
    assert "holds no code" in result["error"]
    code, result = answer(capsys, "plan", card, "--flops", "1e15", "--law", law)
    assert code == 0
    truth = (0.4 * 60 / (0.45 * 900)) ** (1 / 0.85) * (1e15 / 6) ** (0.45 / 0.85)
    assert result["result"]["n_params"]["value"] == pytest.approx(truth, rel=1e-2)


def test_own_laws_need_a_table(places, capsys):
    law = f"{places / 'laws.py'}:mine"
    assert answer(capsys, "plan", "--law", law, "--flops", "1e15")[0] == 2
    assert answer(capsys, "fit", places, "--law", law)[0] == 2
