"""`lr_regret`: a known excess is taken off, and what it may be beside widens intervals one way."""

import numpy as np
import pytest

from isoflop._errors import FitError
from isoflop.fitting import expected_regret, fit, fit_lr_batch
from isoflop.fitting.lr_regret import draw_regret

E, A, ALPHA, B, BETA = 1.7, 300.0, 0.38, 500.0, 0.35


def ladder(rng, noise=2e-4):
    n, d = (
        grid.ravel() for grid in np.meshgrid(np.geomspace(1e6, 1e8, 6), np.geomspace(1e8, 1e10, 5))
    )
    loss = (E + A / n**ALPHA + B / d**BETA) * np.exp(noise * rng.standard_normal(n.size))
    trunk = np.searchsorted(np.unique(n), n)
    return {"n_params": n, "n_tokens": d, "loss": loss, "trunk": trunk}


def test_a_known_excess_leaves_the_law_where_it_was():
    table = ladder(np.random.default_rng(0))
    # Larger rungs are worse tuned: without the column the exponent of size would fall.
    regret = 0.01 * np.log(table["n_params"] / 1e6) / np.log(100)
    worse = {**table, "loss": table["loss"] * np.exp(regret)}
    clean = fit(table, law="chinchilla")
    told = fit({**worse, "lr_regret": regret}, law="chinchilla")
    untold = fit(worse, law="chinchilla")
    for name in ("E", "alpha", "beta"):
        assert told.theta[name].value == pytest.approx(clean.theta[name].value, rel=1e-6)
    at = {"n_params": [1e10], "n_tokens": [1e12]}
    assert told.predict(at).mean == pytest.approx(clean.predict(at).mean, rel=1e-6)
    assert untold.predict(at).mean[0] > 1.01 * clean.predict(at).mean[0]


def test_what_the_regret_may_be_widens_the_forecast_downwards_alone():
    table = ladder(np.random.default_rng(1))
    regret = np.full(table["loss"].size, 0.004)
    worse = {**table, "loss": table["loss"] * np.exp(regret)}
    at = {"n_params": [1e9], "n_tokens": [1e11]}
    clean = fit(table, law="chinchilla", n_draws=2000).predict(at, of="mean")
    told = fit({**worse, "lr_regret": regret}, law="chinchilla", n_draws=2000).predict(
        at, of="mean"
    )
    below = np.log(told.mean / told.low)[0], np.log(clean.mean / clean.low)[0]
    above = np.log(told.high / told.mean)[0], np.log(clean.high / clean.mean)[0]
    # r·chi²: its 95 % quantile is 3.84 r, i.e. 2.84 r beyond the mean that is off already; none of
    # it is more than r on the other side.
    assert below[0] - below[1] == pytest.approx(2.84 * 0.004, rel=0.25)
    assert 0 <= above[0] - above[1] < 1.05 * 0.004


def test_zero_regret_changes_no_number():
    table = ladder(np.random.default_rng(2))
    plain = fit(table, law="chinchilla")
    zero = fit({**table, "lr_regret": np.zeros(table["loss"].size)}, law="chinchilla")
    assert zero.theta == plain.theta
    assert (zero.estimate.best.draws == plain.estimate.best.draws).all()


@pytest.mark.parametrize("bad", [-1e-3, np.nan])
def test_an_impossible_regret_names_its_row(bad):
    table = ladder(np.random.default_rng(3))
    regret = np.zeros(table["loss"].size)
    regret[4] = bad
    with pytest.raises(FitError, match=r"lr_regret >= 0.*row 4"):
        fit({**table, "lr_regret": regret}, law="chinchilla")


def test_expected_regret_is_the_bowl_plus_the_spread_of_the_draws():
    rows, rng = [], np.random.default_rng(4)
    for n in (1e6, 4e6, 1.6e7):
        for d in (1e8, 1e9):
            best = np.log(1e-2) - 0.5 * np.log(n / 1e6)
            for lr in np.geomspace(0.4, 2.5, 5):
                for batch in (0.5, 1.0, 2.0):
                    z = np.array([np.log(lr), np.log(batch)])
                    loss = 3 * np.exp(0.5 * z @ np.diag([0.03, 0.02]) @ z)
                    loss *= np.exp(3e-4 * rng.standard_normal())
                    rows.append((n, d, np.exp(best) * lr, 65536 * batch, loss))
    names = ("n_params", "n_tokens", "lr", "batch_tokens", "loss")
    table = {
        name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }
    tuned = fit_lr_batch(table)
    at = {"n_params": [4e6, 4e6], "n_tokens": [3e8, 3e8], "batch_tokens": [65536.0, 65536.0]}
    best, twice = expected_regret(tuned, lr=[5e-3, 1e-2], **at)
    assert twice - best == pytest.approx(0.5 * 0.03 * np.log(2) ** 2, rel=0.25)
    # At the law's own optimum what is left is the uncertainty of lr* and B*: tr(H Cov)/2.
    component = tuned.lr.components[0]
    inputs = {"n_params": np.array([4e6]), "n_tokens": np.array([3e8])}
    draws = [
        np.log(one.law.predict(one.draws, {name: inputs[name] for name in one.law.inputs}))[:, 0]
        for one in (component, tuned.batch_tokens.components[0])
    ]
    own = expected_regret(
        tuned, n_params=[4e6], n_tokens=[3e8], lr=np.exp([np.median(draws[0])]),
        batch_tokens=np.exp([np.median(draws[1])]),
    )  # fmt: skip
    # Quartiles, since resamples that miss a size have far tails; H is diagonal but for noise.
    sd = np.array([np.subtract(*np.quantile(one, [0.75, 0.25])) / 1.349 for one in draws])
    assert own[0] == pytest.approx(0.5 * np.diag(tuned.curvature) @ sd**2, rel=0.3)


def test_drawn_regret_has_its_mean_and_is_never_negative():
    drawn = draw_regret(np.array([0.01, 0.002]), 20_000, np.random.default_rng(0))
    assert (drawn >= 0).all()
    # Mean of 20,000 chi-squares: sd sqrt(2/20000) = 1 %; 5 sd.
    assert drawn.mean(axis=0) == pytest.approx([0.01, 0.002], rel=0.05)
    assert drawn[:, 0] == pytest.approx(5 * drawn[:, 1])
