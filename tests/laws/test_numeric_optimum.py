"""The searched optimum is the closed form's, and what has no optimum is told."""

import numpy as np
import pytest

from isoflop._errors import InputError
from isoflop.laws import CLOSED_FORM, FARSEER, POWER, best_log_size, find_law, optimum, own_law
from isoflop.laws.numeric_optimum import find_root

THETA = {
    "chinchilla": [1.69, 406.4, 0.34, 410.7, 0.28],
    "chinchilla_tied": [1.87, 520.8, 0.353, 1487.7],
    "kaplan_joint": [8.8e13, 5.4e13, 0.076, 0.095],
    "kaplan_floor": [1.3, 5e6, 3e8, 0.25, 0.35],
    "skaling": [1.7, 400.0, 0.34, 410.0, 0.28, 0.77],
}
FLOPS = np.geomspace(1e18, 1e26, 5)


@pytest.mark.parametrize("name", CLOSED_FORM)
def test_search_finds_the_closed_form(name):
    law, theta = find_law(name), np.array([THETA[name]])
    best = optimum(theta, FLOPS, law=law)
    found = np.exp(best_log_size(law, theta, np.log(FLOPS / 6)[None]))
    np.testing.assert_allclose(found, best.n_params, rtol=1e-9)


def test_where_all_tokens_are_new_the_law_of_repeats_is_the_tied_law():
    """Loss up to the useful size, and the optimum, at that size: A/N^alpha = B/D^alpha."""
    tied, repeated = find_law("chinchilla_tied"), find_law("repeated")
    theta = np.array([[*THETA["chinchilla_tied"], 8.0, 3.0]])
    at = {"n_params": np.array([1e8, 1e9]), "n_tokens": np.array([1e11, 1e12])}
    plain = tied.predict(np.array([THETA["chinchilla_tied"]]), at)
    np.testing.assert_allclose(repeated.predict(theta, at), plain, rtol=1e-12)
    told = repeated.predict(theta, {**at, "n_unique_tokens": at["n_tokens"]})
    np.testing.assert_allclose(told, plain, rtol=1e-12)
    found = np.exp(best_log_size(repeated, theta, np.log(FLOPS / 6)[None]))
    best = optimum(np.array([THETA["chinchilla_tied"]]), FLOPS, law=tied)
    np.testing.assert_allclose(found, best.n_params, rtol=1e-6)


def test_a_law_of_ones_own_has_the_same_optimum_exponents_and_loss():
    def mine(n_params, n_tokens, E, A, alpha, B, beta):
        return E + A / n_params**alpha + B / n_tokens**beta

    columns = {"n_params": np.geomspace(1e7, 1e10, 6), "n_tokens": np.geomspace(1e9, 1e11, 6)}
    theta = np.array(THETA["chinchilla"]) * np.array([[1.0], [1.02]])
    plain, own = optimum(theta, FLOPS), optimum(theta, FLOPS, law=own_law(mine, columns))
    for name in ("n_params", "n_tokens", "loss", "a", "b"):
        np.testing.assert_allclose(getattr(own, name), getattr(plain, name), rtol=1e-9)


def test_a_function_without_complex_numbers_is_searched_by_differences():
    def mine(n_params, n_tokens, E, A, alpha, B, beta):
        return E + A / np.abs(n_params) ** alpha + B / np.abs(n_tokens) ** beta

    columns = {"n_params": np.geomspace(1e7, 1e10, 6), "n_tokens": np.geomspace(1e9, 1e11, 6)}
    theta = np.array(THETA["chinchilla"])
    own = optimum(theta, FLOPS, law=own_law(mine, columns))
    np.testing.assert_allclose(own.n_params, optimum(theta, FLOPS).n_params, rtol=1e-7)


def test_farseer_is_stationary_along_the_budget():
    # Made from an additive law with slightly moving exponents; no closed form to compare with.
    theta = np.array([0.5, -0.05, 0.35, 4.0, -0.02, 3.0, 0.1, 0.01, -1.0])
    best = optimum(theta, [1e21], law=FARSEER)

    def loss(shift):
        return FARSEER.predict(
            theta,
            {"n_params": best.n_params * np.exp(shift), "n_tokens": best.n_tokens / np.exp(shift)},
        )[0]

    assert loss(0.0) <= min(loss(0.05), loss(-0.05))


def test_a_law_that_only_falls_with_size_ends_at_one_token():
    def larger_is_better(n_params, n_tokens, E, alpha):
        return E + n_params**-alpha * (1 + 0 * n_tokens)

    law = own_law(larger_is_better, {"n_params": np.ones(3) * 1e8, "n_tokens": np.ones(3) * 1e9})
    assert optimum([1.0, 0.3], [6e20], law=law).n_tokens[0] == pytest.approx(1.0)


def test_other_inputs_are_refused():
    with pytest.raises(InputError, match="one of n_params and n_tokens"):
        optimum([1e14, 0.1], [1e20], law=POWER)


def test_roots_of_stiff_functions():
    shift = np.array([0.1, 3.7, -8.0])
    found = find_root(lambda x: np.expm1(9 * (x - shift)), np.full(3, -20.0), np.full(3, 20.0))
    np.testing.assert_allclose(found, shift, rtol=1e-11)
