"""What `fit` keeps for every law: the truth behind exact losses, whatever the order of the rows."""

import numpy as np
import pytest

from isoflop.fitting import fit
from isoflop.laws import LAWS, find_law

TRUTH = {
    "chinchilla": [1.6, 60.0, 0.40, 900.0, 0.45],
    "chinchilla_tied": [1.6, 60.0, 0.42, 600.0],
    "skaling": [1.6, 60.0, 0.40, 900.0, 0.45, 0.77],
    "kaplan_joint": [5e8, 3e9, 0.15, 0.25],
    "kaplan_floor": [1.3, 5e6, 3e8, 0.25, 0.35],
    "kaplan_steps": [5e9, 2.1e3, 0.08, 0.76],
    "farseer": [-0.85, 0.048, 1.49, 20.0, -0.14, 3.0, -3.4, 0.026, 3.7],
    "repeated": [1.6, 60.0, 0.4, 900.0, 8.0, 3.0],
    "power": [3e9, 0.2],
    "power_floor": [1.5, 3e6, 0.3],
    "m3": [40.0, 2e-6, 0.3],
    "m4": [1.5, 4.0, 0.6, 1e6, 0.4],
    "bnsl_1": [1.5, 30.0, 0.1, 3e5, 0.4, 0.3],
    "bnsl_2": [1.5, 30.0, -0.02, 3e5, 0.4, 0.4, 1e7, 0.3, -0.2],
    "sigmoid": [0.25, 0.6, 3.0, 2.2],
    "sigmoid_to_one": [0.25, 3.0, 2.2],
    "error_on_loss": [0.85, 2.08, 0.756],
}

RANGES = {
    "n_params": (1e4, 1.6e5, 6),
    "n_tokens": (5e5, 8e6, 6),
    "n_unique_tokens": (1e6, 1e7, 3),
    "steps": (1e3, 1e6, 6),
    "x": (1e4, 1e9, 40),
    "loss": (1.3, 4.0, 16),
}


def _table(name):
    """Every combination of the law's inputs, with exact values of what it predicts."""
    law = find_law(name)
    grids = np.meshgrid(*(np.geomspace(*RANGES[one]) for one in law.inputs), indexing="ij")
    inputs = {one: grid.ravel() for one, grid in zip(law.inputs, grids, strict=True)}
    target = "loss" if "loss" not in inputs else "score"
    return {**inputs, target: law.predict(np.array(TRUTH[name]), inputs)}, target


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_exact_values_are_predicted_exactly_beyond_the_rows(law):
    table, target = _table(law.name)
    found = fit(table, law=law.name, target=target, n_draws=20)
    # Twice as far as the rows reach: larger runs, but a lower loss.
    far = {name: [1.25 if name == "loss" else 2 * RANGES[name][1]] for name in law.inputs}
    columns = {name: np.array(column) for name, column in far.items()}
    truth = law.predict(np.array(TRUTH[law.name]), columns)
    np.testing.assert_allclose(found.predict(far, of="mean").mean, truth, rtol=1e-5)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_order_of_the_rows_changes_nothing(law):
    table, target = _table(law.name)
    rng = np.random.default_rng(7)
    values = table[target]
    table[target] = values * np.exp(0.003 * rng.standard_normal(values.size))
    order = rng.permutation(values.size)
    mixed = {name: column[order] for name, column in table.items()}
    options = {"law": law.name, "target": target, "n_draws": 20}
    assert fit(table, **options).to_json() == fit(mixed, **options).to_json()
