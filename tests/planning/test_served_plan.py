"""`plan` with `serving`: the whole chain, its words and its JSON."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest

from isoflop._errors import InputError
from isoflop.accounting import find_accelerator
from isoflop.laws import CHINCHILLA, Component, Estimate, find_published
from isoflop.planning import plan, plan_from_json, summary_lines
from isoflop.planning.served import ServingWish, largest_served

LAW = find_published("devries")
WISH = ServingWish(accelerator=find_accelerator("H100-SXM"), input_tokens=1000, output_tokens=300)


def test_the_whole_chain_is_told_and_written():
    made = plan(LAW, loss=2.0, inference_tokens=5e12, serving=replace(WISH, max_token_s=0.02))
    assert made.lifetime.money.total.value == pytest.approx(
        made.usd.value + made.lifetime.money.serving.value, rel=1e-9
    )
    assert made.lifetime.replica.token_s.value <= 0.02
    words = dict(summary_lines(made))
    assert "USD: training" in words["Money for both"]
    assert "H100-SXM" in words["A replica"]
    assert plan_from_json(json.loads(json.dumps(made.to_json()))) == made


def test_money_pays_for_both_in_nine_draws_of_ten():
    made = plan(LAW, usd=2e6, inference_tokens=5e12, serving=WISH)
    money = made.lifetime.money
    assert made.usd.value + money.serving.value < 2e6
    assert made.usd.value == pytest.approx(money.training.value, rel=1e-9)


def test_a_limit_and_the_largest_served_bind_by_name():
    wish = replace(WISH, max_token_s=0.004)
    made = plan(LAW, loss=1.9, inference_tokens=1e8, serving=wish)
    assert made.binding == ("max_token_s",)
    cap = np.exp(largest_served(wish, LAW.estimate.n_params_convention))
    assert cap * 0.9999 < made.n_params.value <= cap
    # No size that can be served reaches it in the draws whose runs come out worse.
    (lost,) = [p for p in made.problems if p.code == "floor_unidentified"]
    assert "within max_token_s" in lost.text
    text = plan(LAW, loss=1.95, inference_tokens=5e12, serving=WISH, unique_tokens=1e12)
    assert text.limited.epochs.value == pytest.approx(text.n_tokens.value / 1e12, rel=1e-9)
    few = plan(LAW, loss=2.0, inference_tokens=1e13, serving=WISH, max_n_tokens=1e12)
    assert few.binding == ("max_n_tokens",)


def test_a_served_plan_of_a_thousand_draws_takes_less_than_a_second():
    rng = np.random.default_rng(0)
    theta = np.array([1.69, 406.4, 0.336, 410.7, 0.283])
    draws = theta * np.exp(rng.normal(0, [0.005, 0.05, 0.01, 0.05, 0.01], size=(1000, 5)))
    law = Estimate(components=(Component(law=CHINCHILLA, theta=theta, draws=draws),))
    start = perf_counter()
    plan(law, loss=2.0, inference_tokens=5e12, serving=replace(WISH, max_token_s=0.0203))
    assert perf_counter() - start < 1.0


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"loss": 2.0}, "Give inference_tokens"),
        ({"loss": 2.0, "inference_tokens": 1e12, "inference_flop_cost": 2.0}, "Keep one"),
        ({"n_params": 1e9, "inference_tokens": 1e12}, "needs one of loss, flops and usd"),
    ],
)
def test_what_does_not_go_together_is_refused(asked, error):
    with pytest.raises(InputError, match=error):
        plan(LAW, serving=WISH, **asked)


def test_the_page_prints_what_its_code_does():
    page = (Path(__file__).parents[2] / "docs" / "memory-and-serving.md").read_text("utf-8")
    part = page.split("## What serving does to the plan")[1]
    code, printed = re.findall(r"^```(?:python|text)\n(.*?)^```", part, re.S | re.M)
    words = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert words == printed
