"""Objectives, weights and priors: known optima, and what each is for."""

import csv

import numpy as np
import pytest
from simulated import TRUTH, ladder

from isoflop._errors import FitError, InputError
from isoflop.fitting import Prior, fit
from isoflop.fitting.one_law import fit_law
from isoflop.fitting.table import read_table
from isoflop.laws import CHINCHILLA, SKALING, find_law

PAIR = ("n_params", "n_tokens")


def _published(data_dir, rows="240"):
    """The digitised points of Hoffmann et al. 2022, Fig. 4, as Besiroglu et al. 2024 gave them."""
    with open(data_dir / "chinchilla_epoch.csv", newline="") as file:
        listed = [r for r in csv.DictReader(file) if rows == "245" or r["used_in_paper_fit"] == "1"]
    table = {name: [float(row[name]) for row in listed] for name in (*PAIR, "loss")}
    return read_table(table, "loss", PAIR)


@pytest.mark.parametrize(
    ("objective", "rows", "times", "best"),
    [
        # Independent multi-start solutions polished to a gradient below 1e-9.
        ("hoffmann", "240", 1, 0.0010182740178),
        ("hoffmann", "245", 1, 0.0018260105231),
        # Sum of squares = twice our objective.
        ("level_ls", "240", 2, 0.0832038076933),
        ("level_ls", "245", 2, 0.8437738115683),
    ],
)
def test_the_best_known_optimum_is_reached_from_every_start(data_dir, objective, rows, times, best):
    certificate = fit_law(_published(data_dir, rows), CHINCHILLA, objective).certificate
    # The references have 13 digits; 1e-9 is what the issue of the field's early stops needs.
    assert times * certificate.objective == pytest.approx(best, rel=1e-9)
    assert certificate.starts >= 64
    assert certificate.share_reached == 1.0
    assert certificate.gradient_norm < 1e-6
    assert certificate.converged


def test_coupled_law_reaches_the_published_residual(data_dir):
    # An independent package's weighted least squares of the same law: RSS 0.0712599, k 0.769.
    found = fit_law(_published(data_dir), SKALING, "level_ls")
    assert 2 * found.certificate.objective == pytest.approx(0.0712599, abs=5e-8)
    assert found.theta[5] == pytest.approx(0.769, abs=5e-4)


def test_least_squares_on_logs_is_the_normal_equations():
    # At the minimum the residuals are orthogonal to every derivative of the log prediction.
    table = ladder(own=0.01, seed=11)
    found = fit(table, law="chinchilla", objective="log_ls", n_draws=20)
    theta = np.array([interval.value for interval in found.theta.values()])
    law = find_law("chinchilla")
    inputs = {name: table[name] for name in PAIR}
    slope = law.jacobian(theta, inputs) * theta / law.predict(theta, inputs)[:, None]
    residual = np.log(table["loss"]) - np.log(law.predict(theta, inputs))
    cosine = (slope * residual[:, None]).sum(axis=0) / np.linalg.norm(slope, axis=0)
    assert np.abs(cosine).max() / np.linalg.norm(residual) < 1e-6


def test_one_sided_error_ignores_rungs_that_are_worse_than_they_should_be():
    target = {"n_params": [1.6e5], "n_tokens": [8e6]}
    law = find_law("chinchilla")
    truth = law.predict(TRUTH, {name: np.array(column) for name, column in target.items()})[0]
    errors = {"one_sided": [], "robust": [], "log_ls": []}
    for seed in range(12):
        table = ladder(own=0.002, seed=seed)
        worse = np.random.default_rng(seed).random(25) < 0.25
        table["loss"] = table["loss"] * np.where(worse, 1.02, 1.0)
        for objective, found in errors.items():
            result = fit(table, law="chinchilla", objective=objective, n_draws=20)
            found.append(np.log(result.predict(target).mean[0] / truth))
    rms = {name: np.sqrt(np.mean(np.square(found))) for name, found in errors.items()}
    assert rms["one_sided"] < 0.9 * min(rms["robust"], rms["log_ls"])


def test_a_weight_counts_like_a_repeat():
    table = ladder(own=0.01, seed=13)
    twice = {name: np.concatenate([column, column[:5]]) for name, column in table.items()}
    weighted = {**table, "weight": np.where(np.arange(25) < 5, 2.0, 1.0)}
    options = {"law": "chinchilla", "objective": "log_ls", "n_draws": 20}
    first, second = fit(twice, **options), fit(weighted, **options)
    for name in first.theta:
        assert first.theta[name].value == pytest.approx(second.theta[name].value, rel=1e-6)


def test_a_weight_must_be_positive():
    with pytest.raises(FitError, match=r"weight=0\.0 in row 3"):
        fit({**ladder(), "weight": np.where(np.arange(25) == 3, 0.0, 1.0)})


def test_a_prior_steadies_few_runs_and_is_told():
    errors = {"with": [], "without": []}
    target = {"n_params": [5e5], "n_tokens": [3e7]}
    truth_theta = np.array([1.6, 60.0, 0.33, 900.0, 0.36])
    law = find_law("chinchilla")
    columns = {name: np.array(column) for name, column in target.items()}
    truth = law.predict(truth_theta, columns)[0]
    for seed in range(12):
        table = ladder(
            own=0.01, seed=seed, truth=truth_theta, sizes=np.geomspace(1e4, 8e4, 3),
            horizons=np.geomspace(5e5, 4e6, 3),
        )  # fmt: skip
        for name, prior in (("with", "exponents"), ("without", None)):
            found = fit(table, law="chinchilla", prior=prior, n_draws=20)
            errors[name].append(np.log(found.predict(target).mean[0] / truth))
            told = "prior_used" in {problem.code for problem in found.problems}
            assert told == (name == "with")
    rms = {name: np.sqrt(np.mean(np.square(values))) for name, values in errors.items()}
    assert rms["with"] < 0.9 * rms["without"]


def test_a_strong_prior_wins_and_a_wrong_one_is_refused():
    table = ladder(own=0.005, seed=15)
    tight = {"alpha": Prior(value=0.9, log_sd=1e-4)}
    found = fit(table, law="chinchilla", prior=tight, n_draws=20)
    assert found.theta["alpha"].value == pytest.approx(0.9, rel=1e-3)
    with pytest.raises(InputError, match="log_sd"):
        Prior(value=0.3, log_sd=0.0)
    with pytest.raises(InputError, match="exponents"):
        fit(table, prior="nope")
