"""`Demand`: what a model will serve; `Lifetime`: what training and serving it cost together."""

from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array, Interval
from isoflop.accounting import Spread
from isoflop.planning.prices import Prices, median_prices
from isoflop.planning.served import ServingCurve
from isoflop.planning.solve import Solution, interval

FORWARD = 2.0
"""FLOPs a parameter and token of inference: one multiply-add."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a model will serve, priced in FLOPs of training or by replicas that could be rented."""

    tokens: float
    """Tokens over its lifetime, prompt and answer."""
    flop_cost: float = 1.0
    """What a FLOP of inference costs, in FLOPs of training: MFU of training over that of serving,
    times the ratio of prices. A token takes 2·N of them."""
    curve: ServingCurve | None = None
    """USD a token against size; instead of `flop_cost`."""

    def __post_init__(self) -> None:
        for name in ("tokens", "flop_cost"):
            value = getattr(self, name)
            if not 0 < value < np.inf:
                key = "inference_tokens" if name == "tokens" else "inference_flop_cost"
                raise InputError(
                    f"`{key} > 0` must hold, but got {key}={value}. Leave it out for a model that "
                    "is not served."
                )
        if self.curve is not None and self.flop_cost != 1.0:
            raise InputError(
                f"inference_flop_cost={self.flop_cost:g} prices a served token, and so do the "
                "devices that serve it. Keep one of them."
            )

    def log_cost(self, log_n: Array, prices: Prices | None = None) -> Array:
        """ln of the training FLOPs (B, G) that serving costs at ln N (B, G); inf where none can.

        Args:
            log_n: sizes.
            prices: prices of every draw; those of a curve need them, FLOPs do not.
        """
        if self.curve is None:
            return np.asarray(np.log(FORWARD * self.flop_cost * self.tokens) + log_n)
        prices = median_prices(None) if prices is None else prices
        usd = self.curve.log_usd(log_n, prices.input_shift, prices.output_shift)
        return np.asarray(np.log(self.tokens) + usd - prices.log_usd_per_flop)


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """Training and serving in USD, doubt of law, speeds and prices in the intervals."""

    training: Interval
    serving: Interval
    total: Interval
    saving: float
    """USD saved beside the run of the same loss that is cheapest to train."""
    usd_per_million: Interval
    """Of a million served tokens at the planned size."""
    p_over: float | None = None
    """Of money given for both: odds that training and serving the planned run cost more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One server of a model of about the planned size, in round numbers."""

    hardware: str
    n_devices: int
    batch: int
    """Requests at once."""
    first_token_s: Interval
    """Time to first token [s]."""
    token_s: Interval
    """Time per output token [s]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """What a planned run costs to train and to serve, in FLOPs of training and in money."""

    inference_tokens: float
    inference_flop_cost: float
    inference: Interval
    total: Interval
    saving: float
    """Share of the total that is saved beside `compute_optimal`."""
    compute_optimal: tuple[float, float]
    """(N, D) of the run of the same loss that is cheapest to train, within the same caps."""
    money: Money | None = None
    """Where the price of training is known."""
    replica: Replica | None = None
    """Where devices serve."""


def lifetime_of(
    solution: Solution,
    demand: Demand,
    plain: tuple[float, float],
    level: float,
    *,
    prices: tuple[Prices, Prices],
    priced: bool,
    planned: bool = False,
    budget_usd: float | None = None,
) -> Lifetime:
    """What a solution costs.

    Args:
        solution: the planned run and its draws.
        demand: what it serves.
        plain: (ln N, ln D) of the run of its loss that is cheapest to train.
        level: of the intervals.
        prices: prices of the plan itself, and of its draws.
        priced: whether the price of training is known.
        planned: whether a budget pays for the run as it is planned, rather than each draw for the
            run that it takes for a loss.
        budget_usd: money for both.
    """
    middle, drawn = prices
    if planned:
        size = len(solution.log_params_draws)
        solution = replace(
            solution,
            log_params_draws=np.full(size, solution.log_params),
            log_flops_draws=np.full(size, solution.log_flops),
        )
    inference = _at(demand, solution.log_params, middle)
    sizes = solution.log_params_draws
    lost = ~np.isfinite(sizes)
    served = demand.log_cost(np.where(lost, solution.log_params, sizes)[:, None], drawn)[:, 0]
    served = np.where(lost, np.inf, served)
    total = float(np.logaddexp(solution.log_flops, inference))
    other_c = float(np.log(6.0)) + plain[0] + plain[1]
    other = float(np.logaddexp(other_c, _at(demand, plain[0], middle)))
    both = np.logaddexp(solution.log_flops_draws, served)
    found = Lifetime(
        inference_tokens=demand.tokens,
        inference_flop_cost=demand.flop_cost,
        inference=interval(inference, served, level),
        total=interval(total, both, level),
        saving=float(-np.expm1(total - other)),
        compute_optimal=(float(np.exp(plain[0])), float(np.exp(plain[1]))),
    )
    if demand.curve is not None:
        found = replace(found, replica=_replica(demand.curve, solution.log_params, level))
    if not priced:
        return found
    usd, usd_draws = middle.log_usd_per_flop[0, 0], drawn.log_usd_per_flop[:, 0]
    money = Money(
        training=interval(solution.log_flops + usd, solution.log_flops_draws + usd_draws, level),
        serving=interval(inference + usd, served + usd_draws, level),
        total=interval(total + usd, both + usd_draws, level),
        saving=float(np.exp(other + usd) - np.exp(total + usd)),
        usd_per_million=_per_million(demand, solution.log_params, prices, level),
        p_over=None
        if budget_usd is None
        else float(np.mean(both + usd_draws > np.log(budget_usd) + 1e-9)),
    )
    return replace(found, money=money)


def _at(demand: Demand, log_n: float, prices: Prices) -> float:
    return float(demand.log_cost(np.array([[log_n]]), prices)[0, 0])


def _per_million(
    demand: Demand, log_n: float, prices: tuple[Prices, Prices], level: float
) -> Interval:
    """USD of a million tokens at the planned size."""
    shift = np.log(1e6) - np.log(demand.tokens)
    middle, drawn = prices
    value = _at(demand, log_n, middle) + float(middle.log_usd_per_flop[0, 0])
    draws = (demand.log_cost(np.full((len(drawn), 1), log_n), drawn) + drawn.log_usd_per_flop)[:, 0]
    return interval(value + shift, draws + shift, level)


def _replica(curve: ServingCurve, log_n: float, level: float) -> Replica:
    cost = curve.replica(log_n)
    return Replica(
        hardware=curve.wish.accelerator.name,
        n_devices=cost.n_devices,
        batch=cost.batch,
        first_token_s=_interval(cost.first_token_s, level),
        token_s=_interval(cost.token_s, level),
    )


def _interval(spread: Spread, level: float) -> Interval:
    z = NormalDist().inv_cdf((1 + level) / 2)
    low, high = float(spread.at(-z)), float(spread.at(z))
    return Interval(value=spread.median, low=low, high=high, level=level)
