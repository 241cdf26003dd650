"""Checks that compare horizons: how often they cry wolf, and whether they see the wolf."""

import numpy as np
import pytest
from simulated import ladder

from isoflop.fitting import fit
from isoflop.fitting.checks import steepening_problems
from isoflop.fitting.table import Runs

NOISE = 0.005
SPAN = 1.7
"""e-folds of tokens from the shortest to the longest horizon."""


def bent(rng, *, sizes, horizons, first, last):
    """Runs whose slope of ln loss on ln tokens goes from `first` to `last` over the span."""
    n, x = (
        grid.ravel()
        for grid in np.meshgrid(
            np.geomspace(1e4, 1.6e5, sizes), np.linspace(0, SPAN, horizons), indexing="ij"
        )
    )
    log_loss = 1.5 - 0.1 * np.log(n / 1e4) + first * x + (last - first) / SPAN * x**2 / 2
    return Runs(
        columns={"n_params": n, "n_tokens": 1e6 * np.exp(x)},
        loss=np.exp(log_loss + NOISE * rng.standard_normal(n.size)),
        trunk=np.repeat(np.arange(sizes), horizons),
        target="loss",
    )


def alarms(count, **design):
    rng = np.random.default_rng(1)
    return np.mean([bool(steepening_problems(bent(rng, **design))) for _ in range(count)])


@pytest.mark.parametrize(("sizes", "horizons"), [(2, 3), (2, 5), (3, 5), (5, 5)])
def test_straight_lines_seldom_seem_to_steepen(sizes, horizons):
    # True rate 1 %; above 2 % in 1,000 ladders has odds of 0.1 % (the seed is fixed besides).
    assert alarms(1000, sizes=sizes, horizons=horizons, first=-0.25, last=-0.25) < 0.02


def test_true_steepening_is_nearly_always_seen():
    assert alarms(200, sizes=5, horizons=6, first=-0.25, last=-0.45) > 0.98


def test_two_horizons_say_nothing_about_steepening():
    assert alarms(20, sizes=5, horizons=2, first=-0.25, last=-0.45) == 0


def late(seed, size, **noise):
    """A ladder whose runs lie above the law by `size` at the shortest horizon, then fast less."""
    table = ladder(seed=seed, **noise)
    tokens = table["n_tokens"]
    table["loss"] = table["loss"] * (1 + size * np.exp(-3 * (tokens / tokens.min() - 1)))
    return table


def short_horizons(table, seed=0):
    problems = fit(table, law="chinchilla", n_draws=50, seed=seed).problems
    return [problem for problem in problems if problem.code == "short_horizons"]


def test_a_knee_at_the_shortest_horizon_is_told_with_both_forecasts():
    table = late(0, 0.05, shared=0.002, own=0.002)
    (problem,) = short_horizons(table)
    assert "D <= 500,000 tokens" in problem.text
    keep = table["n_tokens"] > 6e5
    corner = {"n_params": [2 * 1.6e5], "n_tokens": [2 * 8e6]}
    for rows in (np.ones(25, dtype=bool), keep):
        part = {name: column[rows] for name, column in table.items()}
        value = fit(part, law="chinchilla", n_draws=20).predict(corner).mean[0]
        assert f"{value:.3f}" in problem.text
    assert not problem.disqualifies("forecast")


def test_without_a_knee_or_with_too_few_horizons_nothing_is_told():
    assert short_horizons(late(0, 0.0, shared=0.002, own=0.002)) == []
    few = {name: column[np.arange(25) % 5 < 3] for name, column in late(0, 0.05).items()}
    assert short_horizons(few) == []


@pytest.mark.slow
@pytest.mark.parametrize("shared", [0.0, NOISE])
def test_clean_ladders_seldom_seem_to_have_a_knee(shared):
    found = [short_horizons(ladder(shared, NOISE, 100 + s), seed=s) for s in range(100)]
    assert np.mean([bool(one) for one in found]) < 0.10


@pytest.mark.slow
def test_knees_are_nearly_always_seen():
    found = [short_horizons(late(s, 0.05, shared=0.002, own=0.002)) for s in range(40)]
    assert np.mean([bool(one) for one in found]) > 0.9
