"""`analyse` and `make_forecast`: three approaches agree with the truth; forecasts cannot move."""

import json

import numpy as np
import pytest
from simulated import TRUTH, ladder

from isoflop._errors import InputError
from isoflop.fitting import Forecast, analyse, make_forecast
from isoflop.laws import optimum
from isoflop.reports.tables import analysis_rows

A_TRUE = TRUTH[4] / (TRUTH[2] + TRUTH[4])
WIDE = {"sizes": np.geomspace(3e3, 6e5, 9), "horizons": np.geomspace(3e5, 2e7, 7)}


@pytest.fixture(scope="module")
def wide():
    return analyse(ladder(shared=0.001, own=0.001, **WIDE), n_draws=100)


def test_three_approaches_find_the_exponent(wide):
    assert [one.approach for one in wide.allocations] == ["envelope", "isoflop", "parametric"]
    for one in wide.allocations:
        assert one.a.value == pytest.approx(A_TRUE, abs=0.05)
        assert one.sum_ab == pytest.approx(one.a.value + one.b.value)
        assert one.a.low < one.a.value < one.a.high
        assert one.flops.shape == one.n_opt.shape == one.d_opt.shape
    statuses = {profile.status for profile in wide.allocation("isoflop").profiles}
    assert "ok" in statuses


def test_profiles_dip_at_their_vertex(wide):
    for profile in wide.allocation("isoflop").profiles:
        if profile.status == "ok":
            assert profile.parabola([profile.vertex])[0] == pytest.approx(profile.loss_opt)
            assert (profile.parabola(profile.n_params) >= profile.loss_opt - 1e-12).all()


def test_floor_ceilings_and_reducible_loss(wide):
    # One ladder: 90 % intervals miss one truth in ten (`test_draws` counts how many), three
    # standard errors hardly any.
    half = (wide.entropy.high - wide.entropy.low) / 2
    assert abs(wide.entropy.value - TRUTH[0]) < 3 / 1.645 * half
    for ceiling in wide.ceilings:
        truth = TRUTH[0] + TRUTH[1] * ceiling.n_params ** -TRUTH[2]
        assert ceiling.ceiling.value == pytest.approx(truth, rel=0.03)
        assert ceiling.reducible_by_data == pytest.approx(ceiling.best_loss - ceiling.ceiling.value)
    assert [c.ceiling.value for c in wide.ceilings] == sorted(
        (c.ceiling.value for c in wide.ceilings), reverse=True
    )


def test_straight_line_is_too_optimistic_far_out(wide):
    far = 1e6 * wide.frontier_flops.max()
    assert wide.naive.predict(far)[0] < wide.entropy.value
    assert wide.frontier.predict({"x": [far]}).mean[0] > wide.naive.predict(far)[0]


def test_frontier_falls_with_compute(wide):
    assert (np.diff(wide.frontier_flops) > 0).all()
    assert (np.diff(wide.frontier_loss) < 0).all()


def test_json_is_plain_and_repeatable(wide):
    again = analyse(ladder(shared=0.001, own=0.001, **WIDE), n_draws=100)
    assert json.dumps(wide.to_json(), allow_nan=False) == json.dumps(again.to_json())


def test_valley_at_the_edge_is_told():
    # Sizes far below the optimum: every profile falls towards the largest.
    table = ladder(sizes=np.geomspace(1e3, 4e3, 4), horizons=np.geomspace(1e7, 3e8, 6))
    codes = {problem.code for problem in analyse(table, n_draws=50).problems}
    assert codes & {"edge_minimum", "no_minimum"}


def test_exponents_of_the_edges_are_not_told():
    table = ladder(sizes=np.geomspace(1e3, 4e3, 4), horizons=np.geomspace(1e7, 3e8, 6))
    envelope = analyse(table, n_draws=50).allocation("envelope")
    assert [problem.code for problem in envelope.problems] == ["edge_minimum"]
    for one in (envelope.a, envelope.b):
        assert np.isnan(one.value)
        assert (one.low, one.high) == (-np.inf, np.inf)


def test_other_flops_convention_is_told_apart():
    table = ladder(own=0.001, **WIDE)
    # FLOPs that count a fixed cost a token besides 6 N: a + b is no longer one.
    table["flops"] = 6 * (table["n_params"] + 2e5) * table["n_tokens"]
    codes = {problem.code for problem in analyse(table, n_draws=50).problems}
    assert "exponents_inconsistent" in codes


def test_forecast_is_sealed(wide):
    forecast = make_forecast(wide, 1e6, 4e7, 2.4e14)
    assert forecast.loss.low < forecast.loss.value < forecast.loss.high
    record = json.loads(json.dumps(forecast.to_json(), allow_nan=False))
    assert Forecast.from_json(record) == forecast
    assert make_forecast(wide, 1e6, 4e7, 2.4e14).sha256 == forecast.sha256
    record["loss"]["high"] += 0.01
    with pytest.raises(InputError, match="changed after"):
        Forecast.from_json(record)
    del record["loss"]
    with pytest.raises(InputError, match="loss"):
        Forecast.from_json(record)


def test_forecast_of_nonsense_is_refused(wide):
    with pytest.raises(InputError, match="n_params"):
        make_forecast(wide, -1.0, 4e7, 1e14)
    with pytest.raises(InputError, match="flops"):
        make_forecast(wide, 1e6, 4e7, 0.0)


def test_single_size_and_ray_are_analysed_with_their_problems():
    # Neither can say how to split compute; both must still come back with a forecast.
    one_size = ladder(own=0.002, sizes=np.array([1e5]), horizons=np.geomspace(3e5, 2e7, 10))
    n = np.geomspace(1e5, 1e8, 10)
    ray = {"n_params": n, "n_tokens": 20 * n, "loss": 1.5 + 40 * n**-0.3}
    for table in (one_size, ray):
        analysis = analyse(table, n_draws=50)
        assert any(problem.disqualifies("allocation") for problem in analysis.problems)
        assert analysis.sensitivity is None
        assert make_forecast(analysis, 2e5, 4e7, 4.8e13).loss.value > 0


def test_optimum_of_the_fit_at_budgets(wide):
    best = optimum(TRUTH, wide.optimum.flops)
    assert wide.optimum.flops.tolist() == sorted({one.flops for one in wide.agreement})
    for found, truth in ((wide.optimum.n_params, best.n_params), (wide.optimum.loss, best.loss)):
        assert (found.low < truth).all()
        assert (truth < found.high).all()
    again = wide.fit.optimum(wide.optimum.flops)
    np.testing.assert_array_equal(again.n_tokens.mean, wide.optimum.n_tokens.mean)
    rows = dict(analysis_rows(wide).rows)
    (last,) = (value for name, value in list(rows.items()) if name.startswith("best run at 7.2e15"))
    assert "within 0.1 %: N" in last
