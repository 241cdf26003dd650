"""Inference-aware plans: the run whose training and serving together cost least.

A smaller model that is trained on more tokens reaches the same loss, costs more to train and less
to serve. Given how many tokens it will serve, one size is the cheapest over its lifetime.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array, Interval
from isoflop.accounting import FLOPS_PER_PARAM_TOKEN
from isoflop.laws import CLOSED_FORM, Component, Estimate, Law, additive_form, mean_law
from isoflop.planning.cheapest import ZOOMS, LossOf, cheapest, drawn, settled, zooms_of
from isoflop.planning.frontier import frontier_of_draws
from isoflop.planning.solve import Solution, interval, mean_loss, run_noise, solve

FORWARD = 2.0
"""FLOPs a parameter and token of inference: one multiply-add."""

REACH = 15.0
"""Sizes are searched from e^-15 of the compute-optimal one up to it: demand only shrinks it."""

HALVINGS = 52
LARGEST_TOKENS = 90.0
"""ln D up to which a loss is looked for: 1e39 tokens."""

TokensFor = Callable[[Array], Array]
"""ln D (B, G) that reach a loss at ln N (B, G); inf where none do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a model will serve."""

    tokens: float
    """Tokens over its lifetime, prompt and answer."""
    flop_cost: float = 1.0
    """What a FLOP of inference costs, in FLOPs of training: MFU of training over that of serving,
    times the ratio of prices."""

    def __post_init__(self) -> None:
        for name in ("tokens", "flop_cost"):
            value = getattr(self, name)
            if not 0 < value < np.inf:
                key = "inference_tokens" if name == "tokens" else "inference_flop_cost"
                raise InputError(
                    f"`{key} > 0` must hold, but got {key}={value}. Leave it out for a model that "
                    "is not served."
                )

    @property
    def log_per_param(self) -> float:
        """ln of the training FLOPs that serving costs a parameter."""
        return float(np.log(FORWARD * self.flop_cost * self.tokens))


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """What a planned run costs to train and to serve, in FLOPs of training."""

    inference_tokens: float
    inference_flop_cost: float
    inference: Interval
    total: Interval
    saving: float
    """Share of the total that is saved beside the compute-optimal run of the same loss."""
    compute_optimal: tuple[float, float]
    """(N, D) of that run."""


def solve_demand(
    estimate: Estimate, given: Mapping[str, float], demand: Demand, level: float
) -> tuple[Solution, Lifetime]:
    """The run of least 6·N·D + 2·N·T for a loss, or of least loss for that total in FLOPs.

    Args:
        estimate: the law.
        given: `loss`, or `flops`: the total of training and serving.
        demand: the T tokens that are served.
        level: level of the intervals.

    Raises:
        InputError: something else than loss or flops is given; the loss is out of reach; serving
            a model of any size takes the whole budget.

    Source: Sardana et al. 2024, arXiv:2401.00448, section 3; Touvron et al. 2023,
    arXiv:2302.13971, section 1 (the motivation).
    """
    ((name, value),) = given.items() if len(given) == 1 else [("", 0.0)]
    if name not in ("loss", "flops"):
        raise InputError(
            "`inference_tokens` needs one of loss and flops (the total of training and serving), "
            f"but got {', '.join(given) or 'none'}. Keep one of them."
        )
    start = solve(estimate, given, level)
    first = np.array([start.log_params])
    if name == "loss":
        mean = partial(_halved, _mean(estimate), np.array([[value]]))
        log_n, log_d = _for_loss(mean, first, demand, ZOOMS)
    else:
        log_n, log_d = _for_budget(_mean(estimate), np.array([value]), first, demand, ZOOMS)
    if not np.isfinite(log_d[0]):
        raise InputError(_impossible(name, value, demand))
    components = drawn(estimate)
    ends = np.cumsum([len(draws) for _, draws in components])
    targets = np.full(int(ends[-1]), value)
    if name == "loss":
        targets *= np.exp(-run_noise(estimate, float(log_n[0]), float(log_d[0]), len(targets)))
    found = [
        _of_draws(estimate, component, draws, name, own, start.log_params, demand)
        for (component, draws), own in zip(components, np.split(targets, ends[:-1]), strict=True)
    ]
    sizes, tokens = (np.concatenate([one[k] for one in found]) for k in (0, 1))
    point = float(log_n[0]), float(log_d[0])
    solution = _solution(*point, settled(sizes, point[0]), settled(tokens, point[1]))
    return solution, _lifetime(estimate, solution, demand, level)


def _of_draws(
    estimate: Estimate,
    component: Component,
    draws: Array,
    name: str,
    targets: Array,
    start: float,
    demand: Demand,
) -> tuple[Array, Array]:
    """ln N and ln D (B,) of every draw of one law; a new run's noise is in the target loss."""
    loss_of = _of(component, draws)
    # Each draw is searched from its own compute-optimal size: demand only shrinks that.
    alone = replace(estimate, components=(replace(component, draws=draws, weight=1.0),))
    frontier = frontier_of_draws(alone, n_samples=len(draws))
    zooms = zooms_of(component)
    if name == "flops":
        first = frontier.log_params(np.log(targets))
        return _for_budget(loss_of, targets, first, demand, zooms)
    log_c = frontier.log_flops_of_loss(targets)
    log_n = np.where(np.isfinite(log_c), frontier.log_params(log_c), start)
    tokens = (
        _level_set(component, draws, log_n, log_c)
        if component.law.name in CLOSED_FORM
        else partial(_halved, loss_of, targets[:, None])
    )
    found = _for_loss(tokens, log_n, demand, zooms)
    lost = ~np.isfinite(log_c)
    return np.where(lost, np.inf, found[0]), np.where(lost, np.inf, found[1])


def _level_set(component: Component, draws: Array, log_n: Array, log_c: Array) -> TokensFor:
    """ln D of the loss that each draw has at its compute-optimal run: A/N^a + B/D^b is constant."""
    a, alpha, b, beta = (part[:, None] for part in additive_form(draws, component.law))
    log_d = np.where(np.isfinite(log_c), log_c, 0.0) - np.log(FLOPS_PER_PARAM_TOKEN) - log_n
    sum_ = np.exp(a - alpha * log_n[:, None]) + np.exp(b - beta * log_d[:, None])

    def tokens(size: Array) -> Array:
        left = sum_ - np.exp(a - alpha * size)
        safe = np.where(left > 0, left, 1.0)
        return np.asarray(np.where(left > 0, (b - np.log(safe)) / beta, np.inf))

    return tokens


def _solution(log_n: float, log_d: float, size: Array, tokens: Array) -> Solution:
    log_k = float(np.log(FLOPS_PER_PARAM_TOKEN))
    reached = np.isfinite(tokens)
    return Solution(
        log_flops=log_k + log_n + log_d,
        log_params=log_n,
        log_flops_draws=np.where(reached, log_k + size + np.where(reached, tokens, 0), np.inf),
        log_params_draws=np.where(reached, size, np.inf),
    )


def _lifetime(estimate: Estimate, solution: Solution, demand: Demand, level: float) -> Lifetime:
    per_param = demand.log_per_param
    inference = per_param + solution.log_params
    total = float(np.logaddexp(solution.log_flops, inference))
    draws = np.logaddexp(solution.log_flops_draws, per_param + solution.log_params_draws)
    loss = mean_loss(estimate, solution.log_params, solution.log_tokens)
    plain = solve(estimate, {"loss": loss}, level)
    other = float(np.logaddexp(plain.log_flops, per_param + plain.log_params))
    return Lifetime(
        inference_tokens=demand.tokens,
        inference_flop_cost=demand.flop_cost,
        inference=interval(inference, per_param + solution.log_params_draws, level),
        total=interval(total, draws, level),
        saving=float(-np.expm1(total - other)),
        compute_optimal=(float(np.exp(plain.log_params)), float(np.exp(plain.log_tokens))),
    )


def _for_loss(
    tokens_for: TokensFor, start: Array, demand: Demand, zooms: int
) -> tuple[Array, Array]:
    """ln N and ln D (B,) of least total at a loss; inf where no tokens reach it."""

    def cost(log_n: Array) -> Array:
        log_d = tokens_for(log_n)
        training = np.log(FLOPS_PER_PARAM_TOKEN) + log_n + log_d
        return np.asarray(np.logaddexp(training, demand.log_per_param + log_n))

    log_n = cheapest(cost, start - REACH, start + 1.0, zooms)
    return log_n, tokens_for(log_n[:, None])[:, 0]


def _for_budget(
    loss_of: LossOf, total: Array, start: Array, demand: Demand, zooms: int
) -> tuple[Array, Array]:
    """ln N and ln D (B,) of least loss where training and serving cost `total` FLOPs."""
    log_total = np.log(total)[:, None]

    def log_tokens(log_n: Array) -> Array:
        """What serving leaves; -inf where it leaves nothing."""
        left = -np.expm1(np.minimum(demand.log_per_param + log_n - log_total, 0.0))
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(left) + log_total - np.log(FLOPS_PER_PARAM_TOKEN) - log_n)

    def loss(log_n: Array) -> Array:
        log_d = log_tokens(log_n)
        enough = log_d > 0  # less than one token is no training
        return np.where(enough, np.log(loss_of(log_n, np.where(enough, log_d, 0.0))), np.inf)

    log_n = cheapest(loss, start - REACH, start + 1.0, zooms)
    log_d = log_tokens(log_n[:, None])[:, 0]
    return log_n, np.where(log_d > 0, log_d, np.inf)


def _halved(loss_of: LossOf, loss: Array, log_n: Array) -> Array:
    """By halving, for any law: ln D (B, G) at which the loss is reached; inf where it is not."""
    low, high = np.zeros(log_n.shape), np.full(log_n.shape, LARGEST_TOKENS)
    reached = loss_of(log_n, high) < loss
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        enough = loss_of(log_n, middle) < loss
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(reached, (low + high) / 2, np.inf)


def _of(component: Component, draws: Array) -> LossOf:
    """The loss of every draw."""
    return _of_law(component.law, draws)


def _of_law(law: Law, theta: Array) -> LossOf:
    def loss_of(log_n: Array, log_d: Array) -> Array:
        inputs = {"n_params": np.exp(log_n), "n_tokens": np.exp(log_d)}
        return np.asarray(law.predict(theta, inputs))

    return loss_of


def _mean(estimate: Estimate) -> LossOf:
    """The loss of the plan itself, by all laws together."""
    law = mean_law([c for c in estimate.components if c.weight > 0])
    return _of_law(law, np.empty((1, 0)))


def _impossible(name: str, value: float, demand: Demand) -> str:
    if name == "loss":
        return f"`loss={value:g}` is not reached by any size. Ask for a higher loss."
    return (
        f"`flops={value:g}` is to pay for training and for serving {demand.tokens:g} tokens, which "
        "leaves no tokens to train on. Raise the budget, or lower inference_tokens."
    )
