"""Greedy designs: run after run, what lowers the target's variance most within a budget.

A greedy design is not better for a larger budget by itself. So paths are laid that do not depend
on the budget (one for every largest run allowed, by gain and by gain over cost), a budget buys a
prefix of each, and the best prefix is the design: more money buys longer ones.
"""

from dataclasses import dataclass

import numpy as np

from isoflop._types import Array
from isoflop.fitting.information import Beliefs

CAPS = 20
"""Largest single runs tried."""

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
    """The prefix of a greedy path that leaves the goal least variance within the budget."""
    alone = trunks.cost([])
    best: tuple[Step, ...] = ()
    lowest = float(beliefs.variance[goal])
    for cap in np.geomspace(alone.min(), alone.max(), CAPS):
        for by_cost in (True, False):
            steps = _path(beliefs, trunks, goal, float(cap), max_runs, by_cost=by_cost)
            kept = _affordable(steps, budget)
            if kept and float(kept[-1].variance[goal]) < lowest * (1 - 1e-12):
                best, lowest = kept, float(kept[-1].variance[goal])
    return best


def _path(
    beliefs: Beliefs, trunks: Trunks, goal: int, cap: float, max_runs: int, *, by_cost: bool
) -> list[Step]:
    allowed = trunks.cost([]) <= cap * (1 + 1e-9)
    chosen: list[int] = []
    steps: list[Step] = []
    while len(chosen) < max_runs:
        cost = trunks.cost(chosen)
        gain = np.where(allowed, beliefs.gain()[goal], 0.0)
        gain[chosen] = 0.0
        gain[gain < LEAST_GAIN * beliefs.variance[goal]] = 0.0
        if not gain.any():
            break
        which = int(np.argmax(gain / cost if by_cost else gain))
        beliefs = beliefs.after(which)
        chosen.append(which)
        steps.append(Step(which=which, flops=float(cost[which]), variance=beliefs.variance))
    return steps


def _affordable(steps: list[Step], budget: float) -> tuple[Step, ...]:
    spent = np.cumsum([step.flops for step in steps])
    return tuple(steps[: int((spent <= budget * (1 + 1e-9)).sum())])
