"""`next_runs`: a fit, a target and a budget -> the runs that teach most about the target."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array, Problem
from isoflop.fitting.design import Candidate, Design, NextRun, OneMore, Quantity
from isoflop.fitting.first_design import first_design
from isoflop.fitting.fit_result import Fit
from isoflop.fitting.goals import LOSS, N_OPT, Goals, check_target, read_goals
from isoflop.fitting.greedy import RATIOS, Step, Trunks, best_design
from isoflop.fitting.information import Beliefs, make_beliefs
from isoflop.laws import Estimate

STEPS = 14
"""Sizes and horizons of the candidates, along each axis."""

REACH = 30.0
"""A candidate is at most so many times larger or longer than the largest or longest run."""


def next_runs(
    source: Fit | Estimate | None,
    *,
    target: Mapping[str, float],
    budget_flops: float,
    of: Quantity | None = None,
    sizes: tuple[float, float] | None = None,
    branch_share: float = 0.2,
    max_runs: int = 12,
) -> Design:
    """The runs within a budget after which the target's prediction is surest.

    Expected variance of the target under all laws of the fit, each with its weight, by linear
    Bayes on their draws; greedy over sizes and horizons; `Design.one_more` weighs one pilot
    against launching now.

    Args:
        source: a fit or estimate of laws of n_params and n_tokens; None before any run: a first
            ladder from published laws.
        target: `{"flops": C}` [FLOPs], or `{"n_params": N, "n_tokens": D}`.
        budget_flops: for all runs together [FLOPs], C = 6 N D.
        of: make "loss" sure (log loss at the target) or "n_opt" (log of the best size at its
            compute); by default "n_opt" for a target of FLOPs, else "loss".
        sizes: smallest and largest model that may be trained [parameters].
        branch_share: part of its tokens that a further horizon of one trunk costs (its
            cooldown); 1 where every run is a training of its own.
        max_runs: runs in the design, at most.

    Raises:
        InputError: target, budget or limits are impossible; the estimate has no draws, or no law
            of size and tokens; the budget buys no run.

    Source: experimental design for the variance in a target region as in Settles 2009, "Active
    learning literature survey", sec. 3.5, with draws in place of a Fisher matrix.
    """
    _check_options(budget_flops, branch_share, sizes, max_runs)
    aim = check_target(target, of)
    if source is None:
        return first_design(aim, budget_flops=budget_flops, sizes=sizes, branch_share=branch_share)
    estimate = source.estimate if isinstance(source, Fit) else source
    goals = read_goals(estimate, aim)
    n, d = _grid(estimate, goals, sizes)
    trunks = Trunks(sizes=n, tokens=d, branch_share=branch_share)
    return _designed(estimate, goals, trunks, budget_flops, max_runs)


def _designed(
    estimate: Estimate, goals: Goals, trunks: Trunks, budget: float, max_runs: int
) -> Design:
    """The best greedy design among the candidates within the budget."""
    beliefs = make_beliefs(
        estimate, trunks.sizes, trunks.tokens, goals.draws, (goals.distance, 0.0)
    )
    cheapest = float(trunks.cost([]).min())
    if cheapest > budget:
        raise InputError(
            f"`budget_flops` must buy a run, but the cheapest candidate costs {cheapest:.3g} and "
            f"budget_flops={budget:.3g}. Raise it, or set `sizes`."
        )
    goal = LOSS if goals.of == "loss" else N_OPT
    steps = best_design(beliefs, trunks, goal, budget, max_runs)
    left = steps[-1].variance if steps else beliefs.variance
    return Design(
        runs=_runs(steps, trunks, beliefs, goal),
        candidates=_candidates(beliefs, trunks, goal),
        of=goals.of,
        sd_before=float(np.sqrt(beliefs.variance[goal])),
        sd_after=float(np.sqrt(left[goal])),
        flops=float(sum(step.flops for step in steps)),
        budget_flops=budget,
        target=goals.point,
        one_more=_one_more(beliefs, trunks, goals, budget, estimate.problems),
        problems=tuple(_as_warning(problem) for problem in estimate.problems),
        source=estimate.source,
    )


def _check_options(
    budget_flops: float, branch_share: float, sizes: tuple[float, float] | None, max_runs: int
) -> None:
    if not 0 < budget_flops < np.inf:
        raise InputError(
            f"`budget_flops > 0` must hold, but got budget_flops={budget_flops}. Give FLOPs."
        )
    if not 0 < branch_share <= 1:
        raise InputError(
            f"`0 < branch_share <= 1` must hold, but got branch_share={branch_share}. Use 0.2."
        )
    if sizes is not None and not 0 < sizes[0] < sizes[1] < np.inf:
        raise InputError(f"`0 < low < high` must hold for sizes, but got {sizes}. Correct it.")
    if max_runs < 1:
        raise InputError(f"`max_runs >= 1` must hold, but got max_runs={max_runs}. Use 12.")


def _grid(
    estimate: Estimate, goals: Goals, limits: tuple[float, float] | None
) -> tuple[Array, Array]:
    """Sizes and tokens (G,) of the candidates: from the smallest run towards the target.

    It hangs on runs and target alone, not on the budget, so that more money only adds to it.
    """
    axes = []
    for name in ("n_params", "n_tokens"):
        low, high = estimate.ranges[name]
        axes.append(np.geomspace(low, np.clip(goals.point[name], high, high * REACH), STEPS))
    if limits is not None:
        axes[0] = np.geomspace(*limits, STEPS)
    n, d = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    aimed = goals.point["n_tokens"] / goals.point["n_params"]
    keep = (d / n >= min(RATIOS[0], aimed / 4)) & (d / n <= max(RATIOS[1], aimed * 4))
    if not keep.any():
        raise InputError(
            f"`sizes` must leave runs of {RATIOS[0]:g} to {RATIOS[1]:g} tokens per parameter, but "
            f"got sizes={limits}. Widen them."
        )
    return n[keep], d[keep]


def _runs(
    steps: tuple[Step, ...], trunks: Trunks, beliefs: Beliefs, goal: int
) -> tuple[NextRun, ...]:
    sizes = [float(trunks.sizes[step.which]) for step in steps]
    numbers = {size: number for number, size in enumerate(dict.fromkeys(sizes))}
    before = float(np.sqrt(beliefs.variance[goal]))
    runs = []
    for step, size in zip(steps, sizes, strict=True):
        after = float(np.sqrt(step.variance[goal]))
        runs.append(
            NextRun(
                n_params=size,
                n_tokens=float(trunks.tokens[step.which]),
                flops=step.flops,
                trunk=numbers[size],
                sd_before=before,
                sd_after=after,
            )
        )
        before = after
    return tuple(runs)


def _candidates(beliefs: Beliefs, trunks: Trunks, goal: int) -> tuple[Candidate, ...]:
    """Every candidate alone, the most instructive first."""
    order = np.argsort(-beliefs.gain()[goal], kind="stable")
    after = np.sqrt(np.maximum(beliefs.variance[goal] - beliefs.gain()[goal], 0.0))
    cost = trunks.cost([])
    return tuple(
        Candidate(
            n_params=float(trunks.sizes[i]),
            n_tokens=float(trunks.tokens[i]),
            flops=float(cost[i]),
            sd_after=float(after[i]),
        )
        for i in order
    )


def _one_more(
    beliefs: Beliefs,
    trunks: Trunks,
    goals: Goals,
    budget: float,
    problems: tuple[Problem, ...],
) -> OneMore:
    """The pilot that saves most after its cost (or narrows most), and whether it pays."""
    cost = trunks.cost([]) / goals.point["flops"]
    gain, variance = beliefs.gain(), beliefs.variance
    allowed = trunks.cost([]) <= budget
    # Regret is quadratic in the error of log N_opt: it shrinks as that variance does.
    left = 1 - gain[N_OPT] / max(float(variance[N_OPT]), 1e-300)
    saved = goals.regret * (1 - left) / goals.slope
    value = saved - cost if goals.free_size else gain[LOSS]
    which = int(np.argmax(np.where(allowed, value, -np.inf)))
    narrowing = float(np.sqrt(max(1 - gain[LOSS, which] / max(float(variance[LOSS]), 1e-300), 0.0)))
    one = OneMore(
        n_params=float(trunks.sizes[which]),
        n_tokens=float(trunks.tokens[which]),
        cost_share=float(cost[which]),
        narrowing=narrowing,
        regret_before=None,
        regret_after=None,
        saved_share=None,
        verdict=None,
    )
    if not goals.free_size:
        return one
    refused = any(problem.disqualifies("allocation") for problem in problems)
    return replace(
        one,
        regret_before=goals.regret,
        regret_after=float(goals.regret * left[which]),
        saved_share=float(saved[which]),
        verdict="pilot" if refused or saved[which] > cost[which] else "launch",
    )


def _as_warning(problem: Problem) -> Problem:
    """What disqualifies the fit is what the design is there to mend: a warning here."""
    return replace(problem, severity="warning") if problem.severity == "disqualifying" else problem
