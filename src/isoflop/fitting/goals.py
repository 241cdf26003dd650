"""What a design is to make sure: the target's log loss and the log of its best size."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array
from isoflop.fitting.design import Quantity
from isoflop.fitting.information import pooled
from isoflop.laws import Component, Estimate, optimum

LOSS, N_OPT = 0, 1
"""Columns of the goals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """A checked target: compute, or size and tokens; and which quantity is to be sure."""

    flops: float
    n_params: float | None
    n_tokens: float | None
    of: Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Goals:
    """The target under every draw (S, 2): log loss there, log N_opt at its compute."""

    draws: Array
    distance: float
    """Log distance of the target beyond the runs."""
    point: Mapping[str, float]
    """n_params, n_tokens, flops of the target by the laws' best parameters."""
    regret: float
    """Mean log loss given away at the target's compute by the size of `point`."""
    slope: float
    """-d ln L / d ln C on the frontier at the target."""
    free_size: bool
    """Whether the size is still to be chosen: the target is a compute."""
    of: Quantity


def check_target(target: Mapping[str, float], of: Quantity | None) -> Aim:
    """The target as an `Aim`.

    Raises:
        InputError: not flops alone nor size and tokens alone, or not positive numbers; an `of`
            that there is not.
    """
    keys = set(target)
    if keys not in ({"flops"}, {"n_params", "n_tokens"}):
        raise InputError(
            f"`target` must have flops, or n_params and n_tokens, but got {sorted(keys)}. "
            f"Give one of the two."
        )
    for name, value in target.items():
        if not 0 < value < np.inf:
            raise InputError(f"`{name} > 0` must hold, but got {name}={value}. Correct the target.")
    if of not in (None, "loss", "n_opt"):
        raise InputError(f"`of` must be 'loss' or 'n_opt', but got {of!r}. Choose one.")
    if "flops" in keys:
        return Aim(flops=target["flops"], n_params=None, n_tokens=None, of=of or "n_opt")
    size, tokens = float(target["n_params"]), float(target["n_tokens"])
    return Aim(flops=6 * size * tokens, n_params=size, n_tokens=tokens, of=of or "loss")


def read_goals(estimate: Estimate, aim: Aim) -> Goals:
    """The goals under the estimate's laws.

    Raises:
        InputError: the estimate's law is not one of size and tokens, or has no draws.
    """
    if "n_params" not in estimate.inputs or "n_tokens" not in estimate.inputs:
        raise InputError(
            f"The fit must be of n_params and n_tokens, but its law needs {estimate.inputs}. "
            f"Fit a table that has both."
        )
    log_n = sum(
        c.weight * np.log(_best(c, c.theta[None], aim.flops)[0]) for c in estimate.components
    )
    best_size = float(np.exp(log_n[0]))  # type: ignore[index]
    size = best_size if aim.n_params is None else aim.n_params
    tokens = aim.flops / 6 / size
    there = {"n_params": np.array([size]), "n_tokens": np.array([tokens])}

    def goals(component: Component) -> Array:
        n_opt, lowest = _best(component, component.draws, aim.flops)
        at = np.log(component.law.predict(component.draws, there))[:, 0]
        loss = np.log(lowest) if aim.n_params is None else at
        return np.stack([loss, np.log(n_opt), at - np.log(lowest)], axis=1)

    drawn = pooled(estimate, goals)
    return Goals(
        draws=drawn[:, :2],
        distance=float(estimate.distance(there)[0]),
        point={"n_params": size, "n_tokens": tokens, "flops": aim.flops},
        regret=float(drawn[:, 2].mean()),
        slope=_slope(estimate, aim.flops),
        free_size=aim.n_params is None,
        of=aim.of,
    )


def _best(component: Component, theta: Array, flops: float) -> tuple[Array, Array]:
    """N_opt (B,) and the lowest loss (B,) at the compute, for parameters (B, P)."""
    found = optimum(theta, flops, law=component.law)
    return found.n_params[..., 0], found.loss[..., 0]


def _slope(estimate: Estimate, flops: float) -> float:
    step = 0.01
    ends = [
        sum(
            c.weight * np.log(_best(c, c.theta[None], flops * np.exp(side))[1][0])
            for c in estimate.components
        )
        for side in (-step, step)
    ]
    return max(float(ends[0] - ends[1]) / (2 * step), 1e-6)
