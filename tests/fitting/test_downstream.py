"""Downstream laws: recovery, the chain's two uncertainties, refusals, the OLMo ladder."""

import csv

import numpy as np
import pytest

from isoflop._errors import FitError, InputError
from isoflop.fitting import chain, fit, fit_task, pass_rate_target
from isoflop.laws import Component, Estimate, find_law, find_published

TASKS = (
    "mmlu_avg_test",
    "hellaswag_val",
    "arc_challenge_test",
    "arc_easy_test",
    "piqa_val",
    "csqa_val",
    "socialiqa_val",
    "openbookqa_test",
)
"""The eight tasks of arXiv:2412.04403."""


@pytest.mark.parametrize(
    ("name", "truth", "target"),
    [
        ("sigmoid", [0.25, 0.6, 5.0, 0.9], "acc_x"),
        ("sigmoid_to_one", [0.25, 5.0, 0.9], "acc_x"),
        ("error_on_loss", [0.85, 2.08, 0.756], "error"),
    ],
)
def test_exact_scores_give_the_exact_parameters(name, truth, target):
    # The error law is negative below a loss of 1.18: no error has that.
    loss = np.linspace(0.4, 1.8, 15) + (1.0 if name == "error_on_loss" else 0.0)
    table = {"loss": loss, target: find_law(name).predict(np.array(truth), {"loss": loss})}
    result = fit(table, target=target, law=name, n_draws=20)
    np.testing.assert_allclose([one.value for one in result.theta.values()], truth, rtol=1e-4)
    # The same losses in another unit: k and L0, or gamma, follow it.
    scaled = fit({**table, "loss": loss * 3.3}, target=target, law=name, n_draws=20)
    at = {"loss": np.array([1.7])}
    np.testing.assert_allclose(
        scaled.predict({"loss": at["loss"] * 3.3}).mean, result.predict(at).mean, rtol=1e-6
    )


def _ladder(noise, seed):
    rng = np.random.default_rng(seed)
    n, d = (g.ravel() for g in np.meshgrid(np.geomspace(1e8, 1e9, 4), np.geomspace(4e9, 2e11, 4)))
    bpb = find_law("chinchilla").predict(
        np.array([0.4, 60.0, 0.3, 150.0, 0.25]), {"n_params": n, "n_tokens": d}
    )
    bpb = bpb * np.exp(noise * rng.standard_normal(n.size))
    accuracy = find_law("sigmoid_to_one").predict(np.array([0.25, 6.0, 0.8]), {"loss": bpb})
    accuracy = accuracy * np.exp(noise * rng.standard_normal(n.size))
    return {"n_params": n, "n_tokens": d, "bpb_x": bpb, "acc_x": accuracy}


def test_chain_reaches_the_truth_and_is_wider_than_each_step():
    target = {"n_params": np.array([1e10]), "n_tokens": np.array([1e12])}
    bpb = find_law("chinchilla").predict(np.array([0.4, 60.0, 0.3, 150.0, 0.25]), target)
    truth = find_law("sigmoid_to_one").predict(np.array([0.25, 6.0, 0.8]), {"loss": bpb})[0]
    joined = fit_task(_ladder(0.01, 0), "x", n_draws=200)
    whole = joined.predict(target)
    assert whole.low[0] < truth < whole.high[0]
    second = joined.second.predict({"loss": joined.first.predict(target).mean})
    assert whole.high[0] - whole.low[0] > second.high[0] - second.low[0]
    mean = joined.predict(target, of="mean")
    assert whole.high[0] - whole.low[0] > mean.high[0] - mean.low[0]


def test_chain_without_noise_is_the_composition_and_stays_in_range():
    def point(name, theta, **changes):
        theta = np.array(theta)
        component = Component(law=find_law(name), theta=theta, draws=theta[None])
        return Estimate(components=(component,), **changes)

    first = point("power", [1e9, 0.3])
    second = point("sigmoid_to_one", [0.25, 5.0, 0.9])
    x = np.array([1e9, 1e10])
    predicted = chain(first, second).predict({"x": x})
    loss = (1e9 / x) ** 0.3
    expected = 0.25 + 0.75 / (1 + np.exp(5 * (loss - 0.9)))
    for side in (predicted.mean, predicted.low, predicted.high):
        np.testing.assert_allclose(side, expected)
    loud = chain(first, point("sigmoid_to_one", [0.25, 5.0, 0.9], sigma=0.5)).predict({"x": x})
    assert (loud.high <= 1).all()
    assert loud.high[1] == 1


def test_noise_of_the_second_step_has_its_width():
    first = find_published("kaplan_n_params").estimate
    theta = np.array([0.85, 2.08, 0.756])
    second = Estimate(
        components=(Component(law=find_law("error_on_loss"), theta=theta, draws=theta[None]),),
        sigma=0.03,
    )
    still = Estimate(components=first.components)
    predicted = chain(still, second).predict({"x": [1e9]})
    half = np.log(predicted.high / predicted.low)[0] / 2
    # 1.645 sd; 4000 samples fix a 5 % quantile to about 2 %, so to 10 % beyond doubt.
    assert half == pytest.approx(1.645 * 0.03, rel=0.1)


def test_chain_refuses_a_second_step_without_loss():
    power = find_published("kaplan_n_params").estimate
    with pytest.raises(InputError, match=r"second.inputs == \('loss',\)"):
        chain(power, power)
    with pytest.raises(FitError, match="'bpb_y' and 'acc_y'"):
        fit_task(_ladder(0.01, 0), "y")


def test_pass_rates_follow_a_power_of_compute():
    flops = np.geomspace(1e18, 1e21, 6)
    alpha, k = 40.0, 0.07
    rate = np.exp(-alpha * flops**-k)[:, None] * np.ones((1, 5))
    target = pass_rate_target(rate * 1e6, 1e6)
    np.testing.assert_allclose(target, alpha * flops**-k)
    result = fit({"flops": flops, "loss": target}, law="power", n_draws=20)
    assert result.theta["alpha"].value == pytest.approx(k, rel=1e-6)


@pytest.mark.parametrize(
    ("solved", "samples", "words"),
    [
        ([[3, 0], [5, 2]], 10, r"`solved > 0`.*model 0, problem 1"),
        ([[3, 11], [5, 2]], 10, r"`solved <= samples`.*model 0, problem 1"),
        ([3, 4], 10, "models by problems"),
    ],
)
def test_impossible_pass_counts_are_refused(solved, samples, words):
    with pytest.raises(InputError, match=words):
        pass_rate_target(solved, samples)


def test_olmo_ladder_forecasts_the_tasks_of_13b(data_dir):
    # Bhagia et al. 2024, arXiv:2412.04403: 16 runs of 190 M to 1.3 B -> 13 B on 5 T tokens;
    # published mean relative errors 6.559 % (task bits per byte) and 6.04 % (accuracy, chained).
    with open(data_dir / "olmo_ladder_final.csv", newline="") as file:
        rows = list(csv.DictReader(file))

    def column(role, name):
        return np.array([float(row[name]) for row in rows if row["paper_role"] == role])

    losses, accuracies = [], []
    goal = {
        "n_params": column("target_13B_5T", "n_params"),
        "n_tokens": column("target_13B_5T", "tokens"),
    }
    for task in TASKS:
        names = {
            "n_params": "n_params",
            "n_tokens": "tokens",
            **{name: name for name in (f"bpb_{task}", f"acc_{task}")},
        }
        joined = fit_task({k: column("train", v) for k, v in names.items()}, task)
        actual = {name: column("target_13B_5T", name)[0] for name in names.values()}
        losses.append(joined.first.predict(goal).mean[0] / actual[f"bpb_{task}"] - 1)
        accuracies.append(joined.predict(goal).mean[0] / actual[f"acc_{task}"] - 1)
    assert np.abs(losses).mean() <= 0.065
    assert np.abs(accuracies).mean() <= 0.060
