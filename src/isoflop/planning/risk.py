"""`Risk`: where a plan's doubt comes from, how likely it misses, and what measuring would save."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from isoflop._types import Array, Interval
from isoflop.accounting import sample_goodput
from isoflop.laws import Estimate
from isoflop.planning.frontier import frontier_of_draws
from isoflop.planning.rates import STEP_ERROR, Rates
from isoflop.planning.solve import Solution, interval, loss_of_draws

_SEED = 20_261_129
_WINDOW = (0.05, 0.95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Regret:
    """What the chosen size loses beside the size that each draw would choose at this compute."""

    loss: Interval
    """Share of loss above that draw's lowest [1]."""
    flops: Interval
    """Share of the compute that its own choice would have saved [1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One thing to find out before the run, and the money that knowing it sets free."""

    name: str
    """`step_time`, `price` or `law`."""
    saves_usd: float
    """Less to hold in reserve, on average, for the same odds of paying the run; and the compute
    that a better size would save."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """The doubt of a plan, all from the same draws."""

    sure: float
    odds: Mapping[str, float] = field(default_factory=dict)
    """Probability of missing each wish: loss, score, days, usd, device_hours, memory."""
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Of each answer (n_params, loss, days, usd), the share of its variance by source."""
    regret: Regret | None = None
    """None where the size was given."""
    reserve_usd: float | None = None
    """Money that pays the training in the share `sure` of draws; None where no price is known, or
    no money does."""
    measurements: tuple[Measurement, ...] = ()
    """Those that set money free, most first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """ln of what a plan needs in each draw (B,), and how it came to be."""

    solution: Solution
    rates: Rates
    log_flops: Array
    """Compute that is paid for: the planned one, or what each draw needs for the loss."""
    loss: Array
    """Loss of the planned run, noise included (B,)."""
    mean_loss: Array
    """The same by each draw's law alone."""
    log_wanted: Array | None = None
    """Of a score: ln of the loss that it takes in each draw of its law."""
    quiet_flops: Array | None = None
    """`log_flops` without the noise of a run; None where nobody took it apart."""

    def log_cost(self, name: str, leave_out: str = "") -> Array:
        """ln of device_hours, days or usd (B,)."""
        return self.log_flops + self.rates.log_draws(name, leave_out)


def risk(
    estimate: Estimate,
    chain: Chain,
    wishes: Mapping[str, float],
    *,
    sure: float,
    level: float,
    chosen: bool,
    p_fits: float | None,
) -> Risk:
    """Odds, shares, regret and the worth of measuring.

    Args:
        estimate: the law.
        chain: the draws.
        wishes: what should not be exceeded: loss, device_hours, days, usd.
        sure: share of draws in which money should suffice.
        level: level of the intervals.
        chosen: whether the size was chosen by the law.
        p_fits: probability that a step fits into memory; None where it is not known.
    """
    regret = _regret(estimate, chain, level) if chosen else None
    money = chain.rates.price is not None
    usd = chain.log_cost("usd") if money else None
    reserve = None if usd is None else _at(usd, sure)
    if reserve is not None and not np.isfinite(reserve):
        reserve = None
    return Risk(
        sure=sure,
        odds=_odds(chain, wishes, p_fits),
        shares=_shares(chain),
        regret=regret,
        reserve_usd=reserve,
        measurements=() if reserve is None else _measurements(chain, reserve, sure, regret),
    )


def _odds(chain: Chain, wishes: Mapping[str, float], p_fits: float | None) -> dict[str, float]:
    found, size = {}, len(chain.loss)
    for name, most in wishes.items():
        if name == "loss":
            found[name] = float(np.mean(chain.loss > most))
        elif name != "usd" or chain.rates.price is not None:
            # What was planned to the last digit does not miss by a rounding error.
            found[name] = float(np.mean(chain.log_cost(name) > np.log(most) + 1e-9))
    if chain.log_wanted is not None:
        found["score"] = float(np.mean(np.log(chain.loss) > np.resize(chain.log_wanted, size)))
        found.pop("loss", None)
    if p_fits is not None:
        found["memory"] = 1 - p_fits
    return found


def _shares(chain: Chain) -> dict[str, dict[str, float]]:
    """Squared widths of 90 % intervals by source: variances, were all normal."""
    law, noise = _spread(np.log(chain.mean_loss)), 0.0
    noise = max(0.0, _spread(np.log(chain.loss)) - law)
    found = {"n_params": {"law": _spread(chain.solution.log_params_draws)}}
    found["loss"] = {"law": law, "noise": noise}
    needed = _spread(chain.log_flops)
    compute = {"law and noise": needed}
    if chain.quiet_flops is not None:
        law_alone = min(needed, _spread(chain.quiet_flops))
        compute = {"law": law_alone, "noise": needed - law_alone}
    sources = {name: _spread(draws) for name, draws in chain.rates.deviations.items()}
    price = sources.pop("price", 0.0)
    found["days"] = {**compute, **sources}
    if chain.rates.price is not None:
        found["usd"] = {**compute, **sources, "price": price}
    return {name: shares for name, parts in found.items() if (shares := _normed(parts))}


def _normed(parts: Mapping[str, float]) -> dict[str, float]:
    total = sum(parts.values())
    if total < 1e-18:
        return {}
    return {name: part / total for name, part in parts.items() if part > 0}


def _spread(draws: Array) -> float:
    """Squared width of the central 90 % [1]: unmoved by a few draws that reach nothing."""
    finite = draws[np.isfinite(draws)]
    if finite.size < 2:
        return 0.0
    low, high = np.quantile(finite, _WINDOW)
    return float(high - low) ** 2


def _regret(estimate: Estimate, chain: Chain, level: float) -> Regret:
    """Every draw's loss at the planned run, beside its lowest at that compute."""
    frontier = frontier_of_draws(estimate)
    solution = chain.solution
    here = np.full((len(frontier), 1), solution.log_params)
    there = np.full((len(frontier), 1), solution.log_tokens)
    loss = loss_of_draws(estimate)(here, there)[:, 0]
    compute = np.full(len(frontier), solution.log_flops)
    best = np.minimum(frontier.loss(compute), loss)
    enough = np.minimum(frontier.log_flops_of_loss(loss), compute)
    return Regret(
        loss=_share(loss / best - 1, level), flops=_share(-np.expm1(enough - compute), level)
    )


def _share(draws: Array, level: float) -> Interval:
    """Mean of a share that is never negative, and its interval."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    mean = float(np.mean(draws))
    return Interval(value=mean, low=min(float(low), mean), high=max(float(high), mean), level=level)


def _measurements(
    chain: Chain, reserve: float, sure: float, regret: Regret | None
) -> tuple[Measurement, ...]:
    """What the reserve would be on average, were one source known."""
    rates = chain.rates
    found = []
    if rates.deviations["mfu"].any() and not rates.deviations["goodput"].any():
        saves = reserve - _with_timed_step(chain, sure)
        found.append(
            Measurement(
                name="step_time",
                saves_usd=saves,
                text="Time fifty steps of the planned model on the devices (step_mfu): then only "
                "restarts are unknown.",
            )
        )
    if rates.deviations["price"].any():
        factor = rates.deviations["price"]
        saves = reserve - _mean(factor) * _at(chain.log_cost("usd", "price"), sure)
        found.append(Measurement(name="price", saves_usd=saves, text="Get a quote (price)."))
    waste = 0.0 if regret is None else regret.flops.value
    saves = waste * float(np.exp(np.median(chain.log_cost("usd"))))
    spread = chain.log_flops - chain.solution.log_flops
    if np.ptp(spread[np.isfinite(spread)]) > 0:
        rest = chain.solution.log_flops + rates.log_draws("usd")
        saves += max(0.0, reserve - _mean(spread[np.isfinite(spread)]) * _at(rest, sure))
    text = "Know the law: no pilot can be worth more than this."
    found.append(Measurement(name="law", saves_usd=saves, text=text))
    kept = [one for one in found if np.isfinite(one.saves_usd) and one.saves_usd > 0]
    return tuple(sorted(kept, key=lambda one: -one.saves_usd))


def _with_timed_step(chain: Chain, sure: float) -> float:
    """The average reserve once a step is timed: 3 % and goodput are left of the doubt."""
    size = len(chain.log_flops)
    rng = np.random.default_rng(_SEED)
    left = STEP_ERROR * rng.standard_normal(size) - np.log(sample_goodput(rng, size))
    left = left - np.log(np.mean(np.exp(left)))
    prior = chain.rates.deviations["mfu"]
    return _mean(prior) * _at(chain.log_cost("usd", "mfu") + left, sure)


def _mean(log_draws: Array) -> float:
    return float(np.mean(np.exp(log_draws)))


def _at(log_draws: Array, sure: float) -> float:
    """The value that the share `sure` of draws stays within."""
    ranked = np.sort(log_draws)
    last = ranked[int(np.ceil(sure * (len(ranked) - 1)))]
    return interval(float(last), np.array([last]), 0.5).high
