"""Profile likelihood: closed form where there is one, coverage, open ends; basins of the starts."""

import json
from typing import Annotated

import numpy as np
import pytest
from scipy.special import stdtrit
from simulated import TRUTH, ladder

from isoflop._errors import InputError
from isoflop.fitting import analyse, fit
from isoflop.fitting.certificate import find_basins
from isoflop.fitting.draws import draw_parameters
from isoflop.fitting.one_law import fit_law
from isoflop.fitting.profile import profile
from isoflop.fitting.table import read_table
from isoflop.laws import CHINCHILLA, Param
from isoflop.reports import numbers
from isoflop.reports.tables import analysis_rows

SIGNED = Param(low=-50, high=50)


def straight(n_params, a: Annotated[float, SIGNED], b: Annotated[float, SIGNED]):
    return np.exp(a + b * np.log(n_params))


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_a_straight_line_has_students_interval(level):
    # ln L = a + b ln x with normal noise: b +- t s / sqrt(Sxx), the textbook's.
    x = np.geomspace(1.0, 1e4, 30)
    y = 2.0 - 0.3 * np.log(x) + 0.01 * np.random.default_rng(5).standard_normal(30)
    found = fit({"n_params": x, "loss": np.exp(y)}, law=straight, objective="log_ls", n_draws=20)
    u = np.log(x)
    slope, height = np.polyfit(u, y, 1)
    # The fit's noise gives one degree back for the choice of the law: 27 and not 28.
    s = np.sqrt(np.square(y - height - slope * u).sum() / 27)
    half = stdtrit(28, (1 + level) / 2) * s / np.sqrt(np.square(u - u.mean()).sum())
    b = found.profile("b", level)
    np.testing.assert_allclose([b.low, b.high], [slope - half, slope + half], rtol=1e-5)
    half_a = half * np.sqrt(np.square(u).mean())
    a = found.profile("a", level)
    np.testing.assert_allclose([a.low, a.high], [height - half_a, height + half_a], rtol=1e-5)
    assert (b.freedom, b.clustering) == (pytest.approx(28), pytest.approx(1.0))


def test_the_deviance_is_a_parabola_where_the_law_is_linear():
    x = np.geomspace(1.0, 1e4, 20)
    y = 2.0 - 0.3 * np.log(x) + 0.01 * np.random.default_rng(1).standard_normal(20)
    b = fit(
        {"n_params": x, "loss": np.exp(y)}, law=straight, objective="log_ls", n_draws=20
    ).profile("b")
    near = np.abs(b.grid - b.value) < 5 * (b.high - b.value)
    truth = ((b.grid[near] - b.value) / (b.high - b.value)) ** 2
    np.testing.assert_allclose(b.deviance[near], truth, rtol=1e-4, atol=1e-5)


def test_shared_noise_widens_what_sizes_inform_and_not_what_horizons_do():
    table = ladder(shared=0.006, own=0.001, seed=3)
    alpha, beta = (fit(table, law="chinchilla", n_draws=20).profile(n) for n in ("alpha", "beta"))
    assert alpha.clustering > 2
    assert beta.clustering < 0.5
    assert alpha.freedom < 8 < beta.freedom


def test_amplitudes_are_profiled_in_the_units_of_the_table():
    # Holding A in scaled units would hold A N0^-alpha, which alpha does not make up for.
    table = ladder(shared=0.002, own=0.003, seed=4)
    found = fit(table, law="chinchilla", n_draws=300)
    a = found.profile("A")
    assert np.log(a.high / a.low) == pytest.approx(
        np.log(found.theta["A"].high / found.theta["A"].low), rel=0.35
    )


def test_a_floor_that_the_runs_do_not_show_is_open():
    n, d = (g.ravel() for g in np.meshgrid(np.geomspace(1e5, 1e6, 5), np.geomspace(1e7, 1e8, 5)))
    noise = 0.004 * np.random.default_rng(0).standard_normal(25)
    loss = (0.05 + 12 * n**-0.12 + 8 * d**-0.1) * np.exp(noise)
    floor = fit({"n_params": n, "n_tokens": d, "loss": loss}, law="chinchilla").profile("E")
    assert floor.open_low
    assert floor.low == 0.0
    assert not floor.open_high
    assert floor.high < loss.min()
    assert (floor.deviance[floor.grid < floor.value] < 1).all()


def test_a_floor_that_the_runs_show_is_closed():
    floor = fit(ladder(own=0.002, seed=2), law="chinchilla", n_draws=20).profile("E")
    assert 1.4 < floor.low < TRUTH[0] < floor.high < 1.8


def test_unknown_parameters_and_levels_are_refused():
    found = fit(ladder(), law="chinchilla", n_draws=20)
    with pytest.raises(InputError, match="alpha"):
        found.profile("gamma")
    with pytest.raises(InputError, match="level"):
        found.profile("E", level=1.0)


@pytest.mark.slow
def test_profile_intervals_cover():
    # 200 ladders a cell; of an honest 90 % fewer than 85 % are seen in 1 % of cells.
    for shared, own in ((0.004, 0.003), (0.002, 0.004)):
        hits = np.zeros(2)
        for seed in range(200):
            table = ladder(shared=shared, own=own, seed=5000 + seed)
            runs = read_table(table, "loss", ("n_params", "n_tokens"))
            fitted = fit_law(runs, CHINCHILLA)
            found = [profile(fitted, name) for name in ("E", "alpha")]
            truth = (TRUTH[0], TRUTH[2])
            hits += [one.low <= true <= one.high for one, true in zip(found, truth, strict=True)]
        assert ((hits / 200 >= 0.85) & (hits / 200 <= 0.985)).all(), (shared, own, hits)


def test_profiles_and_draws_agree_where_both_are_near_normal():
    runs = read_table(ladder(own=0.002, seed=6), "loss", ("n_params", "n_tokens"))
    fitted = fit_law(runs, CHINCHILLA)
    draws = fitted.to_theta(draw_parameters(fitted, runs.trunk, 400, np.random.default_rng(0)))
    for k in (0, 2, 4):
        found = profile(fitted, CHINCHILLA.names[k])
        low, high = np.quantile(draws[:, k], [0.05, 0.95])
        assert found.high - found.low == pytest.approx(high - low, rel=0.3)


def waves(x, E, w: Annotated[float, Param(low=0.5, high=60.0)]):
    return E + 0.5 * np.cos(w * np.log(x))


def test_every_minimum_that_starts_end_in_is_a_basin():
    # The frequency of a wave has a minimum in every lobe of the periodogram.
    x = np.exp(np.linspace(0.0, 2.0, 40))
    noise = np.exp(0.01 * np.random.default_rng(0).standard_normal(40))
    found = fit({"x": x, "loss": (2 + 0.5 * np.cos(7 * np.log(x))) * noise}, law=waves, n_draws=20)
    certificate = found.certificate
    assert certificate.n_basins > 3
    assert certificate.basins[0].excess == 0.0
    assert [one.objective for one in certificate.basins] == sorted(
        one.objective for one in certificate.basins
    )
    assert found.theta["w"].value == pytest.approx(7.0, rel=1e-2)
    assert sum(one.share for one in certificate.basins) <= 1 + 1e-9


def test_a_smooth_bowl_has_one_basin_that_all_starts_reach():
    certificate = fit(ladder(own=0.003, seed=1), law="chinchilla", n_draws=20).certificate
    assert certificate.n_basins == len(certificate.basins) == 1
    assert certificate.basins[0].share == 1.0


def test_basins_are_told_apart_by_what_they_predict():
    # Two points of one ridge, another minimum, one that has not ended, one without a value.
    objective = np.array([1.0, 1.0, 1.5, 1.2, np.inf])
    gradient = np.array([1e-9, 1e-9, 1e-9, 1.0, np.nan])
    prediction = np.array([[0.0, 0.0], [1e-6, 0.0], [0.3, 0.1], [0.2, 0.2], [np.nan, 0.0]])
    found = find_basins(objective, gradient, prediction)
    assert [(one.objective, one.share) for one in found] == [(1.0, 0.4), (1.5, 0.2)]
    assert found[1].excess == pytest.approx(0.5)


def test_the_analysis_carries_profiles_of_floor_and_exponents():
    analysis = analyse(ladder(shared=0.002, own=0.002, seed=1), n_draws=50)
    names = [one.name for one in analysis.profiles if one.law == "chinchilla"]
    assert names == ["E", "alpha", "beta"]
    record = json.loads(json.dumps(analysis.to_json(), allow_nan=False))
    assert len(record["profiles"]) == len(analysis.profiles)
    assert record["chinchilla"]["certificate"]["basins"][0]["excess"] == 0.0
    rows = dict(analysis_rows(analysis).rows)
    floor = analysis.profile("chinchilla", "E")
    ends = f"[{numbers.general(floor.low, 4)}, {numbers.general(floor.high, 4)}]"
    assert rows["irreducible loss E"].endswith(f"; profile {ends}")
