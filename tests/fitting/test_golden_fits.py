"""Fits that papers and their released data imply, redone from the rows."""

import csv

import numpy as np
import pytest

from isoflop.fitting.one_law import fit_law
from isoflop.fitting.table import read_table
from isoflop.laws import CHINCHILLA, KAPLAN_FLOOR, optimum

PAIR = ("n_params", "n_tokens")


def _fitted(table, objective):
    return fit_law(read_table(table, "loss", PAIR), CHINCHILLA, objective).theta


@pytest.mark.parametrize(
    ("most", "runs", "alpha", "beta", "entropy"),
    [
        # Sardana et al. 2024, arXiv:2401.00448, runs of at most so many tokens per parameter:
        # constants from ordinary ratios make too much of tokens at extreme ones, and E is open.
        (100, 34, 0.077, 0.126, 0.15),
        (250, 39, 0.131, 0.157, 0.99),
        (500, 43, 0.132, 0.158, 0.95),
        (10_000, 47, 0.179, 0.232, 1.46),
    ],
)
def test_sardana_constants_move_with_the_tokens_per_parameter(
    data_dir, most, runs, alpha, beta, entropy
):
    with open(data_dir / "beyond_chinchilla_sardana.csv", newline="") as file:
        rows = [r for r in csv.DictReader(file) if float(r["tokens_per_params"]) <= most]
    names = dict(zip((*PAIR, "loss"), ("parameters", "tokens", "smoothed_loss"), strict=True))
    table = {name: [float(row[column]) for row in rows] for name, column in names.items()}
    assert len(rows) == runs
    theta = _fitted(table, "hoffmann")
    assert (theta[2], theta[4]) == pytest.approx((alpha, beta), abs=5.1e-4)
    assert theta[0] == pytest.approx(entropy, abs=5.1e-3)


@pytest.mark.parametrize(
    ("objective", "all_rows", "alpha", "beta", "entropy", "a"),
    [
        # Chinchilla's digitised points (Besiroglu et al. 2024): the objective and five points move
        # a by more than its published standard error, 0.018.
        ("hoffmann", False, 0.3473, 0.3672, 1.8172, 0.5139),
        ("hoffmann", True, 0.349, 0.453, 1.891, 0.565),
        ("level_ls", False, 0.358, 0.428, 1.883, 0.545),
        ("level_ls", True, 0.368, 0.661, 2.011, 0.642),
    ],
)
def test_objective_and_five_points_move_the_constants(
    data_dir, objective, all_rows, alpha, beta, entropy, a
):
    with open(data_dir / "chinchilla_epoch.csv", newline="") as file:
        rows = [r for r in csv.DictReader(file) if all_rows or r["used_in_paper_fit"] == "1"]
    table = {name: [float(row[name]) for row in rows] for name in (*PAIR, "loss")}
    theta = _fitted(table, objective)
    assert (theta[2], theta[4]) == pytest.approx((alpha, beta), abs=5.1e-4)
    assert theta[0] == pytest.approx(entropy, abs=5.1e-4)
    assert float(optimum(theta, np.array([1e21])).a) == pytest.approx(a, abs=6e-4)


def test_kaplans_law_with_a_floor_reaches_the_best_known_residual(data_dir):
    # An independent package's least squares of this form on the 240 points: 0.3081238.
    with open(data_dir / "chinchilla_epoch.csv", newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["used_in_paper_fit"] == "1"]
    table = {name: [float(row[name]) for row in rows] for name in (*PAIR, "loss")}
    found = fit_law(read_table(table, "loss", PAIR), KAPLAN_FLOOR, "level_ls")
    assert 2 * found.certificate.objective == pytest.approx(0.3081238, abs=5.1e-8)
