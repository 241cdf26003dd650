"""`loss_for_score`: the loss that a target accuracy needs, and what every draw would need."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array, Problem
from isoflop.laws import Component, Estimate, Inputs, Law, find_root
from isoflop.laws.estimate import SPREAD_FREEDOM
from isoflop.planning.frontier import share_out

_SEED = 20_250_000
"""Another stream than that of the first step: the errors of the two are taken as independent."""

_LOSSES = (1e-3, 1e3)
"""Losses at which a law's ends are read."""
_BEYOND = 10.0
"""A law without a closed form is inverted up to this factor beyond the losses that were run: a
function of one's own need not make sense everywhere."""

_FORM = 0.15
"""ASSUMPTION: doubt of ln L, Student-t, for each unit of ln L beyond the losses that were run,
where no back-test has measured what the form itself is wrong by. Calibrated on the OLMo ladder
(Bhagia et al. 2024, arXiv:2412.04403): of the losses of its 7B and 13B models on eight tasks, 90 %
intervals hold 9 of 16 without it, 15 with it."""

_FLAT = 1e-9
"""Relative rise between neighbouring losses that counts as rounding."""


class TwoSteps(Protocol):
    """A law of loss and one of score on that loss, such as `fit_task` gives."""

    @property
    def first(self) -> Estimate:
        """Predicts the loss."""
        ...

    @property
    def second(self) -> Estimate:
        """Predicts the score from the loss."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTarget:
    """The loss at which a score is reached."""

    score: float
    """Accuracy, 0 to 1."""
    loss: float
    """By the point law [unit of the second step's loss]."""
    log_draws: Array
    """ln of the loss (n,) that each draw needs, its noise included: -inf where no loss gives the
    score, inf where every loss does."""
    problems: tuple[Problem, ...] = ()


def loss_for_score(second: Estimate | TwoSteps, score: float, n: int, seed: int = 0) -> ScoreTarget:
    """The loss L with law(L) = score, and n draws of ln L with law_draw(L)·e^noise = score.

    Where the law predicts an error, `score` is 1 - error all the same: more is better.

    Args:
        second: the law of score on loss; of two steps the second is taken.
        score: accuracy to reach, between the chance level and the ceiling.
        n: how many draws; they are in random order, independent of the first step's.
        seed: the same seed gives the same numbers.

    Raises:
        InputError: another input than `loss`; a score that every loss gives, or none; a law that
            rises and falls.

    Source: Bhagia et al. 2024, arXiv:2412.04403 (two steps); Gadre et al. 2024, arXiv:2403.08540.
    """
    estimate = second if isinstance(second, Estimate) else second.second
    _check(estimate, score)
    target = _own_unit(estimate, score)
    log_loss = float(_point(estimate, np.array([target]))[0])
    chance, ceiling = _ends(estimate)
    if not np.isfinite(log_loss):
        raise _outside(estimate, score, reached=log_loss > 0, chance=chance, ceiling=ceiling)
    log_draws = _draws(estimate, target, log_loss, n, seed)
    lost = float(np.mean(np.isneginf(log_draws)))
    if lost > 0.5:
        raise _outside(estimate, score, reached=False, chance=chance, ceiling=ceiling)
    loss = float(np.exp(log_loss))
    told = estimate.predict({"loss": [loss]}).problems
    return ScoreTarget(
        score=score, loss=loss, log_draws=log_draws, problems=told + _unreached(score, lost)
    )


def is_error(estimate: Estimate) -> bool:
    """Whether the estimate predicts an error, of which less is better."""
    return estimate.target.startswith("error")


def _check(estimate: Estimate, score: float) -> None:
    if estimate.needed != ("loss",):
        raise InputError(
            "a score needs a law of one input, loss, but got one of "
            f"{', '.join(estimate.needed)} ({estimate.best.law.name}). Use sigmoid_to_one, sigmoid "
            "or error_on_loss."
        )
    if not 0 < score < 1:
        raise InputError(
            f"`0 < score < 1` must hold, but got score={score}. Give an accuracy such as 0.7."
        )


def _own_unit(estimate: Estimate, score: float) -> float:
    return 1 - score if is_error(estimate) else score


def _draws(estimate: Estimate, target: float, log_loss: float, n: int, seed: int) -> Array:
    """ln L (n,) of every draw: its law, its noise and, beyond the runs, spread and form."""
    rng = np.random.default_rng([_SEED, seed])
    distance = float(estimate.distance({"loss": np.exp([log_loss])})[0])
    noise = estimate.sigma * rng.standard_normal(n)
    far = distance / estimate.spread_distance
    noise += estimate.spread * far * rng.standard_t(SPREAD_FREEDOM, n)
    form = _form(estimate) * distance * rng.standard_t(SPREAD_FREEDOM, n)
    targets = target * np.exp(-noise)
    found, start = np.empty(n), 0
    counts = share_out(n, [component.weight for component in estimate.components])
    for component, count in zip(estimate.components, counts, strict=True):
        rows = slice(start, start + count)
        have = component.draws
        theta = have[np.arange(count) * len(have) // max(count, 1)]
        found[rows] = _inverse(component.law, theta, targets[rows], _reach(estimate))
        start += count
    return np.asarray(rng.permutation(found) + form)


def _form(estimate: Estimate) -> float:
    """What the form may be wrong by, where no back-test is in the estimate's own spread."""
    unmeasured = any(problem.code == "no_backtest" for problem in estimate.problems)
    return _FORM if unmeasured else 0.0


def _point(estimate: Estimate, target: Array) -> Array:
    """ln L at which the weighted geometric mean of the laws is the target."""
    alive = _alive(estimate)
    if len(alive) == 1:
        return _inverse(alive[0].law, alive[0].theta[None], target, _reach(estimate))
    return _searched(
        lambda log_loss: _mean(alive, log_loss), target, _reach(estimate), "the mean of the laws"
    )


def _reach(estimate: Estimate) -> tuple[float, float]:
    """Losses among which laws are inverted, or read at their ends."""
    if "loss" not in estimate.ranges or all(c.law.name in _CLOSED for c in _alive(estimate)):
        return _LOSSES
    low, high = estimate.ranges["loss"]
    return low / _BEYOND, high * _BEYOND


def _alive(estimate: Estimate) -> list[Component]:
    return [component for component in estimate.components if component.weight > 0]


def _mean(components: list[Component], log_loss: Array) -> Array:
    """The laws' mean score (B,)."""
    logs = np.zeros(len(log_loss))
    for one in components:
        value = _at(one.law, np.broadcast_to(one.theta, (len(log_loss), one.theta.size)), log_loss)
        logs = logs + one.weight * np.log(np.maximum(value, 1e-300))
    return np.asarray(np.exp(logs))


def _inverse(law: Law, theta: Array, target: Array, reach: tuple[float, float]) -> Array:
    """ln L (B,) with law(theta, L) = target, in closed form where there is one."""
    closed = _CLOSED.get(law.name)
    if closed is None:
        return _searched(lambda log_loss: _at(law, theta, log_loss), target, reach, law.name)
    loss = closed(theta, target)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.maximum(loss, 0.0)))


def _at(law: Law, theta: Array, log_loss: Array) -> Array:
    """The law's value (B,) where each draw has its own loss."""
    columns: Inputs = {"loss": np.exp(log_loss)[:, None]}
    # Far from the runs a function of one's own may overflow on its way to its end.
    with np.errstate(all="ignore"):
        return np.asarray(law.predict(theta, columns))[:, 0]


def _sigmoid(theta: Array, target: Array) -> Array:
    floor, rise, k, place = theta.T
    return _place_of((target - floor) / rise, k, place)


def _sigmoid_to_one(theta: Array, target: Array) -> Array:
    floor, k, place = theta.T
    return _place_of((target - floor) / (1 - floor), k, place)


def _place_of(step: Array, k: Array, place: Array) -> Array:
    """L = L0 + ln(1/s - 1)/k; inf below the floor, -inf above the ceiling."""
    inside = np.clip(step, 1e-300, 1 - 1e-16)
    loss = place + np.log(1 / inside - 1) / k
    return np.where(step <= 0, np.inf, np.where(step >= 1, -np.inf, loss))


def _error_on_loss(theta: Array, target: Array) -> Array:
    """L = ln(k/(eps - Err))/gamma; inf from eps on."""
    eps, k, gamma = theta.T
    below = eps - target
    return np.where(below <= 0, np.inf, np.log(k / np.maximum(below, 1e-300)) / gamma)


_CLOSED: dict[str, Callable[[Array, Array], Array]] = {
    "sigmoid": _sigmoid,
    "sigmoid_to_one": _sigmoid_to_one,
    "error_on_loss": _error_on_loss,
}


def _searched(
    value_of: Callable[[Array], Array], target: Array, reach: tuple[float, float], name: str
) -> Array:
    """ln L (B,) by root finding between two losses; infinite where the law does not get there.

    Raises:
        InputError: the first row's law rises and falls.
    """
    size = len(target)
    low, high = (np.full(size, np.log(end)) for end in reach)
    grid = np.array([value_of(np.full(size, at)) for at in np.linspace(low[0], high[0], 200)])
    steps = np.diff(grid[:, 0])
    room = _FLAT * np.abs(grid[:, 0]).max()
    if (steps > room).any() and (steps < -room).any():
        raise InputError(
            f"{name} both rises and falls with the loss: a score has no one loss. Use a law that "
            "only falls, such as sigmoid_to_one."
        )
    sign = 1.0 if steps.sum() > 0 else -1.0
    found = find_root(lambda log_loss: sign * (value_of(log_loss) - target), low, high)
    # With `sign`, both ends rise with the loss: what the lowest loss exceeds, none is low enough
    # for; what the highest does not get to, every loss gives.
    found = np.where(sign * (grid[0] - target) > 0, -np.inf, found)
    return np.where(sign * (grid[-1] - target) <= 0, np.inf, found)


def _ends(estimate: Estimate) -> tuple[Array, Array]:
    """Draws of the score at the highest loss, the chance level, and at the lowest, the ceiling."""
    out = []
    for loss in reversed(_reach(estimate)):
        at = [
            _at(one.law, one.draws, np.full(len(one.draws), np.log(loss)))
            for one in _alive(estimate)
        ]
        score = np.concatenate(at)
        out.append(np.clip(1 - score if is_error(estimate) else score, 0.0, 1.0))
    return out[0], out[1]


def _outside(
    estimate: Estimate, score: float, *, reached: bool, chance: Array, ceiling: Array
) -> InputError:
    """A refusal that names the chance level, or the ceiling, with its interval."""
    low, middle, high = np.quantile(
        chance if reached else ceiling, [(1 - estimate.level) / 2, 0.5, (1 + estimate.level) / 2]
    )
    words = f"{middle:.3g} ({100 * estimate.level:g} % interval {low:.3g} to {high:.3g})"
    if reached:
        return InputError(
            f"`score={score:g}` lies at or below the chance level {words}: every model reaches it. "
            f"Ask for a score above {high:.3g}."
        )
    return InputError(
        f"`score={score:g}` lies at or above the ceiling {words}, counting the noise of a run: no "
        f"loss gives it. Ask for a score below {low:.3g}."
    )


def _unreached(score: float, lost: float) -> tuple[Problem, ...]:
    if lost == 0:
        return ()
    return (
        Problem(
            code="score_unreached",
            severity="warning" if lost > 0.01 else "note",
            text=f"In {100 * lost:.2g} % of draws no loss gives the score {score:g}.",
            remedy="Ask for a lower score, or add runs on the upper half of the curve.",
        ),
    )
