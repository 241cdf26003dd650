"""`own_law`: which arguments are inputs, how it is derived, what is refused."""

import math
from typing import Annotated

import numpy as np
import pytest

from isoflop._errors import InputError
from isoflop.laws import CHINCHILLA, Param, own_law

COLUMNS = {
    "n_params": np.geomspace(1e7, 1e10, 9),
    "n_tokens": np.geomspace(1e9, 3e11, 9)[::-1],
    "w_code": np.linspace(0.0, 0.5, 9),
    "age": np.arange(1.0, 10.0),
}
THETA = np.array([[1.7, 400.0, 0.34, 410.0, 0.28], [1.8, 480.0, 0.35, 2100.0, 0.37]])


def chinchilla(n_params, n_tokens, E, A, alpha, B, beta):
    return E + A / n_params**alpha + B / n_tokens**beta


def test_the_same_values_and_derivatives_as_the_law_written_by_hand():
    law = own_law(chinchilla, COLUMNS)
    assert law.inputs == ("n_params", "n_tokens")
    assert law.names == CHINCHILLA.names
    np.testing.assert_allclose(
        law.predict(THETA, COLUMNS), CHINCHILLA.predict(THETA, COLUMNS), rtol=1e-14
    )
    np.testing.assert_allclose(
        law.jacobian(THETA, COLUMNS), CHINCHILLA.jacobian(THETA, COLUMNS), rtol=1e-12
    )


def floored(n_params, E, A, alpha):
    return np.maximum(E + A * np.abs(n_params**-alpha), 0.0)


def dropping(n_params, E, A, alpha):
    return E + A * np.asarray(n_params**-alpha, dtype=float)


def refusing(n_params, E, A, alpha):
    if np.iscomplexobj(alpha):
        raise TypeError("real numbers only")
    return E + A * n_params**-alpha


@pytest.mark.parametrize("function", [floored, dropping, refusing])
def test_functions_without_complex_numbers_are_derived_by_differences(function):
    # abs and casts drop the imaginary part: a complex step would say that alpha does nothing.
    law = own_law(function, COLUMNS)
    theta = np.array([1.7, 400.0, 0.34])
    term = 400.0 * COLUMNS["n_params"] ** -0.34
    truth = np.stack([np.ones(9), term / 400.0, -term * np.log(COLUMNS["n_params"])], axis=-1)
    found = law.jacobian(theta, COLUMNS)
    np.testing.assert_allclose(found, truth, rtol=1e-6)
    assert not np.allclose(found, truth, rtol=1e-13, atol=0)


def test_columns_known_names_and_shares_are_inputs_and_defaults_stay():
    def mixed(n_params, w_code, age, alpha, tilt: Annotated[float, Param(low=-2, high=2)], k=2.0):
        return n_params**-alpha * (1 + tilt * w_code) ** k / age**0.1

    law = own_law(mixed, COLUMNS)
    assert law.inputs == ("n_params", "w_code", "age")
    assert law.names == ("alpha", "tilt")
    assert law.real.tolist() == [False, True]
    assert (law.params[1].low, law.params[1].high) == (-2, 2)


def test_an_annotated_column_name_is_a_parameter():
    def steep(n_params, age: Annotated[float, Param(low=0.1, high=9.0, start=2.0)]):
        return n_params**-age

    law = own_law(steep, COLUMNS)
    assert law.inputs == ("n_params",)
    assert law.params[0] == Param(name="age", low=0.1, high=9.0, start=2.0)


def no_parameter(n_params, n_tokens):
    return n_params / n_tokens


def no_input(E, alpha):
    return E + alpha


def misspelled(n_param, alpha):
    return n_param**-alpha


def absent(n_params, lr, alpha):
    return n_params**-alpha * lr


def one_number(n_params, alpha):
    return np.sum(n_params) ** -alpha


def wrong_shape(n_params, alpha):
    return np.ones(3) * np.ravel(alpha)[0]


def scalars(n_params, alpha):
    return math.exp(-alpha * math.log(n_params))


def branching(n_params, alpha):
    return n_params**-alpha if n_params > 1e8 else 1.0


def idle(n_params, alpha, gamma):
    return n_params**-alpha


def other_e(n_params, E):
    return n_params**-E


def open_ended(n_params, *rest):
    return n_params


def of_its_target(loss, alpha):
    return loss**alpha


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (no_parameter, "must be a parameter"),
        (no_input, "must be a column"),
        (misspelled, "close to 'n_params'"),
        (absent, "needs the column 'lr'"),
        (one_number, "element by element|must compute on arrays"),
        (wrong_shape, "must compute on arrays"),
        (scalars, "NumPy functions"),
        (branching, "no if on the arguments"),
        (idle, "'gamma' does not"),
        (other_e, "irreducible loss"),
        (open_ended, "must be named"),
        (of_its_target, "must not take the target"),
        (3.0, "a name, a Law or a function"),
    ],
)
def test_what_is_no_law_is_refused(function, words):
    with pytest.raises(InputError, match=words):
        own_law(function, COLUMNS)


def test_impossible_ranges_are_refused():
    with pytest.raises(InputError, match="low < high"):
        Param(name="a", low=2.0, high=1.0)
    with pytest.raises(InputError, match="start=3"):
        Param(name="a", low=0.1, high=1.0, start=3.0)
