"""From what is given to size, tokens and compute: the planned run and every draw's own."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array, Interval
from isoflop.accounting import FLOPS_PER_PARAM_TOKEN
from isoflop.laws import Estimate
from isoflop.laws.estimate import SPREAD_FREEDOM
from isoflop.planning.frontier import Frontier, MeanLine, frontier_of_draws, mean_line

_NOISE_SEED = 0
_LOG_K = float(np.log(FLOPS_PER_PARAM_TOKEN))


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """The planned run, and its draws (B,): logs of compute and size."""

    log_flops: float
    log_params: float
    log_flops_draws: Array
    log_params_draws: Array

    @property
    def log_tokens(self) -> float:
        """log D = log C - log 6N."""
        return self.log_flops - _LOG_K - self.log_params

    @property
    def log_tokens_draws(self) -> Array:
        """log D of every draw; inf where its compute is."""
        return _log_tokens(self.log_flops_draws, self.log_params_draws)


def solve(estimate: Estimate, given: Mapping[str, float], level: float) -> Solution:
    """The compute-optimal run for one given quantity, or the run of both size and tokens.

    Raises:
        InputError: the target loss lies below the irreducible loss.
    """
    if {"n_params", "n_tokens"} <= set(given):
        log_n, log_d = np.log(given["n_params"]), np.log(given["n_tokens"])
        log_c = float(_LOG_K + log_n + log_d)
        return Solution(
            log_flops=log_c,
            log_params=float(log_n),
            log_flops_draws=np.array([log_c]),
            log_params_draws=np.array([log_n]),
        )
    ((name, value),) = given.items()
    line, frontier = mean_line(estimate), frontier_of_draws(estimate)
    if name == "loss":
        _check_floor(frontier, value, level)
        log_c = _flops_of_loss(estimate, line, value, frontier, level)
        log_n = line.log_params(log_c)
        noise = run_noise(estimate, log_n, log_c - _LOG_K - log_n, len(frontier))
        targets = value * np.exp(-noise)
        draws = frontier.log_flops_of_loss(targets)
    else:
        log_c, draws = _flops_of_size(line, frontier, name, float(np.log(value)))
    return Solution(
        log_flops=log_c,
        log_params=line.log_params(log_c),
        log_flops_draws=draws,
        log_params_draws=frontier.log_params(draws),
    )


def mean_loss(estimate: Estimate, log_params: float, log_tokens: float) -> float:
    """Expected loss at (N, D), the weighted geometric mean over the laws."""
    inputs = {"n_params": np.exp([log_params]), "n_tokens": np.exp([log_tokens])}
    logs = [
        c.weight * float(np.log(c.law.predict(c.theta, inputs)[0])) for c in estimate.components
    ]
    return float(np.exp(sum(logs)))


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


def run_noise(estimate: Estimate, log_params: float, log_tokens: float, size: int) -> Array:
    """Log-loss deviations (B,) of a new run of (N, D) from its law."""
    inputs = {"n_params": np.exp([log_params]), "n_tokens": np.exp([log_tokens])}
    # ASSUMPTION: the spread is that at the planned run, also for draws that end elsewhere.
    distance = float(estimate.distance(inputs)[0])
    rng = np.random.default_rng(_NOISE_SEED)
    normal, heavy = rng.standard_normal(size), rng.standard_t(SPREAD_FREEDOM, size)
    spread = estimate.spread * distance / estimate.spread_distance
    return np.asarray(estimate.sigma * normal + spread * heavy, dtype=np.float64)


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
