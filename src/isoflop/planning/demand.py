"""Inference-aware plans: the run whose training and serving together cost least.

A smaller model that is trained on more tokens reaches the same loss, costs more to train and less
to serve. Given how many tokens it will serve, one size is the cheapest over its lifetime.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array
from isoflop.laws import Component, Estimate
from isoflop.planning.caps import NO_CAPS, Caps
from isoflop.planning.cheapest import drawn, settled
from isoflop.planning.constrained import (
    LOG_K,
    REACH,
    Search,
    for_budget,
    for_loss,
    halved,
)
from isoflop.planning.frontier import mean_line
from isoflop.planning.lifetime import Demand, Lifetime, lifetime_of
from isoflop.planning.limited import require_unique
from isoflop.planning.losses import (
    cheapest_to_train,
    loss_of_law,
    mean_loss_of,
    out_of_reach,
    reaching,
    sizes_of_budgets,
)
from isoflop.planning.prices import Prices, drawn_prices, median_prices
from isoflop.planning.rates import Rates
from isoflop.planning.solve import Solution, run_noise, solve

__all__ = ["Demand", "Lifetime", "solve_demand"]


_ROUNDS, _EXACT = 12, 1e-9
"""Times that a budget is cut until it suffices in as many draws as wished; how closely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What is looked for, for the plan itself and for its draws alike."""

    estimate: Estimate
    demand: Demand
    caps: Caps
    unique: float | None
    to_loss: bool
    """Whether targets are losses; else totals in FLOPs."""

    def search(self, first: Array | None, start: float, count: int) -> Search:
        """Sizes below the compute-optimal ones (B,) of draws, or around `start`; or those served.

        Args:
            first: ln N that is compute-optimal in each draw; None where only a search would tell.
            start: ln N to look around there.
            count: how many draws.
        """
        curve = self.demand.curve
        if curve is not None:
            low, high = (np.full(count, curve.log_params[k]) for k in (0, -1))
            return Search(low=low, high=high, knots=curve.log_params)
        near = np.full(count, start)
        if first is not None:
            near = np.where(np.isfinite(first), first, start)
        # Demand only shrinks the compute-optimal size; a lack of tokens makes it grow.
        grows = first is None or self.unique is not None or np.isfinite(self.caps.log_tokens)
        return Search(low=near - REACH, high=near + (REACH if grows else 1.0))


def solve_demand(
    estimate: Estimate,
    given: Mapping[str, float],
    demand: Demand,
    level: float,
    *,
    cost: Rates | None = None,
    caps: Caps = NO_CAPS,
    unique: float | None = None,
    sure: float | None = None,
    log_loss_draws: Array | None = None,
) -> tuple[Solution, Lifetime]:
    """The run whose training and serving cost least for a loss, or of least loss for that total.

    Serving costs 2·N·T FLOPs at `flop_cost`, or what a demand's curve says in USD. Draws carry
    the law, the noise of a run, the price of training and the speeds and rent of serving.

    Args:
        estimate: the law.
        given: `loss`; or the total of training and serving: `flops`, or `usd` with a price.
        demand: the T tokens that are served.
        level: level of the intervals.
        cost: of a FLOP of training; needed for `usd` and for a demand with a curve.
        caps: the most parameters, tokens and training FLOPs.
        unique: distinct tokens that there are; None: enough.
        sure: share of draws of prices in which `usd` pay for the plan; None: at their medians.
        log_loss_draws: ln of the loss that each draw takes `loss` for, less ln of it.

    Raises:
        InputError: something else is given; a price is missing; the loss is out of reach, within
            the caps or at all; serving a model of any size takes the whole budget.

    Source: Sardana et al. 2024, arXiv:2401.00448, section 3; Touvron et al. 2023,
    arXiv:2302.13971, section 1 (the motivation).
    """
    cost = None if cost is None or cost.price is None else cost
    name, value = _asked(given, demand, cost)
    if demand.curve is not None:
        by = demand.curve.binding or "the largest decoder of the family"
        caps = caps.tightened("log_params", float(demand.curve.log_params[-1]), by)
    if unique is not None:
        require_unique(unique)
    task = _Task(estimate=estimate, demand=demand, caps=caps, unique=unique, to_loss=name == "loss")
    components = drawn(estimate)
    middle = median_prices(cost)
    prices = drawn_prices(cost, demand.curve, sum(len(rows) for _, rows in components))
    target = value
    if name == "usd":
        target /= float(np.exp(middle.log_usd_per_flop[0, 0]))
        if sure is not None:
            target = _surely(task, value, sure, (middle, prices))
    run = _point(task, target, middle)
    if not np.isfinite(run[1]):
        raise InputError(_impossible(task, name, value, level))
    targets = np.full(len(prices), value)
    if name == "usd":
        targets /= np.exp(prices.log_usd_per_flop[:, 0])
    if task.to_loss:
        targets *= np.exp(-run_noise(estimate, *run, len(targets)))
        if log_loss_draws is not None:
            targets *= np.exp(log_loss_draws)
    draws = _draws(task, components, targets, run[0], prices)
    if task.to_loss and np.mean(np.isinf(draws[1])) > 0.5:
        solve(estimate, {"loss": value}, level)  # raises where most draws have a higher floor
    solution, plain = _solution(task, run, draws), _plain(task, run)
    priced = cost is not None
    return solution, lifetime_of(
        solution,
        demand,
        plain,
        level,
        prices=(middle, prices),
        priced=priced,
        planned=not task.to_loss,
        budget_usd=value if name == "usd" else None,
    )


def _asked(given: Mapping[str, float], demand: Demand, cost: Rates | None) -> tuple[str, float]:
    ((name, value),) = given.items() if len(given) == 1 else [("", 0.0)]
    if name not in ("loss", "flops", "usd"):
        raise InputError(
            "`inference_tokens` needs one of loss, flops and usd (the total of training and "
            f"serving), but got {', '.join(given) or 'none'}. Keep one of them."
        )
    if cost is None and (name == "usd" or demand.curve is not None):
        what = "usd" if name == "usd" else "devices that serve"
        raise InputError(
            f"{what} are weighed against training, whose price is not known. Give hardware with "
            "a price."
        )
    return name, value


def _point(task: _Task, target: float, prices: Prices) -> tuple[float, float]:
    """ln N and ln D of the plan itself, by all laws together; ln D is inf where there is none."""
    loss_of = mean_loss_of(task.estimate, task.unique)
    serving = partial(task.demand.log_cost, prices=prices)
    if task.to_loss:
        start, log_d = cheapest_to_train(mean_loss_of(task.estimate, None), target)
        if not np.isfinite(log_d):
            return start, np.inf
    else:
        start = mean_line(task.estimate).log_params(float(np.log(target)))
    search = task.search(np.array([start]), start, 1)
    if task.to_loss:
        tokens_for = partial(halved, loss_of, np.array([[target]]))
        found = for_loss(tokens_for, serving, task.caps, search)
    else:
        found = for_budget(loss_of, np.array([target]), serving, task.caps, search)
    return float(found[0][0]), float(found[1][0])


def _surely(task: _Task, usd: float, sure: float, on: tuple[Prices, Prices]) -> float:
    """FLOPs at median prices whose run costs at most `usd` in the share `sure` of draws."""
    middle, prices = on
    target = usd / float(np.exp(middle.log_usd_per_flop[0, 0]))
    for _ in range(_ROUNDS):
        log_n, log_d = _point(task, target, middle)
        if not np.isfinite(log_d):
            break
        served = task.demand.log_cost(np.full((len(prices), 1), log_n), prices)
        both = np.logaddexp(LOG_K + log_n + log_d, served) + prices.log_usd_per_flop
        needed = float(np.exp(np.sort(both[:, 0])[int(np.ceil(sure * (len(both) - 1)))]))
        if abs(needed / usd - 1) < _EXACT:
            break
        target *= usd / needed
    return target


def _draws(
    task: _Task,
    components: list[tuple[Component, Array]],
    targets: Array,
    start: float,
    prices: Prices,
) -> tuple[Array, Array]:
    """ln N and ln D (B,) of every draw of every law; a new run's noise is in the target loss."""
    found, first = [], 0
    for component, draws in components:
        count = len(draws)
        own = targets[first : first + count], prices.rows(first, first + count)
        first += count
        if len(component.draws) == 1 and own[1].alike and np.ptp(own[0]) == 0:
            # All draws are one run: it is searched once, as closely as the plan's own.
            own = own[0][:1], own[1].rows(0, 1)
        one = _of_draws(task, component, draws[: len(own[0])], start, own)
        found.append([np.resize(part, count) for part in one])
    return np.concatenate([n for n, _ in found]), np.concatenate([d for _, d in found])


def _of_draws(
    task: _Task, component: Component, draws: Array, start: float, own: tuple[Array, Prices]
) -> tuple[Array, Array]:
    """ln N and ln D (B,) of every draw of one law."""
    targets, prices = own
    serving = partial(task.demand.log_cost, prices=prices)
    count = len(draws)
    if not task.to_loss:
        first = None
        if task.demand.curve is None:
            first = sizes_of_budgets(task.estimate, component, draws, targets)
        loss_of = loss_of_law(component.law, draws, task.unique)
        search = task.search(first, start, count)
        return for_budget(loss_of, targets, serving, task.caps, search)
    reach = reaching(task.estimate, component, draws, targets, task.unique)
    search = task.search(reach.log_params, start, count)
    found = for_loss(reach.tokens_for, serving, task.caps, search)
    lost = ~np.isfinite(found[1])
    return np.where(lost, np.inf, found[0]), np.where(lost, np.inf, found[1])


def _plain(task: _Task, run: tuple[float, float]) -> tuple[float, float]:
    """ln N and ln D of the run that reaches the planned run's loss and is cheapest to train."""
    log_n, log_d = run
    loss_of = mean_loss_of(task.estimate, task.unique)
    # A rounding error below the planned run's loss would not be its own.
    loss = float(loss_of(np.array([[log_n]]), np.array([[log_d]]))[0, 0]) * (1 + 1e-12)
    curve = task.demand.curve
    smallest = 0.0 if curve is None else float(curve.log_params[0])
    return cheapest_to_train(loss_of, loss, task.caps, smallest)


def _solution(task: _Task, run: tuple[float, float], draws: tuple[Array, Array]) -> Solution:
    log_n, log_d = run
    size, tokens = settled(draws[0], log_n), settled(draws[1], log_d)
    reached = np.isfinite(tokens)
    return Solution(
        log_flops=LOG_K + log_n + log_d,
        log_params=log_n,
        log_flops_draws=np.where(reached, LOG_K + size + np.where(reached, tokens, 0), np.inf),
        log_params_draws=np.where(reached, size, np.inf),
        binding=task.caps.met(log_n, log_d),
    )


def _impossible(task: _Task, name: str, value: float, level: float) -> str:
    """Why there is no plan: the cap that keeps it, and what it would take."""
    if not task.to_loss:
        return (
            f"`{name}={value:g}` is to pay for training and for serving {task.demand.tokens:g} "
            "tokens, which leaves no tokens to train on. Raise the budget, or lower "
            "inference_tokens."
        )
    if not np.isfinite(cheapest_to_train(mean_loss_of(task.estimate, None), value)[1]):
        solve(task.estimate, {"loss": value}, level)  # raises, and says where the floor lies
    if task.caps.words:
        return out_of_reach(mean_loss_of(task.estimate, task.unique), value, task.caps)
    return f"`loss={value:g}` is not reached by any size. Ask for a higher loss."
