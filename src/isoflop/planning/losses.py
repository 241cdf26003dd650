"""Losses of size and tokens, and the tokens for a loss, with text that may run out.

What to use when: `mean_loss_of` for the plan itself, `loss_of_law` for draws of one law;
`reaching` for the tokens that bring every draw to its loss. `unique` tokens: all that are distinct;
None: enough.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from isoflop._types import Array
from isoflop.laws import CLOSED_FORM, Component, Estimate, Inputs, Law, mean_law
from isoflop.planning.caps import NO_CAPS, UNITS, Caps
from isoflop.planning.cheapest import LossOf
from isoflop.planning.constrained import (
    LARGEST_SIZE,
    LOG_K,
    Search,
    TokensFor,
    for_loss,
    halved,
    level_set,
    no_serving,
)
from isoflop.planning.frontier import Frontier, frontier_of_draws

HALF_LIFE = 15.387756
"""R_D*: repeats after which a token is worth 1/e of a new one, for laws that know no repeats.
Source: Muennighoff et al. 2023, arXiv:2305.16264, released constants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaching:
    """How every draw of a law gets to its loss."""

    log_params: Array | None
    """(B,) ln N that is cheapest to train where all text is new, inf where none is; None where
    only a search would tell."""
    tokens_for: TokensFor


def reaching(
    estimate: Estimate, component: Component, draws: Array, targets: Array, unique: float | None
) -> Reaching:
    """Sizes to start from and tokens for the losses (B,) of all draws of one law."""
    if component.law.name not in CLOSED_FORM:
        loss_of = loss_of_law(component.law, draws, unique)
        return Reaching(log_params=None, tokens_for=partial(halved, loss_of, targets[:, None]))
    frontier = _frontier(estimate, component, draws)
    log_c = frontier.log_flops_of_loss(targets)
    reached = np.isfinite(log_c)
    log_n = np.where(reached, frontier.log_params(log_c), np.inf)
    new = level_set(component, draws, np.where(reached, log_n, 0.0), log_c)

    def tokens_for(size: Array) -> Array:
        worth = np.where(reached[:, None], new(size), np.inf)
        return worth if unique is None else log_tokens_worth(worth, unique)

    return Reaching(log_params=log_n, tokens_for=tokens_for)


def sizes_of_budgets(
    estimate: Estimate, component: Component, draws: Array, totals: Array
) -> Array | None:
    """(B,) ln N that is best for these FLOPs of training alone; None where a search would tell."""
    if component.law.name not in CLOSED_FORM:
        return None
    return _frontier(estimate, component, draws).log_params(np.log(totals))


def _frontier(estimate: Estimate, component: Component, draws: Array) -> Frontier:
    """The compute-optimal line of each of these draws, where all text is new."""
    alone = replace(estimate, components=(replace(component, draws=draws, weight=1.0),))
    return frontier_of_draws(alone, n_samples=len(draws))


def cheapest_to_train(
    loss_of: LossOf, loss: float, caps: Caps = NO_CAPS, smallest: float = 0.0
) -> tuple[float, float]:
    """ln N and ln D of the run that reaches a loss with the fewest FLOPs; ln D = inf if none does.

    Args:
        loss_of: of the plan itself.
        loss: to reach.
        caps: the most parameters, tokens and FLOPs.
        smallest: ln of the fewest parameters.
    """
    everywhere = Search(low=np.array([smallest]), high=np.array([LARGEST_SIZE]))
    tokens_for = partial(halved, loss_of, np.array([[loss]]))
    log_n, log_d = for_loss(tokens_for, no_serving, caps, everywhere)
    return float(log_n[0]), float(log_d[0])


def out_of_reach(loss_of: LossOf, loss: float, caps: Caps) -> str:
    """Why no run keeps the caps: which of them, lifted alone, lets the loss be reached, and how."""
    ways = []
    for name, unit in UNITS.items():
        if not np.isfinite(getattr(caps, name)):
            continue
        log_n, log_d = cheapest_to_train(loss_of, loss, caps.without(name))
        if np.isfinite(log_d):
            takes = {"log_params": log_n, "log_tokens": log_d, "log_flops": LOG_K + log_n + log_d}
            amount = f"{np.exp(takes[name]):.3g} {unit}"
            ways.append(f"without {caps.name(name)} the run cheapest to train takes {amount}")
    needed = "; ".join(ways) or "no one of them alone is in the way"
    return (
        f"`loss={loss:g}` is not reached with {caps.words}: {needed}. Raise what is in the way, "
        "or ask for a higher loss."
    )


def mean_loss_of(estimate: Estimate, unique: float | None) -> LossOf:
    """The loss of the plan itself, by all laws together."""
    alive = [c for c in estimate.components if c.weight > 0]
    if unique is not None:
        alive = [replace(c, law=with_repeats(c.law)) for c in alive]
    return _loss_of(mean_law(alive), np.empty((1, 0)), unique)


def loss_of_law(law: Law, theta: Array, unique: float | None) -> LossOf:
    """The loss of every draw of a law."""
    return _loss_of(law if unique is None else with_repeats(law), theta, unique)


def _loss_of(law: Law, theta: Array, unique: float | None) -> LossOf:
    def loss_of(log_n: Array, log_d: Array) -> Array:
        inputs = {"n_params": np.exp(log_n), "n_tokens": np.exp(log_d)}
        if unique is not None:
            inputs["n_unique_tokens"] = np.minimum(inputs["n_tokens"], unique)
        return np.asarray(law.predict(theta, inputs))

    return loss_of


def effective_tokens(n_tokens: Array, unique: Array | float) -> Array:
    """D' = U + U R (1 - exp(-(D/U - 1)/R)) beyond U, D up to it."""
    repeats = np.maximum(n_tokens / unique - 1, 0.0)
    return np.asarray(
        np.minimum(n_tokens, unique) + unique * HALF_LIFE * -np.expm1(-repeats / HALF_LIFE)
    )


def log_tokens_worth(log_worth: Array, unique: float) -> Array:
    """ln D whose repeats make D' of `effective_tokens`; inf beyond U (1 + R), which none make."""
    log_u = np.log(unique)
    over = np.expm1(np.clip(log_worth - log_u, 0.0, 50.0)) / HALF_LIFE
    made = over < 1
    repeats = -HALF_LIFE * np.log1p(-np.where(made, over, 0.0))
    again = np.where(made, log_u + np.log1p(repeats), np.inf)
    return np.where(log_worth <= log_u, log_worth, again)


def with_repeats(law: Law) -> Law:
    """The law with `n_unique_tokens`: itself where it has them, else of effective tokens."""
    if "n_unique_tokens" in law.inputs:
        return law

    def predict(theta: Array, inputs: Inputs) -> Array:
        tokens, unique = inputs["n_tokens"], inputs["n_unique_tokens"]
        return law.predict(theta, {**inputs, "n_tokens": effective_tokens(tokens, unique)})

    return replace(law, inputs=(*law.inputs, "n_unique_tokens"), predict=predict)


def limited_estimate(estimate: Estimate) -> Estimate:
    """The estimate of laws that all take `n_unique_tokens`."""
    components = tuple(replace(c, law=with_repeats(c.law)) for c in estimate.components)
    return replace(estimate, components=components)
