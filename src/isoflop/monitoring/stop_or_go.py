"""Stop or go: what more tokens would bring a run, a dollar and a token, against a larger model.

The same further compute can go into the run (same size, more tokens) or into a new model that
starts from nothing. Both are drawn from one estimate, row by row with the same parameters: the
run's own level stays with it, a new run has noise of its own. LLaMA 7B is the known case: it still
gained at 1T tokens, seven times its compute-optimal tokens (Touvron et al. 2023,
arXiv:2302.13971, sec. 2.3 and figure 1).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from isoflop._errors import InputError
from isoflop._types import LEVEL, Array, Interval, Problem, as_column
from isoflop.accounting import FLOPS_PER_PARAM_TOKEN, Accelerator, cost_usd, device_hours
from isoflop.laws import Estimate, best_split
from isoflop.laws.estimate import SPREAD_FREEDOM

DRAWS = 4000
SEED = 0
SLOPE_SHARE = 0.02
"""Share of the tokens over which the marginal gain is taken."""

Advice = Literal["go_on", "larger_model", "stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to spend the further compute."""

    n_params: float
    n_tokens: float
    """Of the whole run at its end."""
    flops: float
    """The further compute."""
    loss: Interval
    perplexity: Interval
    gain: Interval
    """Loss of the run as it is less the loss of this way [nats/token]."""
    usd: tuple[float, float] | None
    """What it costs, from the low to the high price; None where no price is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopOrGo:
    """The marginal gain of going on, both ways to spend more, and what to do, with its odds."""

    now: Interval
    """Loss of the run if it is ended here, its rate cooled down [nats/token]."""
    gain_per_token: Interval
    """-dL/dD here [nats/token per token]."""
    gain_per_doubling: Interval
    """L(N, D) - L(N, 2 D) [nats/token]."""
    gain_per_usd: tuple[float, float] | None
    """-dL/dUSD here [nats/token per USD], at the high and the low price."""
    go_on: Way
    larger: Way
    odds: Mapping[str, float]
    """`go_on`: that going on beats the larger model; `worth_it`: that the better of them gains at
    least `least_gain`."""
    least_gain: float
    advice: Advice
    text: str
    problems: tuple[Problem, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and strings."""
        return asdict(self)


def stop_or_go(
    estimate: Estimate,
    n_params: float,
    n_tokens: float,
    *,
    flops: float | None = None,
    loss: float | None = None,
    least_gain: float | None = None,
    price: tuple[Accelerator, float] | None = None,
    seed: int = SEED,
) -> StopOrGo:
    """Whether a run of size N [parameters] at D [tokens] should go on.

    Args:
        estimate: a law of size and tokens: of a study's fit, or published.
        n_params: size, counted as the estimate counts.
        n_tokens: tokens seen.
        flops: further compute to spend either way; where None as much as was spent, 6 N D.
        loss: the run's measured final or forecast final loss here [nats/token]; its distance from
            the law then stays with it. None: the law's.
        least_gain: a smaller gain is not worth the compute [nats/token]; where None what another
            seed would change, `estimate.sigma` of the loss.
        price: the accelerator and its MFU, to tell the dollars.
        seed: of the draws.

    Raises:
        InputError: a count, compute, loss or gain is not positive, or the law is another.
    """
    flops = FLOPS_PER_PARAM_TOKEN * n_params * n_tokens if flops is None else flops
    _positive(n_params=n_params, n_tokens=n_tokens, flops=flops, loss=loss, least_gain=least_gain)
    drawn = _draw(estimate, n_params, n_tokens, flops, loss, seed)
    here, on, new = drawn.here, drawn.on, drawn.new
    ways = {
        "go_on": _way(n_params, drawn.on_tokens, flops, here, on, price),
        "larger": _way(drawn.size, drawn.new_tokens, flops, here, new, price),
    }
    least = estimate.sigma * float(np.median(here)) if least_gain is None else least_gain
    slope = _interval((here - drawn.step) / (SLOPE_SHARE * n_tokens))
    return _decided(
        ways,
        odds={
            "go_on": float(np.mean(on < new)),
            "worth_it": float(np.mean(here - np.minimum(on, new) >= least)),
        },
        now=_interval(here),
        gain_per_token=slope,
        gain_per_doubling=_interval(here - drawn.double),
        gain_per_usd=_per_usd(slope.value, n_params, price),
        least_gain=least,
        problems=drawn.problems,
    )


def _decided(ways: dict[str, Way], *, odds: Mapping[str, float], **figures: Any) -> StopOrGo:
    """All of it with the advice that the odds give."""
    advice = _advice(odds)
    text = _text(advice, odds, ways, figures["least_gain"])
    go_on, larger = ways["go_on"], ways["larger"]
    return StopOrGo(go_on=go_on, larger=larger, odds=odds, advice=advice, text=text, **figures)


def metric_gain(n_tokens: ArrayLike, values: ArrayLike, level: float = LEVEL) -> Interval:
    """Change of any metric for each doubling of tokens over the last half of the run's points.

    The slope against log2 tokens by least squares, with its Student-t interval: perplexity, an
    accuracy, bits per byte. Rates that change along the run are in it; see the schedule.

    Raises:
        InputError: fewer than three points in the last half, or columns of two lengths.
    """
    at, value = as_column(n_tokens), as_column(values)
    if at.shape != value.shape:
        raise InputError(f"columns must be equally long, but got {at.size} and {value.size}.")
    keep = np.isfinite(value) & (at > 0)
    at, value = at[keep], value[keep]
    late = at >= (at.max(initial=0.0) / 2)
    if late.sum() < 3:
        raise InputError(
            f"three points must lie in the last half of the run, but got {int(late.sum())}. "
            "Evaluate it more often."
        )
    x = np.log2(at[late]) - np.log2(at[late]).mean()
    slope = float(x @ value[late] / (x @ x))
    left = value[late] - value[late].mean() - slope * x
    freedom = int(late.sum()) - 2
    error = float(np.sqrt(left @ left / freedom / (x @ x)))
    reach = float(stdtrit(freedom, (1 + level) / 2)) * error
    return Interval(value=slope, low=slope - reach, high=slope + reach, level=level)


class _Drawn(NamedTuple):
    """Losses (S,): here, gone on, of the new model, a little further, at twice the tokens."""

    here: Array
    on: Array
    new: Array
    step: Array
    double: Array
    on_tokens: float
    size: float
    new_tokens: float
    problems: tuple[Problem, ...]


def _draw(
    estimate: Estimate,
    n_params: float,
    n_tokens: float,
    flops: float,
    loss: float | None,
    seed: int,
) -> _Drawn:
    """Where both ways lead, row by row with the same parameters."""
    on_tokens = n_tokens + flops / (FLOPS_PER_PARAM_TOKEN * n_params)
    size = max(float(best_split(estimate, [flops]).n_params.mean[0]), n_params)
    new_tokens = flops / (FLOPS_PER_PARAM_TOKEN * size)
    further = [(1 + SLOPE_SHARE) * n_tokens, 2 * n_tokens]
    columns = {
        "n_params": np.array([n_params, n_params, size, n_params, n_params]),
        "n_tokens": np.array([n_tokens, on_tokens, new_tokens, *further]),
    }
    here, on, new, step, double = _losses(estimate, columns, loss, seed).T
    problems = estimate.predict(columns).problems
    return _Drawn(here, on, new, step, double, on_tokens, size, new_tokens, problems)


def _losses(
    estimate: Estimate, columns: Mapping[str, Array], loss: float | None, seed: int
) -> Array:
    """Losses (S, 5) at the five places, with the noise that each has."""
    logs = np.log(estimate.sample(columns, DRAWS, of="mean", seed=seed))
    rng = np.random.default_rng([seed, 1])
    own, other = estimate.sigma * rng.standard_normal((2, DRAWS))
    # How much more or less the law errs at each place than here, and a new run's own seed.
    beyond = estimate.spread * estimate.distance(columns) / estimate.spread_distance
    logs = logs + rng.standard_t(SPREAD_FREEDOM, DRAWS)[:, None] * beyond
    logs[:, 2] += other
    same_run = [0, 1, 3, 4]
    shift = own if loss is None else np.log(loss) - logs[:, 0]
    logs[:, same_run] += shift[:, None]
    return np.asarray(np.exp(logs))


def _way(
    n_params: float,
    n_tokens: float,
    flops: float,
    here: Array,
    there: Array,
    price: tuple[Accelerator, float] | None,
) -> Way:
    return Way(
        n_params=n_params,
        n_tokens=n_tokens,
        flops=flops,
        loss=_interval(there),
        perplexity=_interval(np.exp(there)),
        gain=_interval(here - there),
        usd=_usd(flops, price),
    )


def _usd(flops: float, price: tuple[Accelerator, float] | None) -> tuple[float, float] | None:
    """From the low to the high rent, at the MFU given."""
    if price is None:
        return None
    device, mfu = price
    return cost_usd(device_hours(flops, device, mfu), device)


def _per_usd(
    slope: float, n_params: float, price: tuple[Accelerator, float] | None
) -> tuple[float, float] | None:
    """Gain a dollar, at the high and the low price."""
    cost = _usd(FLOPS_PER_PARAM_TOKEN * n_params, price)
    return None if cost is None else (slope / cost[1], slope / cost[0])


def _advice(odds: Mapping[str, float]) -> Advice:
    if odds["worth_it"] < 0.5:
        return "stop"
    return "go_on" if odds["go_on"] >= 0.5 else "larger_model"


def _text(advice: Advice, odds: Mapping[str, float], ways: Mapping[str, Way], least: float) -> str:
    on, new = ways["go_on"], ways["larger"]
    if advice == "stop":
        return (
            f"stop: {100 * (1 - odds['worth_it']):.0f} % odds that {on.flops:.2g} FLOPs more gain "
            f"less than {least:.2g} nats either way"
        )
    if advice == "go_on":
        return (
            f"go on to {on.n_tokens:.3g} tokens: {100 * odds['go_on']:.0f} % odds that it beats a "
            f"new model of {new.n_params:.3g} parameters for the same compute"
        )
    return (
        f"start a model of {new.n_params:.3g} parameters on {new.n_tokens:.3g} tokens: "
        f"{100 * (1 - odds['go_on']):.0f} % odds that it beats going on for the same compute"
    )


def _interval(draws: Array) -> Interval:
    low, value, high = np.quantile(draws, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2]).tolist()
    return Interval(value=value, low=low, high=high)


def _positive(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not 0 < value < np.inf:
            raise InputError(f"`{name} > 0` must hold, but got {name}={value}. Give a number.")
