"""Compute-optimal runs of an estimate: point, intervals, and the flat region around them."""

from dataclasses import replace

import numpy as np
import pytest

from isoflop._errors import InputError
from isoflop.laws import (
    CHINCHILLA,
    POWER,
    SKALING,
    Component,
    Estimate,
    best_split,
    find_published,
    near_optimal,
    optimum,
    own_law,
)

THETA = np.array([1.69, 406.4, 0.34, 410.7, 0.28])
BUDGETS = np.array([1e19, 1e22, 1e25])


def estimate(law=CHINCHILLA, theta=THETA, sd=0.05):
    noise = sd * np.random.default_rng(0).standard_normal((400, theta.size))
    draws = theta * np.exp(noise)
    return Estimate(components=(Component(law=law, theta=theta, draws=draws),))


def plain(n_params, n_tokens, E, A, alpha, B, beta):
    return E + A / n_params**alpha + B / n_tokens**beta


OWN = own_law(
    plain, {"n_params": np.geomspace(1e8, 1e10, 5), "n_tokens": np.geomspace(1e9, 1e11, 5)}
)


def test_one_law_gives_its_own_optimum_and_quantiles():
    found, best = best_split(estimate(), BUDGETS), optimum(THETA, BUDGETS)
    np.testing.assert_allclose(found.n_params.mean, best.n_params, rtol=1e-12)
    np.testing.assert_allclose(found.n_tokens.mean, best.n_tokens, rtol=1e-12)
    np.testing.assert_allclose(found.loss.mean, best.loss, rtol=1e-12)
    draws = optimum(estimate().best.draws, BUDGETS)
    for one, drawn in (
        (found.n_params, draws.n_params),
        (found.tokens_per_param, draws.n_tokens / draws.n_params),
        (found.loss, draws.loss),
    ):
        low, high = np.exp(np.quantile(np.log(drawn), [0.05, 0.95], axis=0))
        np.testing.assert_allclose([one.low, one.high], [low, high], rtol=1e-9)


def test_search_and_closed_form_agree_to_rounding():
    closed, searched = (best_split(estimate(law), BUDGETS) for law in (CHINCHILLA, OWN))
    for name in ("n_params", "n_tokens", "tokens_per_param", "loss"):
        one, two = getattr(closed, name), getattr(searched, name)
        np.testing.assert_allclose(two.mean, one.mean, rtol=1e-9)
        np.testing.assert_allclose([two.low, two.high], [one.low, one.high], rtol=1e-9)
    for mine, theirs in zip(closed.near, searched.near, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert (b.n_low, b.n_high) == pytest.approx((a.n_low, a.n_high), rel=1e-9)


def test_the_ends_of_the_flat_region_lose_exactly_that_much():
    found = best_split(estimate(), BUDGETS)
    for g, regions in enumerate(found.near):
        lowest = found.loss.mean[g]
        for one in regions:
            for n in (one.n_low, one.n_high):
                there = {"n_params": np.array([n]), "n_tokens": np.array([BUDGETS[g] / 6 / n])}
                loss = CHINCHILLA.predict(THETA, there)[0]
                assert loss / lowest - 1 == pytest.approx(one.share, rel=1e-8)
            assert one.n_low < found.n_params.mean[g] < one.n_high
        inner, outer = regions
        assert outer.n_low < inner.n_low
        assert inner.n_high < outer.n_high


def test_the_flat_region_follows_the_curvature():
    # Near the optimum L = L* + c u^2/2: a loss p L* is lost at u = sqrt(2 p L*/c).
    found = best_split(estimate(), [1e22], near=[1e-6])
    (region,) = found.near[0]
    n, d = found.n_params.mean[0], found.n_tokens.mean[0]
    curvature = 0.34**2 * 406.4 * n**-0.34 + 0.28**2 * 410.7 * d**-0.28
    half = np.sqrt(2e-6 * found.loss.mean[0] / curvature)
    assert np.log(region.n_high / region.n_low) / 2 == pytest.approx(half, rel=1e-3)


def test_two_laws_are_pooled_by_weight_and_their_mean_has_its_least_loss_there():
    theta = np.array([1.7, 400.0, 0.34, 410.0, 0.28, 0.77])
    parts = (
        replace(estimate().best, weight=0.75),
        replace(estimate(SKALING, theta).best, weight=0.25),
    )
    both = best_split(Estimate(components=parts), BUDGETS)
    points = [np.log(optimum(c.theta, BUDGETS, law=c.law).n_params) for c in parts]
    found = np.log(both.n_params.mean)
    assert np.all((np.minimum(*points) < found) & (found < np.maximum(*points)))
    for step in (-1e-3, 1e-3):
        off = both.n_params.mean * np.exp(step)
        aside = Estimate(components=parts).predict(
            {"n_params": off, "n_tokens": BUDGETS / 6 / off}, of="mean"
        )
        assert np.all(aside.mean > both.loss.mean)
    assert all(
        region.n_low < n < region.n_high
        for n, regions in zip(both.n_params.mean, both.near, strict=True)
        for region in regions
    )
    for end, mass in ((both.n_params.low, 0.05), (both.n_params.high, 0.95)):
        below = [optimum(c.draws, BUDGETS, law=c.law).n_params <= end for c in parts]
        found = 0.75 * below[0].mean(axis=0) + 0.25 * below[1].mean(axis=0)
        np.testing.assert_allclose(found, mass, atol=0.75 / 400)


def test_published_constants_and_what_is_refused():
    besiroglu = find_published("besiroglu").estimate
    # Besiroglu et al. 2024, arXiv:2404.10102, at full precision: N 7.23e10, D 1.328e12.
    found = best_split(besiroglu, 5.76e23)
    assert found.n_params.mean[0] == pytest.approx(7.23e10, rel=1e-3)
    assert found.n_tokens.mean[0] == pytest.approx(1.328e12, rel=1e-3)
    assert found.near[0] == near_optimal(besiroglu, 5.76e23)
    with pytest.raises(InputError, match="flops > 0"):
        best_split(besiroglu, -1.0)
    with pytest.raises(InputError, match="near > 0"):
        best_split(besiroglu, 1e21, near=[0.0])
    with pytest.raises(InputError, match="level"):
        best_split(besiroglu, 1e21, level=2)
    with pytest.raises(InputError, match="n_params and n_tokens"):
        best_split(estimate(POWER, np.array([1e14, 0.1])), 1e21)
