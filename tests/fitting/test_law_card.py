"""The law card: a fingerprint that anybody can compute, and a text that gives the fit back."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from simulated import ladder

from isoflop._errors import InputError
from isoflop.fitting import analyse, fit, law_card
from isoflop.fitting.card_json import card_from_text, card_to_text
from isoflop.fitting.law_card import CARD_DRAWS
from isoflop.planning import plan

TARGET = {"n_params": [1.6e6, 3e4], "n_tokens": [8e7, 2e6]}


@pytest.fixture(scope="module")
def table():
    return ladder(shared=0.003, own=0.002, seed=5)


@pytest.fixture(scope="module")
def analysis(table):
    return analyse(table)


@pytest.fixture(scope="module")
def text(analysis):
    return card_to_text(law_card(analysis))


def fingerprint(table):
    return fit(table, law="chinchilla_tied", n_draws=20).record.data_sha256


def test_the_fingerprint_can_be_computed_by_hand():
    rows = [(1e4, 1e6, 4.5), (1e4, 4e6, 4.0), (4e4, 1e6, 4.25), (4e4, 4e6, 3.5), (8e4, 8e6, 3.0)]
    columns = dict(zip(("n_params", "n_tokens", "loss"), np.array(rows).T, strict=True))
    text = (
        "n_params,n_tokens,loss,trunk,weight\n"
        "10000.0,1000000.0,4.5,0,1.0\n"
        "10000.0,4000000.0,4.0,0,1.0\n"
        "40000.0,1000000.0,4.25,1,1.0\n"
        "40000.0,4000000.0,3.5,1,1.0\n"
        "80000.0,8000000.0,3.0,2,1.0\n"
    )
    found = fingerprint({**columns, "trunk": ["b", "b", "a", "a", "c"]})
    assert found == hashlib.sha256(text.encode()).hexdigest()


def test_the_fingerprint_knows_the_rows_and_nothing_else(table):
    seen = fingerprint(table)
    order = np.random.default_rng(0).permutation(25)
    names = np.array([f"run {label[::-1]}" for label in table["trunk"]])
    same = {
        "rows shuffled": {name: column[order] for name, column in table.items()},
        "trunks renamed": {**table, "trunk": names},
        "columns in another order": dict(reversed(table.items())),
        "a column that is not fitted": {**table, "lr": np.ones(25)},
        "intermediate rows": {
            **{name: np.append(column, column[0]) for name, column in table.items()},
            "kind": ["final"] * 25 + ["intermediate"],
        },
    }
    for what, other in same.items():
        assert fingerprint(other) == seen, what
    bumped = np.where(np.arange(25) == 7, np.nextafter(table["loss"], 9.0), table["loss"])
    other = {
        "one loss, last digit": {**table, "loss": bumped},
        "one row less": {name: column[1:] for name, column in table.items()},
        "every run its own trunk": {**table, "trunk": np.arange(25)},
        "a weight": {**table, "weight": np.where(np.arange(25) == 3, 2.0, 1.0)},
    }
    found = [fingerprint(one) for one in other.values()]
    assert seen not in found
    assert len(set(found)) == len(found)


def test_a_card_reads_back_as_it_was(analysis, text):
    card = card_from_text(text)
    assert card_to_text(card) == text
    assert card.problems == analysis.fit.problems
    assert set(card.problems + card.further_problems) >= set(analysis.problems)
    assert card.certificate == analysis.fit.certificate
    assert card.record == analysis.fit.record
    best = max(card.laws, key=lambda law: law.weight)
    assert best.constants == dict(analysis.fit.theta)
    assert {law.name: law.weight for law in card.laws} == {
        score.law: score.weight for score in analysis.fit.scores if score.weight > 0
    }
    for law in card.laws:
        assert law.draws.shape == (CARD_DRAWS, len(law.constants))


def test_a_card_forecasts_and_plans_as_its_fit(analysis, text):
    card = card_from_text(text)
    ours, theirs = (one.predict(TARGET) for one in (card.estimate, analysis.fit.estimate))
    np.testing.assert_array_equal(ours.mean, theirs.mean)
    width = theirs.high - theirs.low
    assert np.abs((ours.low - theirs.low) / width).max() < 1e-3
    assert np.abs((ours.high - theirs.high) / width).max() < 1e-3
    first, second = plan(card, flops=1e15), plan(analysis.fit, flops=1e15)
    assert first.n_params.value == second.n_params.value
    assert first.loss.value == second.loss.value
    ours, theirs = first.n_params, second.n_params
    assert ours.low == pytest.approx(theirs.low, abs=1e-3 * (theirs.high - theirs.low))
    assert ours.high == pytest.approx(theirs.high, abs=1e-3 * (theirs.high - theirs.low))


def test_a_card_of_more_draws_holds_no_more_than_it_may(table):
    made = law_card(fit(table, law="chinchilla", n_draws=1200))
    draws = made.laws[0].draws
    assert draws.shape == (CARD_DRAWS, 5)
    assert len(np.unique(draws, axis=0)) == CARD_DRAWS
    assert len(card_to_text(made)) < 60_000


def test_a_plan_cites_the_data(analysis, text):
    digest = analysis.fit.record.data_sha256
    for source in (card_from_text(text), analysis.fit):
        made = plan(source, flops=1e15)
        assert digest[:12] in made.source
        assert made.to_json()["data_sha256"] == digest


SCRIPT = """
import json, sys
from isoflop.fitting import fit, law_card
from isoflop.fitting.card_json import card_to_text
table = json.load(sys.stdin)
sys.stdout.write(card_to_text(law_card(fit(table, law="chinchilla"))))
"""


def test_the_same_runs_give_the_same_bytes_in_another_process(table):
    ours = card_to_text(law_card(fit(table, law="chinchilla")))
    plain = json.dumps({name: column.tolist() for name, column in table.items()})
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=plain, capture_output=True, text=True, check=True
    )
    assert done.stdout == ours
    assert card_to_text(law_card(fit(table, law="chinchilla", seed=1))) != ours


def damaged(text, change):
    record = json.loads(text)
    change(record)
    return json.dumps(record)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda r: r.pop("kind"), "kind"),
        (lambda r: r.update(version=99), "version=99"),
        (lambda r: r.pop("sigma"), "sigma"),
        (lambda r: r.update(sigma=None), "sigma"),
        (lambda r: r.update(sigma=float("nan")), "sigma"),
        (lambda r: r.update(sigma=-0.1), "sigma"),
        (lambda r: r.update(spread_distance=0.0), "spread_distance"),
        (lambda r: r.update(level=90), "level"),
        (lambda r: r.update(laws=[]), "weights"),
        (lambda r: r["laws"][0].update(weight=0.999), "add up to 1"),
        (lambda r: r["laws"][0].update(draws=[[1.0, 2.0]]), "draw"),
        (lambda r: r["laws"][0].update(draws=[]), "draw"),
        (lambda r: r["laws"][0]["draws"][3].pop(), "inhomogeneous"),
        (lambda r: r["laws"][0]["constants"]["E"].update(value=None), "finite"),
        (lambda r: r["problems"].append({"code": "no_such"}), "severity"),
        (
            lambda r: r["problems"].append(
                {"code": "no_such", "severity": "note", "text": "", "remedy": "", "affects": []}
            ),
            "no_such",
        ),
        (
            lambda r: r["problems"].append(
                {"code": "outliers", "severity": "bad", "text": "", "remedy": "", "affects": []}
            ),
            "severity=bad",
        ),
        (lambda r: r["ranges"].update(n_params=[1.0, float("nan")]), "ranges"),
        (lambda r: r["ranges"].update(n_params=[1.0]), "unpack"),
        (lambda r: r.update(laws="chinchilla"), "laws|indices"),
    ],
)
def test_a_damaged_card_is_refused_with_its_field(text, change, told):
    with pytest.raises(InputError, match=told):
        card_from_text(damaged(text, change))


def test_text_that_is_no_card_is_refused():
    for wrong in ("", "hello", "[1, 2]", "{}", "null"):
        with pytest.raises(InputError, match="law card"):
            card_from_text(wrong)


def test_laws_that_this_isoflop_does_not_know_are_named(text):
    def rename(record):
        record["laws"][0]["name"] = "mine"

    with pytest.raises(InputError, match="mine"):
        card_from_text(damaged(text, rename)).estimate  # noqa: B018

    def negative(record):
        record["laws"][0]["draws"][7][1] = -1.0

    with pytest.raises(InputError, match="A > 0"):
        card_from_text(damaged(text, negative)).estimate  # noqa: B018

    def other_constants(record):
        record["laws"][0]["constants"]["F"] = record["laws"][0]["constants"].pop("E")

    with pytest.raises(InputError, match="has the parameters E"):
        card_from_text(damaged(text, other_constants)).estimate  # noqa: B018


def test_a_card_of_shares_can_be_written():
    rng = np.random.default_rng(1)
    share = rng.uniform(0.1, 0.9, 20)
    table = {"w_web": share, "w_code": 1 - share, "loss": 2 + np.exp(-1.5 * share)}
    made = law_card(fit(table, n_draws=20))
    assert card_to_text(card_from_text(card_to_text(made))) == card_to_text(made)
