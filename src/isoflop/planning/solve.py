"""From what is given to size, tokens and compute: the planned run and every draw's own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array, Interval
from isoflop.accounting import FLOPS_PER_PARAM_TOKEN
from isoflop.laws import Estimate, mean_law
from isoflop.laws.estimate import SPREAD_FREEDOM
from isoflop.planning.caps import NO_CAPS, Caps
from isoflop.planning.cheapest import LossOf
from isoflop.planning.frontier import (
    Frontier,
    MeanLine,
    drawn_components,
    frontier_of_draws,
    mean_line,
)
from isoflop.planning.level_sets import size_for_loss, tokens_for_loss

_NOISE_SEED = 0
_LOG_K = float(np.log(FLOPS_PER_PARAM_TOKEN))
_MET = 1e-9
"""Relative room within which a cap is met."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is given: values by name, and their doubt where they have one."""

    values: Mapping[str, float]
    """`flops`, `loss`, `n_params`, `n_tokens`: one, or one of the last two beside another."""
    log_loss_draws: Array | None = None
    """ln of the loss that each draw takes the goal for, less that of the goal (B,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """The planned run, and its draws (B,): logs of compute and size."""

    log_flops: float
    log_params: float
    log_flops_draws: Array
    log_params_draws: Array
    binding: tuple[str, ...] = field(default=())
    """Wishes that hold the plan back from the optimum."""

    @property
    def log_tokens(self) -> float:
        """log D = log C - log 6N."""
        return self.log_flops - _LOG_K - self.log_params

    @property
    def log_tokens_draws(self) -> Array:
        """log D of every draw; inf where its compute is."""
        return _log_tokens(self.log_flops_draws, self.log_params_draws)


def solve(
    estimate: Estimate,
    given: Mapping[str, float] | Asked,
    level: float,
    caps: Caps = NO_CAPS,
) -> Solution:
    """The best run for what is given: compute-optimal, as far as size and tokens are free.

    Raises:
        InputError: the target loss lies below the irreducible loss, or no run within the caps
            reaches it; the text names what binds.
    """
    asked = given if isinstance(given, Asked) else Asked(values=given)
    values = asked.values
    _check_caps(values, caps)
    fixed = {"n_params", "n_tokens"} & set(values)
    if len(fixed) == 2:
        return _given_run(values)
    if "loss" in values:
        return _for_loss(estimate, asked, level, caps)
    if fixed and "flops" in values:
        return _half_given(asked, caps, len(frontier_of_draws(estimate)))
    line, frontier = mean_line(estimate), frontier_of_draws(estimate)
    if fixed:
        (name,) = fixed
        log_value = float(np.log(values[name]))
        log_c, draws = _flops_of_size(line, frontier, name, log_value)
        # A limit on the compute cuts what is free: the size or the tokens given are held.
        held = _held(name, log_value)
        return _settled((np.array([log_c]), held), (draws, held), caps)
    log_c = float(np.log(values["flops"]))
    draws = np.full(len(frontier), log_c)

    def planned(log_flops: Array) -> Array:
        return np.array([line.log_params(float(log_flops[0]))])

    return _settled((np.array([log_c]), planned), (draws, frontier.log_params), caps)


def mean_loss(estimate: Estimate, log_params: float, log_tokens: float) -> float:
    """Expected loss at (N, D), the weighted geometric mean over the laws."""
    inputs = {"n_params": np.exp([log_params]), "n_tokens": np.exp([log_tokens])}
    logs = [
        c.weight * float(np.log(c.law.predict(c.theta, inputs)[0])) for c in estimate.components
    ]
    return float(np.exp(sum(logs)))


def loss_of_mean(estimate: Estimate) -> LossOf:
    """The expected loss (1, G) at ln N, ln D (1, G)."""
    law = mean_law([c for c in estimate.components if c.weight > 0])
    return lambda log_n, log_d: np.asarray(
        law.predict(np.empty((1, 0)), {"n_params": np.exp(log_n), "n_tokens": np.exp(log_d)})
    )


def loss_of_draws(estimate: Estimate) -> LossOf:
    """The loss (B, G) of every draw of the frontier at ln N, ln D (B, G), in its order."""
    parts = drawn_components(estimate)
    ends = np.cumsum([len(draws) for _, draws in parts])[:-1]

    def loss_of(log_n: Array, log_d: Array) -> Array:
        size = int(ends[-1]) if len(ends) else 0
        size += len(parts[-1][1])
        shape = (size, max(log_n.shape[1], log_d.shape[1]))
        sizes = np.split(np.exp(np.broadcast_to(log_n, shape)), ends)
        tokens = np.split(np.exp(np.broadcast_to(log_d, shape)), ends)
        return np.concatenate(
            [
                component.law.predict(draws, {"n_params": n, "n_tokens": d})
                for (component, draws), n, d in zip(parts, sizes, tokens, strict=True)
            ]
        )

    return loss_of


def interval(log_value: float, log_draws: Array, level: float) -> Interval:
    """The interval of exp(draws) around a value; draws may be infinite."""
    # By rank, not interpolated: between a number and infinity there is no number.
    ranked = np.sort(log_draws)
    if not ranked.size:
        ranked = np.array([log_value])
    last = len(ranked) - 1
    low = ranked[int(np.floor(last * (1 - level) / 2))]
    high = ranked[int(np.ceil(last * (1 + level) / 2))]
    return Interval(
        value=float(np.exp(log_value)),
        low=float(np.exp(min(low, log_value))),
        high=_exp(max(float(high), log_value)),
        level=level,
    )


def run_noise(estimate: Estimate, log_params: float, log_tokens: float, size: int) -> Array:
    """Log-loss deviations (B,) of a new run of (N, D) from its law."""
    inputs = {"n_params": np.exp([log_params]), "n_tokens": np.exp([log_tokens])}
    # ASSUMPTION: the spread is that at the planned run, also for draws that end elsewhere.
    distance = float(estimate.distance(inputs)[0])
    rng = np.random.default_rng(_NOISE_SEED)
    normal, heavy = rng.standard_normal(size), rng.standard_t(SPREAD_FREEDOM, size)
    spread = estimate.spread * distance / estimate.spread_distance
    return np.asarray(estimate.sigma * normal + spread * heavy, dtype=np.float64)


def _given_run(values: Mapping[str, float]) -> Solution:
    log_n, log_d = float(np.log(values["n_params"])), float(np.log(values["n_tokens"]))
    log_c = _LOG_K + log_n + log_d
    return Solution(
        log_flops=log_c,
        log_params=log_n,
        log_flops_draws=np.array([log_c]),
        log_params_draws=np.array([log_n]),
    )


def _half_given(asked: Asked, caps: Caps, size: int) -> Solution:
    """A size or tokens as given, the other from the compute."""
    log_c = float(np.log(asked.values["flops"]))
    name = "n_params" if "n_params" in asked.values else "n_tokens"
    held = _held(name, float(np.log(asked.values[name])))
    return _settled((np.array([log_c]), held), (np.full(size, log_c), held), caps)


def _held(name: str, log_value: float) -> Callable[[Array], Array]:
    """ln N at ln C where the size, or the tokens, are given."""
    if name == "n_params":
        return lambda log_flops: np.full_like(log_flops, log_value)
    return lambda log_flops: np.asarray(log_flops - _LOG_K - log_value)


Pair = tuple[Array, Array]
"""ln C and ln N (B,)."""

Budgets = tuple[Array, Callable[[Array], Array]]
"""ln C (B,), and the size that each would have at ln C."""


def _settled(point: Budgets, draws: Budgets, caps: Caps) -> Solution:
    """The solution of a budget, held within the caps: what is not spent is left."""
    (log_c, log_n), binding = _within(point, caps)
    (flops, sizes), _ = _within(draws, caps)
    return Solution(
        log_flops=float(log_c[0]),
        log_params=float(log_n[0]),
        log_flops_draws=flops,
        log_params_draws=sizes,
        binding=binding,
    )


def _within(budgets: Budgets, caps: Caps) -> tuple[Pair, tuple[str, ...]]:
    """A budget's runs, moved along it as far as the caps demand; and what binds."""
    wanted, size_at = budgets
    log_c = np.minimum(wanted, caps.log_flops)
    best = size_at(log_c)
    # With the budget as it is, fewer tokens mean a larger model, until that has its cap too.
    fewest = log_c - _LOG_K - caps.log_tokens
    log_n = np.minimum(np.maximum(best, fewest), caps.log_params)
    log_d = np.minimum(_log_tokens(log_c, log_n), caps.log_tokens)
    bound = {
        "log_flops": wanted > caps.log_flops,
        "log_params": (best > caps.log_params) | (fewest > caps.log_params),
        "log_tokens": fewest > best,
    }
    names = tuple(caps.name(name) for name, mask in bound.items() if bool(mask.any()))
    if not names:
        return (wanted, best), ()
    return (np.where(np.isfinite(log_c), _LOG_K + log_n + log_d, np.inf), log_n), names


def _for_loss(estimate: Estimate, asked: Asked, level: float, caps: Caps) -> Solution:
    """The cheapest run that reaches a loss, within caps and with what else is given."""
    loss = asked.values["loss"]
    line, frontier = mean_line(estimate), frontier_of_draws(estimate)
    _check_floor(frontier, loss, level)
    free = _flops_of_loss(estimate, line, loss, frontier, level)
    size = line.log_params(free)
    if min(size, free - _LOG_K - size) < 0:
        raise InputError(
            f"`loss={loss:g}` is reached without training. Give a loss below that of the runs."
        )
    noise = run_noise(estimate, size, free - _LOG_K - size, len(frontier))
    targets = loss * np.exp(-noise)
    if asked.log_loss_draws is not None:
        targets = targets * np.exp(asked.log_loss_draws)
    best = frontier.log_flops_of_loss(targets)
    point = np.array([free]), np.array([size])
    draws = best, frontier.log_params(best)
    mean, drawn = loss_of_mean(estimate), loss_of_draws(estimate)
    point, binding = _reaching(mean, np.array([loss]), point, asked.values, caps)
    if not np.isfinite(point[0][0]):
        raise InputError(_out_of_reach(loss, binding, asked.values, caps))
    flops, sizes = _reaching(drawn, targets, draws, asked.values, caps)[0]
    return Solution(
        log_flops=float(point[0][0]),
        log_params=float(point[1][0]),
        log_flops_draws=flops,
        log_params_draws=sizes,
        binding=binding,
    )


def _reaching(
    loss_of: LossOf, loss: Array, free: Pair, values: Mapping[str, float], caps: Caps
) -> tuple[Pair, tuple[str, ...]]:
    """The cheapest runs of a loss with a size or tokens fixed, or held by caps; and what binds."""
    log_c, log_n = free
    log_d = _log_tokens(log_c, log_n)
    large = np.full(loss.shape, "n_params" in values) | (log_n > caps.log_params)
    long = ~large & (np.full(loss.shape, "n_tokens" in values) | (log_d > caps.log_tokens))
    if not large.any() and not long.any():
        return free, ()
    size = np.log(values["n_params"]) if "n_params" in values else caps.log_params
    tokens = np.log(values["n_tokens"]) if "n_tokens" in values else caps.log_tokens
    if large.any():
        sizes = np.full(loss.shape, size)
        log_n = np.where(large, size, log_n)
        log_d = np.where(large, tokens_for_loss(loss_of, loss, sizes), log_d)
    if long.any():
        log_d = np.where(long, tokens, log_d)
        log_n = np.where(long, size_for_loss(loss_of, loss, np.full(loss.shape, tokens)), log_n)
    over = (log_d > caps.log_tokens + _MET) | (log_n > caps.log_params + _MET)
    binding = []
    if "n_params" not in values and (large.any() or (over & long).any()):
        binding.append(caps.name("log_params"))
    if "n_tokens" not in values and (long.any() or (over & large).any()):
        binding.append(caps.name("log_tokens"))
    lost = over | ~np.isfinite(log_d) | ~np.isfinite(log_n)
    safe_n, safe_d = np.where(lost, 0.0, log_n), np.where(lost, 0.0, log_d)
    flops = np.where(lost, np.inf, _LOG_K + safe_n + safe_d)
    return (flops, np.where(lost, np.inf, log_n)), tuple(binding)


def _out_of_reach(
    loss: float, binding: tuple[str, ...], values: Mapping[str, float], caps: Caps
) -> str:
    held = [f"{name}={values[name]:g}" for name in ("n_params", "n_tokens") if name in values]
    ends = {"log_params": caps.log_params, "log_tokens": caps.log_tokens}
    held += [
        f"{caps.name(name)}={np.exp(end):.4g}"
        for name, end in ends.items()
        if caps.name(name) in binding and end < inf
    ]
    return (
        f"`loss={loss:g}` is not reached with {' and '.join(held)}. Raise "
        f"{'one of them' if len(held) > 1 else 'it'}, or ask for a higher loss."
    )


def _check_caps(values: Mapping[str, float], caps: Caps) -> None:
    """What is given outright must itself keep the caps."""
    log_c = None
    if {"n_params", "n_tokens"} <= set(values):
        log_c = _LOG_K + float(np.log(values["n_params"]) + np.log(values["n_tokens"]))
    for given, value, name, end in (
        ("n_params", _log(values.get("n_params")), "log_params", caps.log_params),
        ("n_tokens", _log(values.get("n_tokens")), "log_tokens", caps.log_tokens),
        ("6·n_params·n_tokens", log_c, "log_flops", caps.log_flops),
    ):
        if value is not None and value > end + _MET:
            raise InputError(
                f"`{given} = {np.exp(value):.4g}` is more than {caps.name(name)} allows: "
                f"{np.exp(end):.4g}. Lower one, or raise the other."
            )


def _log(value: float | None) -> float | None:
    return None if value is None else float(np.log(value))


def _flops_of_size(
    line: MeanLine, frontier: Frontier, name: str, log_value: float
) -> tuple[float, Array]:
    """log C of the line and of every draw for given flops, n_params or n_tokens."""
    if name == "flops":
        return log_value, np.full(len(frontier), log_value)
    if name == "n_params":
        return line.log_flops_of_params(log_value), frontier.log_flops_of_params(log_value)
    assert name == "n_tokens"
    return line.log_flops_of_tokens(log_value), frontier.log_flops_of_tokens(log_value)


def _flops_of_loss(
    estimate: Estimate, line: MeanLine, loss: float, frontier: Frontier, level: float
) -> float:
    """log C at which the expected loss along the planned line reaches `loss`, by bisection."""

    def at(log_c: float) -> float:
        log_n = line.log_params(log_c)
        return mean_loss(estimate, log_n, log_c - _LOG_K - log_n)

    low, high = line.reach
    if at(high) >= loss:
        raise _below_floor(frontier, loss, level)
    if at(low) <= loss:
        raise InputError(
            f"`loss={loss}` is reached without training. Give a loss below that of the runs."
        )
    # 64 halvings of 360 leave less than the rounding error of log C.
    for _ in range(64):
        middle = (low + high) / 2
        low, high = (low, middle) if at(middle) < loss else (middle, high)
    return (low + high) / 2


def _check_floor(frontier: Frontier, loss: float, level: float) -> None:
    if float(np.mean(frontier.floor >= loss)) > 0.5:
        raise _below_floor(frontier, loss, level)


def _below_floor(frontier: Frontier, loss: float, level: float) -> InputError:
    low, middle, high = np.quantile(frontier.floor, [(1 - level) / 2, 0.5, (1 + level) / 2])
    share = float(np.mean(frontier.floor >= loss))
    return InputError(
        f"`loss={loss:g}` lies at or below the irreducible loss {middle:.4g} "
        f"({100 * level:g} % interval {low:.4g} to {high:.4g}) in {100 * share:.0f} % of draws: "
        f"no compute reaches it. Ask for a loss above {high:.4g}, or change the data."
    )


def _log_tokens(log_flops: Array, log_params: Array) -> Array:
    reached = np.isfinite(log_flops)
    safe_c, safe_n = np.where(reached, log_flops, 0.0), np.where(reached, log_params, 0.0)
    return np.where(reached, safe_c - _LOG_K - safe_n, np.inf)


def _exp(value: float) -> float:
    return float(np.exp(value)) if value < 700 else float("inf")
