"""A law of one's own goes all the way: fit, predict, plan, compare, next runs, back-test."""

from typing import Annotated

import numpy as np
import pytest
from simulated import TRUTH, ladder

from isoflop._errors import FitError, InputError
from isoflop.fitting import compare, fit, law_card, next_runs
from isoflop.laws import Param, find_law, own_law
from isoflop.planning import plan
from isoflop.reports import read_law_card, write_law_card


def chinchilla(n_params, n_tokens, E, A, alpha, B, beta):
    return E + A / n_params**alpha + B / n_tokens**beta


@pytest.fixture(scope="module")
def table():
    return ladder(shared=0.004, own=0.003, seed=1)


@pytest.fixture(scope="module")
def pair(table):
    return fit(table, law="chinchilla", n_draws=100), fit(table, law=chinchilla, n_draws=100)


def test_the_same_fit_and_back_test_as_the_built_in(pair):
    built_in, own = pair
    for name, truth in built_in.theta.items():
        assert own.theta[name].value == pytest.approx(truth.value, rel=1e-6)
        assert own.theta[name].low == pytest.approx(truth.low, rel=1e-3)
        assert own.theta[name].high == pytest.approx(truth.high, rel=1e-3)
    assert own.scores[0].backtest == pytest.approx(built_in.scores[0].backtest, rel=1e-4)
    assert own.certificate.converged
    assert own.law.name == "chinchilla (own)"


def test_the_same_predictions(pair):
    there = {"n_params": [1e6, 1e5], "n_tokens": [1e8, 1e7]}
    built_in, own = (one.predict(there) for one in pair)
    np.testing.assert_allclose(own.mean, built_in.mean, rtol=1e-6)
    np.testing.assert_allclose([own.low, own.high], [built_in.low, built_in.high], rtol=1e-4)


@pytest.mark.parametrize(
    "given", [{"flops": 1e16}, {"loss": 1.95}, {"n_params": 1e6}, {"n_tokens": 1e8}]
)
def test_the_same_plan_by_search(pair, given):
    built_in, own = (plan(one, **given) for one in pair)
    for name in ("n_params", "n_tokens", "flops", "loss", "tokens_per_param"):
        value, truth = getattr(own, name), getattr(built_in, name)
        assert value.value == pytest.approx(truth.value, rel=1e-6)
        # Fewer samples of the noise where each draw is searched: ends agree roughly for `loss`.
        rough = 0.5 if "loss" in given and name != "loss" else 1e-2
        assert value.low == pytest.approx(truth.low, rel=rough)
        assert value.high == pytest.approx(truth.high, rel=rough)


def test_the_same_next_runs(pair):
    built_in, own = (
        next_runs(one, target={"flops": 1e16}, budget_flops=1e15, max_runs=4) for one in pair
    )
    assert own.sd_before == pytest.approx(built_in.sd_before, rel=1e-2)
    for found, truth in zip(own.runs, built_in.runs, strict=True):
        assert found.n_params == pytest.approx(truth.n_params, rel=1e-5)
        assert found.n_tokens == pytest.approx(truth.n_tokens, rel=1e-5)


def test_the_same_comparison(table):
    other = ladder(shared=0.004, own=0.003, seed=2, truth=TRUTH * [1, 1.2, 1, 1.1, 1])
    options = {"n_draws": 40}
    built_in = compare(table, other, law="chinchilla", **options)
    own = compare(table, other, law=chinchilla, **options)
    assert own.multiplier.value == pytest.approx(built_in.multiplier.value, rel=1e-4)
    assert own.multiplier.low == pytest.approx(built_in.multiplier.low, rel=1e-3)
    assert own.multiplier.high == pytest.approx(built_in.multiplier.high, rel=1e-3)


def coupled(n_params, n_tokens, E, a, alpha, b, beta, k: Annotated[float, Param(low=0.2, high=2)]):
    return E + ((a / n_params) ** (alpha / k) + (b / n_tokens) ** (beta / k)) ** k


def test_another_form_is_recovered_from_its_own_data(table):
    # Amplitudes inside a power: none of them is linear, so starts must find the scale of inputs.
    truth = np.array([1.6, 2e4, 0.4, 3e6, 0.45, 0.77])
    law = own_law(coupled, table)
    exact = {**table, "loss": law.predict(truth, table)}
    found = fit(exact, law=coupled, n_draws=20)
    np.testing.assert_allclose([one.value for one in found.theta.values()], truth, rtol=1e-3)
    noise = 0.002 * np.random.default_rng(0).standard_normal(len(exact["loss"]))
    noisy = fit({**exact, "loss": exact["loss"] * np.exp(noise)}, law=coupled, n_draws=100)
    there = {"n_params": np.array([4e5]), "n_tokens": np.array([2e7])}
    forecast = noisy.predict(there)
    assert forecast.low[0] < law.predict(truth, there)[0] < forecast.high[0]


def test_signed_parameters_and_any_column(table):
    def tilted(n_params, depth, E, A, tilt: Annotated[float, Param(low=-1, high=1)]):
        return E + A * n_params**-0.3 * (1 + tilt * np.log(depth))

    n = table["n_params"]
    depth = np.tile([2.0, 3.0, 4.0, 6.0, 8.0], 5)
    exact = {"n_params": n, "depth": depth, "loss": 1.5 + 20 * n**-0.3 * (1 - 0.2 * np.log(depth))}
    found = fit(exact, law=tilted, n_draws=20)
    values = [one.value for one in found.theta.values()]
    np.testing.assert_allclose(values, [1.5, 20.0, -0.2], rtol=1e-4)


def test_units_as_large_as_published_ladders():
    # 1e7 to 1e10 parameters, 1e9 to 1e11 tokens: exponents and amplitudes on a long thin ridge.
    n, d = np.meshgrid(np.geomspace(4e7, 1e10, 6), np.geomspace(1e9, 3e11, 6))
    columns = {"n_params": n.ravel(), "n_tokens": d.ravel()}
    truth = np.array([1.69, 406.4, 0.34, 410.7, 0.28])
    exact = {**columns, "loss": find_law("chinchilla").predict(truth, columns)}
    found = fit(exact, law=chinchilla, n_draws=20)
    np.testing.assert_allclose([one.value for one in found.theta.values()], truth, rtol=1e-4)


def test_nan_everywhere_and_too_few_rows_are_told(table):
    def nowhere(n_params, n_tokens, E, alpha):
        return E + alpha * np.sqrt(-n_params) * n_tokens

    with pytest.raises(FitError, match="must have a value"):
        fit(table, law=nowhere)
    short = {name: column[:5] for name, column in table.items()}
    with pytest.raises(FitError, match="runs > 5"):
        fit(short, law=chinchilla)


def test_a_law_of_other_inputs_has_no_plan(table):
    def of_size(n_params, E, A, alpha):
        return E + A / n_params**alpha

    with pytest.raises(InputError, match="a law of n_params and n_tokens"):
        plan(fit(table, law=of_size, n_draws=20), flops=1e16)


def worse(n_params, n_tokens, E, A, alpha):
    """Blind to data: loses wherever horizons differ."""
    return E + A / n_params**alpha + 0 * n_tokens


def test_competes_with_the_usual_laws(table):
    usual = fit(table, n_draws=100)
    both = fit(table, law=["auto", worse], n_draws=100)
    weight = {one.law: one.weight for one in both.scores}
    assert weight.pop("worse (own)") == 0
    assert weight == {one.law: pytest.approx(one.weight) for one in usual.scores}
    np.testing.assert_allclose(
        both.predict({"n_params": [1e6], "n_tokens": [1e8]}).mean,
        usual.predict({"n_params": [1e6], "n_tokens": [1e8]}).mean,
        rtol=1e-9,
    )


def test_the_right_form_wins_against_wrong_ones():
    # Losses of a law that none of the usual ones can bend to: the floor falls with size.
    def bends(n_params, n_tokens, floor, A, alpha, B, beta):
        return (floor + A / n_params**alpha) * (1 + B / n_tokens**beta)

    table = ladder(own=0.001, seed=3)
    n, d = table["n_params"], table["n_tokens"]
    noise = table["loss"] / find_law("chinchilla").predict(TRUTH, {"n_params": n, "n_tokens": d})
    table["loss"] = bends(n, d, 1.6, 3000.0, 0.9, 400.0, 0.45) * noise
    found = fit(table, law=["chinchilla", "kaplan_joint", bends], n_draws=100)
    assert found.law.name == "bends (own)"
    made = plan(found, flops=1e15)
    assert made.n_params.low <= made.n_params.value <= made.n_params.high


def test_laws_that_explain_other_runs_do_not_compete(table):
    with pytest.raises(InputError, match="Fit them apart"):
        fit({**table, "x": table["flops"]}, law=["chinchilla", "power_floor"])
    with pytest.raises(InputError, match="at least one law"):
        fit(table, law=[])


def test_a_card_plans_once_its_function_is_given(table, tmp_path):
    found = fit(table, law=chinchilla, n_draws=100)
    path, _ = write_law_card(tmp_path / "a.json", law_card(found))
    with pytest.raises(InputError, match="a card holds no code"):
        read_law_card(path)
    with pytest.raises(InputError, match="made with"):
        read_law_card(path, law=worse)
    again = read_law_card(path, law=chinchilla)
    there = {"n_params": [1e6], "n_tokens": [1e8]}
    first, second = found.predict(there), again.estimate.predict(there)
    np.testing.assert_allclose(second.mean, first.mean, rtol=1e-12)
    np.testing.assert_allclose([second.low, second.high], [first.low, first.high], rtol=1e-5)
    assert plan(again, flops=1e15).n_params.value == pytest.approx(
        plan(found, flops=1e15).n_params.value, rel=1e-9
    )
