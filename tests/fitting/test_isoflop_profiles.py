"""Approach 2: the parabola's bias, groups of one budget, edges, published isoFLOPs, variants."""

import csv

import numpy as np
import pytest

from isoflop._errors import InputError
from isoflop.fitting import analyse
from isoflop.fitting.size_curves import budget_groups
from isoflop.fitting.vertex import parabola, parabola_shift, unbiased
from isoflop.laws import CHINCHILLA, optimum

TRUTH = np.array([1.69, 406.4, 0.34, 410.7, 0.28])
BUDGETS = np.array([1e18, 3e18, 1e19, 3e19, 1e20])


def analysed(table, **options):
    """`analyse` by the additive law alone: its allocations are what is tested here."""
    return analyse(table, law="chinchilla", **{"n_draws": 20, **options})


def groups(truth=TRUTH, *, width=16.0, count=11, off=1.0, noise=0.0, budgets=BUDGETS):
    """Sizes `width` times below to above `off` times the optimum of each budget, C = 6 N D."""
    best = optimum(truth, budgets).n_params
    n = (best[:, None] * off * np.geomspace(1 / width, width, count)).ravel()
    flops = np.repeat(budgets, count)
    d = flops / 6 / n
    loss = CHINCHILLA.predict(truth, {"n_params": n, "n_tokens": d})
    error = noise * np.random.default_rng(0).standard_normal(n.size)
    return {"n_params": n, "n_tokens": d, "flops": flops, "loss": loss * np.exp(error)}


@pytest.mark.parametrize(
    ("alpha", "beta", "width", "error", "tolerance"),
    [
        # laws.md 3.9: error of D_opt [%] of a parabola through 15 sizes, as printed.
        (0.34, 0.28, 2, -0.33, 0.005),
        (0.34, 0.28, 4, -1.30, 0.005),
        (0.34, 0.28, 8, -2.90, 0.005),
        (0.34, 0.28, 16, -5.10, 0.005),
        (0.46, 0.15, 2, -1.68, 0.01),
        (0.46, 0.15, 4, -6.50, 0.005),
        (0.46, 0.15, 8, -13.9, 0.05),
        (0.46, 0.15, 16, -23.1, 0.05),
    ],
)
def test_published_errors_of_a_parabola(alpha, beta, width, error, tolerance):
    # Czech et al. 2026, arXiv:2603.22339: the shift of D is the negative of that of N.
    offsets = np.linspace(-np.log(width), np.log(width), 15)
    shift = float(parabola_shift(alpha, beta, offsets))
    assert 100 * (np.exp(-shift) - 1) == pytest.approx(error, abs=tolerance)


@pytest.mark.parametrize(("alpha", "beta", "dw"), [(0.34, 0.28, 0.022735), (0.46, 0.15, 0.114167)])
def test_golden_shifts_and_the_closed_form_of_symmetric_grids(alpha, beta, dw):
    # laws.md 15, approach2_dw and approach2_dw2 [log10 units], +-16x, n = 15.
    w = np.linspace(-np.log10(16), np.log10(16), 15)
    assert parabola_shift(alpha, beta, w * np.log(10)) / np.log(10) == pytest.approx(dw, abs=5e-7)
    y = beta * 10 ** (-alpha * w) + alpha * 10 ** (beta * w)
    s2, s4 = (w**2).sum(), (w**4).sum()
    p = (15 * (w**2 * y).sum() - s2 * y.sum()) / (15 * s4 - s2**2)
    closed = -(w * y).sum() / s2 / (2 * p)
    assert parabola_shift(alpha, beta, w * np.log(10)) / np.log(10) == pytest.approx(closed)


def test_equal_exponents_have_no_bias_and_the_parabola_is_exact():
    assert parabola_shift(0.3, 0.3, np.linspace(-2, 2, 9)) == pytest.approx(0.0, abs=1e-12)
    axis = np.array([20.0, 21.0, 22.5, 24.0])
    found = parabola(axis, 3 - 2 * axis + 0.05 * axis**2)
    np.testing.assert_allclose(found, [3, -2, 0.05], rtol=1e-8)


@pytest.mark.parametrize("minimum", [18.5, 20.0, 21.7])
def test_the_bias_is_undone_on_any_grid(minimum):
    axis = np.array([17.0, 18.0, 19.2, 20.0, 21.1, 22.4])
    vertex = minimum + parabola_shift(0.46, 0.15, axis - minimum)
    found = unbiased(np.array([vertex, np.nan]), axis, 0.46, 0.15)
    assert found[0] == pytest.approx(minimum, abs=1e-10)
    assert np.isnan(found[1])


@pytest.mark.parametrize("truth", [TRUTH, np.array([1.69, 2000.0, 0.46, 40.0, 0.15])])
def test_exact_groups_give_the_exact_optimum_where_vertices_are_off(truth):
    analysis = analysed(groups(truth))
    found = analysis.allocation("isoflop")
    assert found.measured
    best = optimum(truth, found.flops)
    np.testing.assert_allclose(found.n_opt, best.n_params, rtol=1e-3)
    np.testing.assert_allclose(found.d_opt, best.n_tokens, rtol=1e-3)
    raw = found.variants[0]
    assert raw.what == "uncorrected"
    off = abs(raw.n_opt(1e19) / optimum(truth, [1e19]).n_params[0] - 1)
    assert off > 0.05
    mended = found.n_opt[2] / optimum(truth, [1e19]).n_params[0] - 1
    assert abs(mended) < off / 100


def test_drifting_grids_bias_exponents_and_are_mended():
    # Sizes too small at small budgets, too large at large ones: raw exponents bend, too.
    truth = np.array([1.69, 2000.0, 0.46, 40.0, 0.15])
    drift = zip((0.4, 0.7, 1.0, 1.5, 2.4), BUDGETS, strict=True)
    parts = [groups(truth, off=off, budgets=np.array([c])) for off, c in drift]
    table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    found = analysed(table).allocation("isoflop")
    a = truth[4] / (truth[2] + truth[4])
    assert abs(found.variants[0].a - a) > 1e-3
    assert found.a.value == pytest.approx(a, abs=1e-4)


def test_groups_are_used_as_they_are_and_grids_are_not_taken_for_groups():
    table = groups()
    rows = budget_groups(table["flops"], table["n_params"], np.ones(55))
    assert [len(one) for one in rows] == [11] * 5
    # Nominal budgets met to 0.1 %, and two experiments of one budget.
    rng = np.random.default_rng(0)
    near = table["flops"] * np.exp(1e-3 * rng.uniform(-1, 1, 55))
    assert len(budget_groups(near, table["n_params"], np.ones(55))) == 5
    halves = np.tile(np.arange(11) % 2, 5)
    assert len(budget_groups(table["flops"], table["n_params"], halves)) == 10
    n, d = (g.ravel() for g in np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e9, 3e10, 5)))
    assert budget_groups(6 * n * d, n, np.ones(30)) == []


@pytest.mark.parametrize("off", [0.02, 50.0])
def test_valleys_beyond_the_sizes_are_refused(off):
    found = analysed(groups(off=off, width=3.0)).allocation("isoflop")
    assert np.isnan(found.a.value)
    assert found.n_opt.size == 0
    assert {problem.code for problem in found.problems} <= {"edge_minimum", "no_minimum"}
    assert found.problems[0].severity == "warning"
    assert all(profile.status != "ok" for profile in found.profiles)


def test_hills_have_no_minimum():
    table = groups()
    center = np.repeat(np.log(optimum(TRUTH, BUDGETS).n_params), 11)
    table["loss"] = 3.0 - 0.05 * (np.log(table["n_params"]) - center) ** 2
    found = analysed(table).allocation("isoflop")
    assert {profile.status for profile in found.profiles} == {"no_minimum"}
    assert np.isnan(found.b.value)


def test_approaches_agree_at_given_budgets():
    analysis = analysed(groups(noise=5e-4), n_draws=100, budgets=[1e20, 1e21])
    assert {(one.approach, one.flops) for one in analysis.agreement} == {
        (approach, flops) for approach in ("isoflop", "parametric") for flops in (1e20, 1e21)
    }
    for one in analysis.agreement:
        best = optimum(TRUTH, [one.flops])
        for found, truth in ((one.n_opt, best.n_params[0]), (one.d_opt, best.n_tokens[0])):
            assert found.low < found.value < found.high
            assert found.low < truth < found.high
        assert one.tokens_per_param.value == pytest.approx(one.d_opt.value / one.n_opt.value)
    assert {one.flops for one in analysed(groups()).agreement} == {1e20, 1e21, 1e22}
    with pytest.raises(InputError, match="budgets > 0"):
        analysed(groups(), budgets=[0.0])


def test_flagged_runs_and_single_budgets_that_carry_the_answer_are_told():
    # The dearest budget's valley lies at half the size; a flag on some of its runs.
    table = groups(noise=2e-4)
    last = table["flops"] == 1e20
    bent = CHINCHILLA.predict(
        TRUTH, {"n_params": 3 * table["n_params"], "n_tokens": table["n_tokens"] / 3}
    )
    table["loss"] = np.where(last, bent, table["loss"])
    table["outlier"] = np.where(last, "True", "False")
    analysis = analysed(table, n_draws=50, budgets=[1e22])
    found = analysis.allocation("isoflop")
    told = [one for one in found.problems if one.code == "allocation_moves"]
    assert len(told) == 2
    assert "11 runs that the table flags" in told[0].text
    assert "budget of 1e+20" in told[1].text
    without = next(one for one in found.variants if one.what == "without_flagged")
    assert without.n_runs == 44
    best = optimum(TRUTH, [1e22]).n_params[0]
    assert without.n_opt(1e22) == pytest.approx(best, rel=0.1)
    (whole,) = (one for one in analysis.agreement if one.approach == "isoflop")
    assert not 0.7 < whole.n_opt.value / best < 1.4
    assert found.n_opt.size == 5


def test_clean_flags_are_said_to_change_nothing():
    table = groups(noise=1e-4)
    table["outlier"] = np.arange(55) == 7
    told = analysed(table).allocation("isoflop").problems
    assert [(one.code, one.severity) for one in told] == [("allocation_moves", "note")]
    assert "Nothing: the answer is the same." in told[0].remedy


@pytest.fixture(scope="module")
def llama(data_dir):
    with open(data_dir / "isoflops_openathena.csv", newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["experiment"] == "llama_3__raw_loss"]
    names = {"n_params": "params", "n_tokens": "tokens", "flops": "budget", "loss": "loss"}
    table = {ours: np.array([float(r[theirs]) for r in rows]) for ours, theirs in names.items()}
    table["outlier"] = np.array([r["outlier"] for r in rows])
    return analysed(table, budgets=[3.8e25])


def test_llama_3_published_procedure(llama):
    # Dubey et al. 2024, arXiv:2407.21783, sec. 3.2.1: D* = 0.299 C^0.537, at 3.8e25 FLOPs 402B
    # parameters on 16.55T tokens; recomputed from the digitised runs .5368, .299, 16.1T, 393B.
    raw = llama.allocation("isoflop").variants[0]
    assert (raw.what, raw.n_runs) == ("uncorrected", 133)
    assert raw.b == pytest.approx(0.5368, abs=5e-5)
    assert np.exp(raw.log_d) == pytest.approx(0.299, abs=5e-4)
    assert raw.d_opt(3.8e25) == pytest.approx(1.61e13, rel=1e-3)
    assert raw.n_opt(3.8e25) == pytest.approx(3.93e11, rel=1e-3)


def test_llama_3_without_flagged_runs_is_another_answer_and_says_so(llama):
    found = llama.allocation("isoflop")
    told = {one.what: one for one in found.variants}
    assert told["without_flagged"].n_runs == 116
    # Two of ten budgets go with the flags; the dearest alone moves the answer as far.
    assert told["without_flagged"].d_opt(3.8e25) == pytest.approx(9.8e12, rel=0.01)
    assert told["without_budget 1e+22"].d_opt(3.8e25) == pytest.approx(1.13e13, rel=0.01)
    # One run is far from the law; without it nothing changes.
    assert told["without_far"].n_runs == 132
    assert told["without_far"].d_opt(3.8e25) == pytest.approx(1.61e13, rel=0.01)
    texts = [one.text for one in found.problems if one.code == "allocation_moves"]
    assert "17 runs that the table flags as outliers" in texts[0]
    assert "D_opt = 9.77e+12" in texts[0]
    assert "1.61e+13" in texts[0]
    # The parametric law, from all rows, sides with the answer without the flagged ones.
    (law,) = (one for one in llama.agreement if one.approach == "parametric")
    assert law.d_opt.value == pytest.approx(9.5e12, rel=0.02)
