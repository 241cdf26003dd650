"""`best_mixture` and `fit_boosted`: closed-form optima, bounds, refusals."""

import numpy as np
import pytest

from isoflop._errors import FitError, InputError
from isoflop.fitting import best_mixture, fit, fit_boosted
from isoflop.laws import Component, Estimate, additive_mixture, exponential_mixing

DOMAINS = ("a", "b", "c")


def _exponential(t, floor=1.0):
    theta = np.array([floor, *t])
    law = exponential_mixing(DOMAINS)
    return Estimate(components=(Component(law=law, theta=theta, draws=theta[None]),))


def _proxies(t, rows=120, seed=0, noise=0.002):
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(3), rows)
    loss = 1.0 + np.exp(shares @ np.array(t))
    table = {f"w_{name}": shares[:, i] for i, name in enumerate(DOMAINS)}
    return {**table, "loss": loss * np.exp(noise * rng.standard_normal(rows))}


def test_two_opposed_targets_meet_where_their_slopes_cancel():
    # L1 + L2 with t1 = (-d, 0, 9), t2 = (0, -d, 9): c is bad for both, and by symmetry a = b = .5.
    fits = {"one": _exponential([-2.0, 0.0, 3.0]), "two": _exponential([0.0, -2.0, 3.0])}
    best = best_mixture(fits, target={"one": 1.0, "two": 1.0})
    found = [best.shares[name].value for name in DOMAINS]
    np.testing.assert_allclose(found, [0.5, 0.5, 0.0], atol=1e-4)
    assert best.loss.value == pytest.approx(2 * (1 + np.exp(-1.0)), abs=1e-6)
    # s1 e^(-2a) = s2 e^(-2b): a - b = ln(s1/s2)/2 at weights 3 : 1 (ln 3 / 2 = .549).
    tilted = best_mixture(fits, target={"one": 3.0, "two": 1.0})
    gap = tilted.shares["a"].value - tilted.shares["b"].value
    assert gap == pytest.approx(np.log(3) / 2, abs=1e-4)


def test_bounds_and_the_runs_limit_the_shares():
    fits = {"one": _exponential([-2.0, 0.0, 3.0])}
    free = best_mixture(fits, target="one").shares
    assert free["a"].value == pytest.approx(1.0, abs=1e-6)
    bound = best_mixture(fits, target="one", bounds={"a": (0.0, 0.3), "c": (0.1, 1.0)}).shares
    np.testing.assert_allclose([bound[n].value for n in DOMAINS], [0.3, 0.6, 0.1], atol=1e-6)
    table = _proxies([-2.0, 0.0, 3.0])
    kept = {name: column[table["w_a"] < 0.4] for name, column in table.items()}
    within = best_mixture({"one": fit(kept, n_draws=50)}, target="one").shares["a"]
    assert within.value == pytest.approx(kept["w_a"].max(), abs=1e-6)


def test_intervals_hold_the_truth():
    truths = {"one": [-2.0, 0.0, 3.0], "two": [0.0, -2.0, 3.0]}
    fits = {
        name: fit(_proxies(t, rows=30, seed=seed), n_draws=100)
        for seed, (name, t) in enumerate(truths.items())
    }
    wide = dict.fromkeys(DOMAINS, (0.0, 1.0))
    best = best_mixture(fits, target={"one": 1.0, "two": 1.0}, bounds=wide)
    share = best.shares["a"]
    assert share.low < 0.5 < share.high
    assert share.high - share.low < 0.1
    assert sum(one.value for one in best.shares.values()) == pytest.approx(1.0)


def test_additive_optimum_is_the_same_at_every_scale():
    theta = np.array([1.2, 60.0, 0.3, 900.0, 0.4, 1.0, 3.0, 0.5, 0.6, 0.4, 1.1])
    law = additive_mixture(DOMAINS)
    fits = {"x": Estimate(components=(Component(law=law, theta=theta, draws=theta[None]),))}
    small = best_mixture(fits, target="x", at={"n_params": 1e6, "n_tokens": 1e8})
    large = best_mixture(fits, target="x", at={"n_params": 1e9, "n_tokens": 1e11})
    for name in DOMAINS:
        assert small.shares[name].value == pytest.approx(large.shares[name].value, abs=1e-4)
    # At an interior optimum all marginal values are equal: C_i gamma_i w_i^(gamma_i - 1).
    share = np.array([small.shares[name].value for name in DOMAINS])
    marginal = theta[5:8] * theta[8:] * share ** (theta[8:] - 1)
    inner = share > 1e-3
    assert inner.sum() >= 2
    np.testing.assert_allclose(marginal[inner], marginal[inner][0], rtol=1e-2)
    with pytest.raises(InputError, match="n_params"):
        best_mixture(fits, target="x")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "two"}, "must name some of one"),
        ({"target": {"one": -1.0}}, "must be > 0"),
        ({"target": "one", "bounds": {"z": (0, 1)}}, r"\['z'\]"),
        ({"target": "one", "bounds": dict.fromkeys(DOMAINS, (0, 0.1))}, "Widen them"),
    ],
)
def test_impossible_wishes_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        best_mixture({"one": _exponential([-2.0, 0.0, 3.0])}, **options)


def test_boosted_trees_rank_mixtures_and_cover():
    pytest.importorskip("sklearn")
    result = fit_boosted(_proxies([-2.0, 0.0, 1.0], rows=300))
    new = _proxies([-2.0, 0.0, 1.0], rows=200, seed=9)
    shares = {name: column for name, column in new.items() if name != "loss"}
    predicted = result.predict(shares)
    order = [np.argsort(np.argsort(values)) for values in (predicted.mean, new["loss"])]
    assert np.corrcoef(*order)[0, 1] > 0.98
    covered = ((predicted.low < new["loss"]) & (new["loss"] < predicted.high)).mean()
    # 200 new runs at a nominal 90 %: sd 2.1 %.
    assert 0.83 < covered < 0.97
    best = best_mixture({"x": result}, target="x")
    assert best.shares["a"].value > 0.8
    assert sum(one.value for one in best.shares.values()) == pytest.approx(1.0)


def test_boosted_trees_refuse_few_rows_and_warn_of_rather_few():
    pytest.importorskip("sklearn")
    with pytest.raises(FitError, match="runs >= 40"):
        fit_boosted(_proxies([-2.0, 0.0, 1.0], rows=20))
    with pytest.raises(FitError, match="two columns w_<domain>"):
        fit_boosted({"loss": [1.0] * 50, "w_a": [1.0] * 50})
    few = fit_boosted(_proxies([-2.0, 0.0, 1.0], rows=45))
    assert [problem.code for problem in few.problems] == ["few_runs"]
