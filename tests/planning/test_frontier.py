"""The frontier of every draw, and how draws are shared out among laws."""

from dataclasses import replace

import numpy as np
import pytest

from isoflop.laws import CHINCHILLA, Component, Estimate, find_published, optimum
from isoflop.planning.frontier import frontier_of_draws, share_out


@pytest.mark.parametrize("name", ["besiroglu", "hoffmann", "muennighoff", "kaplan"])
def test_loss_to_flops_to_loss(name: str) -> None:
    source = find_published(name).estimate
    component = source.best
    frontier = frontier_of_draws(source, n_samples=1)
    for flops in (1e16, 1e20, 1e24):
        best = optimum(component.theta, [flops], law=component.law)
        log_flops = frontier.log_flops_of_loss(best.loss)
        assert log_flops[0] == pytest.approx(np.log(flops), rel=1e-9)
        assert frontier.log_params(log_flops)[0] == pytest.approx(
            np.log(best.n_params[0]), rel=1e-9
        )


def test_sizes_and_tokens_invert() -> None:
    frontier = frontier_of_draws(find_published("besiroglu").estimate, n_samples=1)
    log_flops = np.log(1e22)
    log_params = float(frontier.log_params(np.array([log_flops]))[0])
    assert frontier.log_flops_of_params(log_params)[0] == pytest.approx(log_flops)
    log_tokens = log_flops - np.log(6) - log_params
    assert frontier.log_flops_of_tokens(log_tokens)[0] == pytest.approx(log_flops)


def test_below_the_floor_nothing_reaches() -> None:
    frontier = frontier_of_draws(find_published("besiroglu").estimate, n_samples=1)
    assert frontier.log_flops_of_loss(frontier.floor)[0] == np.inf


def test_draws_are_shared_out_by_weight() -> None:
    assert share_out(10, [0.25, 0.75]) == [3, 7]
    assert share_out(3, [1 / 3] * 3) == [1, 1, 1]
    assert share_out(4, [1.0, 0.0]) == [4, 0]
    theta = np.array([1.8, 480.0, 0.35, 2100.0, 0.37])
    other = theta * np.array([1.1, 1, 1, 1, 1])
    parts = [
        Component(law=CHINCHILLA, theta=point, draws=np.tile(point, (5, 1)), weight=weight)
        for point, weight in ((theta, 0.7), (other, 0.3))
    ]
    frontier = frontier_of_draws(Estimate(components=tuple(parts)), n_samples=1000)
    assert np.mean(frontier.floor == other[0]) == 0.3


def test_every_draw_is_used_alike() -> None:
    source = find_published("besiroglu").estimate
    draws = source.best.theta * np.linspace(0.99, 1.01, 40)[:, None]
    spread = replace(source, components=(replace(source.best, draws=draws),))
    frontier = frontier_of_draws(spread, n_samples=400)
    _, counts = np.unique(frontier.floor, return_counts=True)
    assert counts.tolist() == [10] * 40
