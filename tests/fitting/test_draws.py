"""Draws of the parameters: several starts, trunks resampled whole, the wild bootstrap."""

from dataclasses import replace

import numpy as np
import pytest
from simulated import HORIZONS, SIZES, TRUTH, ladder

from isoflop._errors import InputError
from isoflop.fitting import fit
from isoflop.fitting.draws import draw_parameters, refit
from isoflop.fitting.noise import WEBB, wild_noise
from isoflop.fitting.one_law import fit_law
from isoflop.fitting.solver import log_jacobian, log_predict, solve
from isoflop.fitting.table import read_table
from isoflop.laws import find_law


def fitted(table, law="chinchilla"):
    runs = read_table(table, "loss", ("n_params", "n_tokens"))
    return fit_law(runs, find_law(law)), runs


def test_weights_of_the_wild_bootstrap_have_mean_zero_and_variance_one():
    assert WEBB.sum() == pytest.approx(0, abs=1e-15)
    assert (WEBB**2).mean() == pytest.approx(1, rel=1e-15)
    assert (WEBB**4).mean() == pytest.approx(7 / 6, rel=1e-15)


def test_wild_noise_turns_whole_trunks_and_gives_back_what_the_fit_absorbed():
    one, runs = fitted(ladder(shared=0.004, own=0.003, seed=2))
    slope = log_jacobian(one.law, one.z[None], one.inputs)[0]
    noise = wild_noise(one.residual, slope, runs.trunk, 4000, np.random.default_rng(0))
    for trunk in np.unique(runs.trunk):
        part = noise[:, runs.trunk == trunk]
        # All runs of a trunk move by one weight: one direction, no other.
        assert np.linalg.matrix_rank(part, tol=1e-12 * np.abs(part).max()) == 1
    # One weight a trunk: 4000 draws of 5 trunks are 20,000 numbers.
    assert noise.mean() == pytest.approx(0, abs=4 * noise.std() / np.sqrt(4000 * 5))
    assert noise.std() > one.residual.std()


def test_every_draw_ends_at_the_best_of_its_starts():
    one, _ = fitted(ladder(shared=0.004, own=0.006, seed=4))
    rng = np.random.default_rng(1)
    noise = 0.01 * rng.standard_normal((20, one.residual.size))
    found = refit(one, noise, rng)
    center = log_predict(one.law, one.z[None], one.inputs)
    wide = one.z + 0.5 * rng.standard_normal((60, one.z.size))
    for draw, shaken in zip(found, noise, strict=True):
        target = replace(one.target, losses=center + shaken)
        best = solve(target, np.concatenate([draw[None], wide])).objective
        assert best[0] <= best.min() * (1 + 1e-6)


def test_many_trunks_are_resampled_whole_so_unequal_noise_is_seen():
    # 60 trunks of 3 branches: the small sizes are ten times quieter, which equal noise hides.
    sizes = np.geomspace(SIZES[0], SIZES[-1], 60)
    table = ladder(sizes=sizes, horizons=HORIZONS[::2], seed=7)
    rng = np.random.default_rng(8)
    noisy = np.where(sizes > np.median(sizes), 0.02, 0.002) * rng.standard_normal(60)
    table["loss"] = table["loss"] * np.exp(np.repeat(noisy, 3))
    one, runs = fitted(table)
    there = {"n_params": sizes[:1], "n_tokens": HORIZONS[-1:]}
    sd = {
        kind: one.log_mean(
            draw_parameters(one, runs.trunk, 300, np.random.default_rng(0), kind), there
        ).std()
        for kind in ("auto", "trunks", "noise")
    }
    assert sd["auto"] == sd["trunks"]
    assert sd["trunks"] < 0.7 * sd["noise"]


def test_intervals_of_the_constants_hold_the_truth_as_often_as_they_say():
    held = []
    for seed in range(60):
        table = ladder(
            shared=0.001,
            own=0.001,
            seed=1000 + seed,
            sizes=np.geomspace(3e3, 6e5, 9),
            horizons=np.geomspace(3e5, 2e7, 7),
        )
        found = fit(table, law="chinchilla", n_draws=200, seed=seed)
        held.append(
            [one.low <= t <= one.high for one, t in zip(found.theta.values(), TRUTH, strict=True)]
        )
    # Of 60 with true coverage 0.90 fewer than 48 are held in less than 1 % of new seeds.
    assert (np.sum(held, axis=0) >= 48).all(), np.mean(held, axis=0)


def test_the_kind_of_draws_is_asked_for_recorded_and_checked():
    table = ladder(shared=0.004, own=0.003, seed=1)
    wild, noise = (
        fit(table, law="chinchilla", n_draws=200, resampling=k) for k in ("wild", "auto")
    )
    assert (wild.record.resampling, noise.record.resampling) == ("wild", "auto")
    assert wild.theta["beta"].value == noise.theta["beta"].value
    assert wild.theta["beta"].low != noise.theta["beta"].low
    assert wild.theta["beta"].low < TRUTH[4] < wild.theta["beta"].high
    with pytest.raises(InputError, match="resampling"):
        fit(table, resampling="pairs")
