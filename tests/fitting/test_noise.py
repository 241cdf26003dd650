"""The noise of trunks and runs: freedom adds up, also where a parameter has no effect left."""

import numpy as np
import pytest

from isoflop.fitting.noise import estimate_noise

TRUNK = np.repeat(np.arange(5), [4, 4, 4, 2, 2])


def _columns(rng: np.random.Generator) -> np.ndarray:
    """A level, one that varies between trunks, one that varies within them too."""
    return np.column_stack([np.ones(16), TRUNK - 2.0, rng.standard_normal(16)])


@pytest.mark.parametrize("small", [1e-12, 1e-100, 1e-200, 1e-300, 0.0])
def test_a_parameter_without_effect_changes_nothing(small: float) -> None:
    """A fit that has run to its bounds: two columns of its Jacobian were 1e-268, and the noise of
    trunks no number."""
    rng = np.random.default_rng(0)
    told, residual = _columns(rng), 0.01 * rng.standard_normal(16)
    without = np.column_stack([told, small * rng.standard_normal((16, 2))])
    found, wanted = (estimate_noise(residual, columns, TRUNK) for columns in (without, told))
    for name in ("shared", "own", "freedom_shared", "freedom_own"):
        assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=1e-9)


def test_the_freedom_of_trunks_and_runs_is_what_the_parameters_leave() -> None:
    """16 runs of 5 trunks; 2 of 3 parameters act between trunks only: 3 + 1 prior, and 10."""
    rng = np.random.default_rng(1)
    found = estimate_noise(0.01 * rng.standard_normal(16), _columns(rng), TRUNK)
    assert found.freedom_own == pytest.approx(16 - 5 - 1)
    assert found.freedom_shared == pytest.approx(5 - 2 + 1)
