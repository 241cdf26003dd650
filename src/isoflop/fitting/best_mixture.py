"""`best_mixture`: the shares of the training domains with the lowest predicted loss."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from isoflop._errors import InputError
from isoflop._types import LEVEL, Array, Interval, Problem, is_share
from isoflop.fitting.boosted import BoostedFit
from isoflop.fitting.fit_result import Fit
from isoflop.laws import Estimate, Law

STARTS = 12
DRAWS = 60
SIMULATED = 20_000
TOP = 100
"""Mixtures simulated and averaged for trees, which have no gradient. Source: RegMix."""

STEP = 1e-6
"""Step of the difference quotients in a share."""

Predictor = Fit | Estimate | BoostedFit


@dataclass(frozen=True, slots=True, kw_only=True)
class BestMixture:
    """The best shares by domain, and the loss there [unit of the target]."""

    shares: Mapping[str, Interval]
    loss: Interval
    """The weighted sum of the targets, for the laws' means."""
    problems: tuple[Problem, ...]


def best_mixture(
    fits: Mapping[str, Predictor],
    *,
    target: str | Mapping[str, float],
    at: Mapping[str, float] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    seed: int = 0,
) -> BestMixture:
    """Minimise `sum_i s_i L_i(w)` over shares w that add up to one.

    Laws: sequential quadratic programming from several mixtures, then again for draws of the
    parameters, which give the intervals. Boosted trees: the average of the best of many simulated
    mixtures, as RegMix. Shares stay among those that were run unless `bounds` says otherwise: a
    law that never saw a domain alone knows little of it.

    Args:
        fits: a fit of each target, by the target's name; all over the same domains.
        target: the name of the one to minimise, or how much each of several counts.
        at: the other inputs of the fits, e.g. `{"n_params": 1e9, "n_tokens": 1e11}`.
        bounds: lowest and highest share by domain, e.g. `{"books": (0, 0.1)}`.
        seed: the same seed gives the same starts.

    Raises:
        InputError: an unknown target or domain, fits over different domains, missing inputs, or
            bounds that no mixture keeps.

    Source: Ye et al. 2024, arXiv:2403.16952; Liu et al. 2024, arXiv:2407.01492.
    """
    chosen = _chosen(fits, target)
    names = _domains([one for one, _ in chosen])
    low, high = _limits([one for one, _ in chosen], names, bounds or {})
    rest = {name: float(value) for name, value in (at or {}).items()}
    rng = np.random.default_rng([seed, 4])
    estimates = [(one, weight) for one, weight in chosen if isinstance(one, Estimate)]
    if len(estimates) < len(chosen):
        shares, spread = _simulate(chosen, names, (low, high), rest, rng)
    else:
        shares, spread = _optimise(estimates, names, (low, high), rest, rng)
    return _result(chosen, names, rest, shares, spread)


def _chosen(
    fits: Mapping[str, Predictor], target: str | Mapping[str, float]
) -> list[tuple[Estimate | BoostedFit, float]]:
    weights = {target: 1.0} if isinstance(target, str) else dict(target)
    unknown = sorted(set(weights) - set(fits))
    if unknown or not weights:
        raise InputError(
            f"`target` must name some of {', '.join(fits)}, but got {unknown or 'none'}. "
            f"Give a fit for each target."
        )
    if min(weights.values()) <= 0:
        raise InputError(
            f"Every weight of `target` must be > 0, but got {weights}. Leave the others out."
        )
    found = []
    for name, weight in weights.items():
        one = fits[name]
        found.append((one.estimate if isinstance(one, Fit) else one, weight))
    return found


def _domains(fits: list[Estimate | BoostedFit]) -> tuple[str, ...]:
    """The share columns, the same in every fit."""
    each = [tuple(name for name in one.inputs if is_share(name)) for one in fits]
    if len(set(map(frozenset, each))) != 1 or len(each[0]) < 2:
        raise InputError(
            f"All fits must take the shares of the same two or more domains, but got {each}. "
            f"Fit them to the same columns w_<domain>."
        )
    return each[0]


def _limits(
    fits: list[Estimate | BoostedFit],
    names: tuple[str, ...],
    bounds: Mapping[str, tuple[float, float]],
) -> tuple[Array, Array]:
    unknown = sorted(set(bounds) - {name[2:] for name in names})
    if unknown:
        raise InputError(
            f"`bounds` must name domains among {[name[2:] for name in names]}, but got {unknown}. "
            f"Correct the name."
        )
    limits = []
    for name in names:
        ranges = [one.ranges.get(name, (0.0, 1.0)) for one in fits]
        own = (max(r[0] for r in ranges), min(r[1] for r in ranges))
        limits.append(bounds.get(name[2:], own))
    low, high = np.array(limits, dtype=np.float64).T
    if (low < 0).any() or (low > high).any() or low.sum() > 1 + 1e-9 or high.sum() < 1 - 1e-9:
        raise InputError(
            f"Some mixture must keep `bounds`, but lowest shares add up to {low.sum():.4g} and "
            f"highest to {high.sum():.4g}. Widen them."
        )
    return low, high


def _into_limits(shares: Array, low: Array, high: Array) -> Array:
    """Mixtures (S, M) moved inside the limits, still adding up to one."""
    shares = np.clip(shares, low, high)
    for _ in range(20):
        gap = 1 - shares.sum(axis=1, keepdims=True)
        room = np.where(gap > 0, high - shares, shares - low)
        total = np.maximum(room.sum(axis=1, keepdims=True), 1e-300)
        shares = np.clip(shares + gap * room / total, low, high)
    return np.asarray(shares)


def _columns(names: tuple[str, ...], shares: Array, rest: Mapping[str, float]) -> dict[str, Array]:
    columns = {name: shares[:, i] for i, name in enumerate(names)}
    return {**columns, **{name: np.full(len(shares), value) for name, value in rest.items()}}


def _optimise(
    fits: list[tuple[Estimate, float]],
    names: tuple[str, ...],
    limits: tuple[Array, Array],
    rest: Mapping[str, float],
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Best shares (M,), and those of draws of the parameters (B, M)."""
    low, high = limits
    starts = _into_limits(rng.dirichlet(np.ones(len(names)), STARTS), low, high)
    missing = {n for one, _ in fits for n in one.inputs if n not in names} - set(rest)
    if missing:
        raise InputError(f"`at` must give {sorted(missing)}, but got {sorted(rest)}. Add them.")

    def solve(laws: list[tuple[Law, Array, float]], begin: Array) -> Array:
        def loss(shares: Array) -> Array:
            columns = _columns(names, shares, rest)
            total = np.zeros(len(shares))
            for law, theta, weight in laws:
                total = total + weight * law.predict(theta, columns)
            return total

        ends = [_descend(loss, one, low, high) for one in begin]
        return ends[int(np.argmin([loss(end[None])[0] for end in ends]))]

    point = [(c.law, c.theta, weight * c.weight) for one, weight in fits for c in one.components]
    best = solve(point, starts)
    drawn = []
    for _ in range(DRAWS):
        laws = []
        for one, weight in fits:
            component = one.components[rng.choice(len(one.components), p=_shares_of(one))]
            theta = component.draws[rng.integers(len(component.draws))]
            laws.append((component.law, theta, weight))
        drawn.append(solve(laws, np.stack([best, starts[0]])))
    return best, np.array(drawn)


def _shares_of(estimate: Estimate) -> list[float]:
    return [component.weight for component in estimate.components]


def _descend(loss: Callable[[Array], Array], begin: Array, low: Array, high: Array) -> Array:
    """A local minimum (M,) of the loss of mixtures, from one start."""
    steps = np.concatenate([np.zeros((1, begin.size)), STEP * np.eye(begin.size)])

    def value_and_slope(shares: Array) -> tuple[float, Array]:
        values = loss(np.clip(shares, low, high) + steps)
        return float(values[0]), (values[1:] - values[0]) / STEP

    found = minimize(
        value_and_slope,
        begin,
        jac=True,
        method="SLSQP",
        bounds=list(zip(low, high, strict=True)),
        constraints={"type": "eq", "fun": _gap, "jac": _gap_slope},
        options={"maxiter": 200, "ftol": 1e-12},
    )
    return np.asarray(_into_limits(found.x[None], low, high)[0])


def _gap(shares: Array) -> float:
    return float(shares.sum() - 1)


def _gap_slope(shares: Array) -> Array:
    return np.ones_like(shares)


def _simulate(
    fits: list[tuple[Estimate | BoostedFit, float]],
    names: tuple[str, ...],
    limits: tuple[Array, Array],
    rest: Mapping[str, float],
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """The mean (M,) of the best simulated mixtures, and those mixtures (B, M)."""
    low, high = limits
    shares = _into_limits(rng.dirichlet(np.ones(len(names)), SIMULATED), low, high)
    columns = _columns(names, shares, rest)
    loss = np.zeros(SIMULATED)
    for one, weight in fits:
        loss += weight * one.predict(columns, of="mean").mean
    top = shares[np.argsort(loss, kind="stable")[:TOP]]
    return top.mean(axis=0), top


def _result(
    fits: list[tuple[Estimate | BoostedFit, float]],
    names: tuple[str, ...],
    rest: Mapping[str, float],
    shares: Array,
    spread: Array,
) -> BestMixture:
    low, high = np.quantile(spread, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    columns = _columns(names, shares[None], rest)
    each = [(one.predict(columns, of="mean", level=LEVEL), weight) for one, weight in fits]
    # Errors of several targets may go together: their intervals add up.
    ends = [
        sum(weight * float(side[0]) for side, weight in sides)
        for sides in (
            [(p.mean, w) for p, w in each],
            [(p.low, w) for p, w in each],
            [(p.high, w) for p, w in each],
        )
    ]
    return BestMixture(
        shares={
            name[2:]: Interval(
                value=float(shares[i]),
                low=float(min(low[i], shares[i])),
                high=float(max(high[i], shares[i])),
                level=LEVEL,
            )
            for i, name in enumerate(names)
        },
        loss=Interval(value=ends[0], low=ends[1], high=ends[2], level=LEVEL),
        problems=tuple(dict.fromkeys(problem for p, _ in each for problem in p.problems)),
    )
