"""Recovery: from exact losses every law finds predictions that are exact, far beyond the runs."""

import numpy as np
import pytest
from simulated import ladder

from isoflop._errors import FitError
from isoflop.fitting import fit
from isoflop.fitting.backtest import backtest
from isoflop.fitting.candidates import Candidate
from isoflop.fitting.one_law import fit_law
from isoflop.fitting.table import read_table
from isoflop.fitting.weights import law_weights
from isoflop.laws import find_law


def _recovers(name, truth, inputs, far):
    law = find_law(name)
    truth = np.array(truth)
    found = fit({**inputs, "loss": law.predict(truth, inputs)}, law=name, n_draws=20)
    expected = law.predict(truth, {key: np.array(column) for key, column in far.items()})
    np.testing.assert_allclose(found.predict(far, of="mean").mean, expected, rtol=1e-4)
    return found


REPEATED = np.array([1.6, 60.0, 0.4, 900.0, 8.0, 3.0])


def _repeating(noise=0.0, seed=0):
    """A ladder on each of three corpora: from one epoch to eight."""
    table = ladder()
    rows = {name: np.tile(table[name], 3) for name in ("n_params", "n_tokens")}
    rows["n_unique_tokens"] = np.repeat([1e6, 3e6, 1e7], 25)
    loss = find_law("repeated").predict(REPEATED, rows)
    noise = noise * np.random.default_rng(seed).standard_normal(75)
    return {**rows, "loss": loss * np.exp(noise)}


def test_repeated_data_is_recovered_from_mixed_ladders():
    rows = {name: column for name, column in _repeating().items() if name != "loss"}
    far = {"n_params": [4e5], "n_tokens": [3e7], "n_unique_tokens": [5e6]}
    found = _recovers("repeated", REPEATED, rows, far)
    assert found.theta["R_D"].value == pytest.approx(8.0, rel=1e-4)
    assert found.theta["R_N"].value == pytest.approx(3.0, rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_repeats_are_not_counted_as_new_tokens(seed):
    far = {"n_params": [3e5], "n_tokens": [3e7], "n_unique_tokens": [2e6]}
    inputs = {name: np.array(column) for name, column in far.items()}
    truth = find_law("repeated").predict(REPEATED, inputs)[0]
    table = _repeating(noise=0.005, seed=seed)
    found = fit(table, n_draws=100)
    assert found.law.name == "repeated"
    forecast = found.predict(far)
    assert forecast.low[0] < truth < forecast.high[0]
    assert forecast.mean[0] == pytest.approx(truth, rel=0.01)
    # Fifteen epochs counted as new promise a loss far below what they give.
    counted = {name: column for name, column in table.items() if name != "n_unique_tokens"}
    assert fit(counted, n_draws=20).predict(far).mean[0] < 0.93 * truth


def test_a_single_epoch_needs_no_law_of_repeats():
    table = ladder(own=0.003)
    unique = {**table, "n_unique_tokens": table["n_tokens"] * 2}
    assert fit(unique, n_draws=20).to_json() == fit(table, n_draws=20).to_json()
    with pytest.raises(FitError, match=r"n_unique_tokens=-1\.0 in row 0"):
        fit({**table, "n_unique_tokens": np.full(25, -1.0)})


@pytest.mark.parametrize("count", [16, 40])
def test_a_flexible_law_that_explodes_beyond_the_runs_loses(count):
    # With this noise the second break bends upwards after the last runs: on them nine parameters
    # beat three, at ten times their x the forecast is off by a factor of three or more.
    x, rng = np.geomspace(1e3, 1e6, count), np.random.default_rng(4)
    loss = (1.5 + (1e4 / x) ** 0.3) * np.exp(0.01 * rng.standard_normal(count))
    table = {"x": x, "loss": loss, "run": np.arange(count)}
    runs = read_table(table, "loss", ("x",))
    tried = tuple(Candidate(law=find_law(name)) for name in ("power_floor", "bnsl_2"))
    fits = [fit_law(runs, one.law) for one in tried]
    plain, broken = (one.log_mean(one.z[None], {"x": np.array([1e7])})[0, 0] for one in fits)
    assert (fits[1].residual ** 2).sum() < (fits[0].residual ** 2).sum()
    assert abs(plain - np.log(1.5 + (1e4 / 1e7) ** 0.3)) < 0.02
    assert abs(broken - plain) > 1.0
    weight = law_weights(
        tuple(one.missed for one in backtest(runs, tried, 0)),
        np.array([one.standard_error for one in fits]),
        np.array([len(one.law.params) for one in tried]),
        runs.n_trunks,
    )
    assert weight[1] < 0.01


def test_flexible_curves_are_fitted_only_when_asked_for():
    # On 24 learning curves they lengthen the error or shorten the coverage of the plain power.
    x = np.geomspace(1e3, 1e6, 12)
    table = {"x": x, "loss": 1.5 + (1e4 / x) ** 0.3}
    assert {score.law for score in fit(table, n_draws=20).scores} == {"power_floor"}
    assert fit(table, law="bnsl_1", n_draws=20).law.name == "bnsl_1"
