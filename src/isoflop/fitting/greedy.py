"""Greedy designs: run after run, what lowers the target's variance most within a budget.

A greedy design is not better for a larger budget by itself. So designs are laid for purses that
do not depend on the budget, a fixed step apart, each with several largest runs allowed, by gain
and by gain over cost. The best of those that the budget pays is the design: more money chooses
among more.
"""

from dataclasses import dataclass

import numpy as np

from isoflop._types import Array
from isoflop.fitting.information import Beliefs

PURSE_STEP = 2**0.125
"""Ratio of one purse to the next: up to 8 % of a budget may be left."""

CAPS = (1.0, 0.5, 0.25, 0.1)
"""Largest single run, as a share of the purse."""

RATIOS = (4.0, 1000.0)
"""Tokens per parameter of a pilot: shorter trainings are off any power law, longer ones off the
additive law."""

LEAST_GAIN = 0.01
"""A run joins a path if it lowers the variance by at least this share of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One run of a path: which candidate, what it costs there, the goals' variances after it."""

    which: int
    flops: float
    variance: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Trunks:
    """What has been trained of each size: `longest` and number of horizons, by candidate size."""

    sizes: Array
    tokens: Array
    branch_share: float
    """Part of its horizon that a branch is trained alone (its cooldown)."""

    def total(self) -> float:
        """FLOPs of all candidates together, one trunk a size."""
        chosen: list[int] = []
        spent = 0.0
        for which in range(self.sizes.size):
            spent += float(self.cost(chosen)[which])
            chosen.append(which)
        return spent

    def cost(self, chosen: list[int]) -> Array:
        """FLOPs (G,) that each candidate adds to the chosen ones.

        A trunk of horizons D_i costs 6 N ((1 - s) max D_i + s sum D_i), s the branch share.
        """
        cost = 6.0 * self.sizes * self.tokens
        for size in {float(self.sizes[one]) for one in chosen}:
            longest = max(self.tokens[one] for one in chosen if self.sizes[one] == size)
            here = self.sizes == size
            further = np.maximum(self.tokens[here] - longest, 0.0)
            share = self.branch_share
            cost[here] = 6.0 * size * ((1 - share) * further + share * self.tokens[here])
        return cost


def best_design(
    beliefs: Beliefs, trunks: Trunks, goal: int, budget: float, max_runs: int
) -> tuple[Step, ...]:
    """The greedy design that leaves the goal least variance within the budget."""
    best: tuple[Step, ...] = ()
    lowest = float(beliefs.variance[goal])
    for purse in _purses(trunks, budget):
        for cap in CAPS:
            for by_cost in (True, False):
                walk = _Walk(purse=purse, cap=cap * purse, by_cost=by_cost)
                steps = _path(beliefs, trunks, goal, max_runs, walk)
                if steps and float(steps[-1].variance[goal]) < lowest * (1 - 1e-12):
                    best, lowest = steps, float(steps[-1].variance[goal])
    return best


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walk:
    """How a path is laid: FLOPs in all and of one run at most, by gain over cost or by gain."""

    purse: float
    cap: float
    by_cost: bool


def _purses(trunks: Trunks, budget: float) -> Array:
    """Budgets (B,) up to this one, on a grid that hangs on the candidates alone."""
    cheapest = float(trunks.cost([]).min())
    most = min(budget, trunks.total()) * (1 + 1e-9)
    count = int(np.floor(np.log(most / cheapest) / np.log(PURSE_STEP))) + 1
    return np.asarray(cheapest * PURSE_STEP ** np.arange(max(count, 0)))


def _path(
    beliefs: Beliefs, trunks: Trunks, goal: int, max_runs: int, walk: _Walk
) -> tuple[Step, ...]:
    allowed = trunks.cost([]) <= walk.cap * (1 + 1e-9)
    chosen: list[int] = []
    steps: list[Step] = []
    left = walk.purse * (1 + 1e-9)
    while len(chosen) < max_runs:
        cost = trunks.cost(chosen)
        gain = np.where(allowed & (cost <= left), beliefs.gain()[goal], 0.0)
        gain[chosen] = 0.0
        gain[gain < LEAST_GAIN * beliefs.variance[goal]] = 0.0
        if not gain.any():
            break
        which = int(np.argmax(gain / cost if walk.by_cost else gain))
        beliefs = beliefs.after(which)
        chosen.append(which)
        left -= float(cost[which])
        steps.append(Step(which=which, flops=float(cost[which]), variance=beliefs.variance))
    return tuple(steps)
