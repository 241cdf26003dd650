"""`Ahead`: what lies beyond the planned end, frozen with the forecast: go on, or a larger model.

Both ways spend the same further compute, along schedules like the run's own, by the law along a
run. Unlike `stop_or_go`, which asks an estimate of final losses, this knows the run's schedule, and
the curve so far moves it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

from isoflop._types import Array, Interval
from isoflop.accounting import FLOPS_PER_PARAM_TOKEN
from isoflop.fitting import CurveFit
from isoflop.laws import LrPath
from isoflop.monitoring.noise import CurveNoise
from isoflop.specs import Schedule

LONGER = 2.0
"""Tokens of the run that goes on, in those that were planned."""

SIZES = tuple(2 ** (k / 4) for k in range(13))
"""Sizes of a new model that are tried, in the run's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """Log losses at the planned end, gone on, and of a new model: means (3,), covariance (3, 3)."""

    flops: float
    """The further compute of either way."""
    on_tokens: float
    """Of the whole run gone on, from where its cooldown began."""
    new_params: float
    new_tokens: float
    log_loss: Array
    covariance: Array
    """Of the law at the three places; noise not in it."""

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Ahead":
        """What `to_plain` made of one; KeyError, TypeError or ValueError where it is none."""
        names = ("flops", "on_tokens", "new_params", "new_tokens")
        log_loss = np.array(data["log_loss"], dtype=np.float64).reshape(3)
        covariance = np.array(data["covariance"], dtype=np.float64).reshape(3, 3)
        plain = {name: float(data[name]) for name in names}
        return Ahead(**plain, log_loss=log_loss, covariance=covariance)


@dataclass(frozen=True, slots=True, kw_only=True)
class GoingOn:
    """What going on would bring, as the curve so far has it, against a new model."""

    gain: Interval
    """Loss at the planned end less that of the run gone on [nats/token]."""
    perplexity_gain: float
    gain_per_token: float
    """Over the further tokens [nats/token per token]."""
    loss: Interval
    new_loss: Interval
    odds: float
    """That going on ends below the new model."""
    ahead: Ahead

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        ahead = self.ahead
        intervals = {"gain": self.gain, "loss": self.loss, "new_loss": self.new_loss}
        return {
            **{k: {"value": v.value, "low": v.low, "high": v.high} for k, v in intervals.items()},
            "perplexity_gain": self.perplexity_gain,
            "gain_per_token": self.gain_per_token,
            "odds": self.odds,
            "flops": ahead.flops,
            "n_tokens": ahead.on_tokens,
            "new_n_params": ahead.new_params,
            "new_n_tokens": ahead.new_tokens,
        }


def look_ahead(fit: CurveFit, schedule: Schedule, lr: float, n_params: float) -> Ahead | None:
    """Both ways beyond a run's planned end; None for a cosine, which cannot go on from its end."""
    if schedule.kind != "wsd":
        return None
    end = float(schedule.n_tokens or 0)
    on_tokens = LONGER * end
    flops = FLOPS_PER_PARAM_TOKEN * n_params * (on_tokens - schedule.hold_tokens)
    found = [
        (size, tokens, _ends(fit, size, _path(schedule, lr, tokens)))
        for size in (n_params * ratio for ratio in SIZES)
        if (tokens := flops / (FLOPS_PER_PARAM_TOKEN * size)) > 2 * _least(fit, schedule)
    ]
    if not found:
        return None
    size, tokens, new = min(found, key=lambda one: float(one[2].mean()))
    own = [_ends(fit, n_params, _path(schedule, lr, at)) for at in (end, on_tokens)]
    samples = np.stack([*own, new], axis=1)
    beyond = np.array(
        [
            float(fit.distance(n, np.array([at]))[0])
            for n, at in ((n_params, end), (n_params, on_tokens), (size, tokens))
        ]
    )
    beyond = fit.spread * beyond / fit.spread_distance
    return Ahead(
        flops=flops,
        on_tokens=on_tokens,
        new_params=size,
        new_tokens=tokens,
        log_loss=samples.mean(axis=0),
        covariance=np.cov(samples.T) + np.outer(beyond, beyond),
    )


def going_on(ahead: Ahead, final: Interval, noise: CurveNoise) -> GoingOn:
    """The two ways, given the final loss as the curve so far forecasts it.

    With x the run's deviation from the law at its end, e the law's errors: gone on it deviates by
    x + e1 - e0 and a bend, a new run by e2 and noise of its own, and x tells of all three e.
    """
    means, covariance = ahead.log_loss, ahead.covariance
    prior = float(covariance[0, 0]) + noise.offset**2 + noise.smooth**2 + noise.local**2
    apart = np.array([[-1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    told = apart @ covariance[:, 0]
    rest = apart @ covariance @ apart.T - np.outer(told, told) / prior
    rest[0, 0] += _bend(noise) + noise.local**2
    rest[1, 1] += noise.offset**2 + noise.smooth**2 + noise.local**2
    slope = told / prior + np.array([1.0, 0.0])
    seen_sd = float(np.log(final.high / final.low)) / 2 / float(ndtri((1 + final.level) / 2))
    mean = means[1:] + slope * (np.log(final.value) - means[0])
    spread = rest + np.outer(slope, slope) * seen_sd**2
    reach = float(stdtrit(noise.freedom, (1 + final.level) / 2))
    change = mean[0] - np.log(final.value)
    change_sd = float(np.sqrt(rest[0, 0] + (slope[0] - 1) ** 2 * seen_sd**2))
    gain = [-final.value * float(np.expm1(change + k * reach * change_sd)) for k in (0, 1, -1)]
    apart_sd = float(np.sqrt(spread[0, 0] + spread[1, 1] - 2 * spread[0, 1]))
    sd = np.sqrt(np.diag(spread))
    return GoingOn(
        gain=Interval(value=gain[0], low=gain[1], high=gain[2], level=final.level),
        perplexity_gain=float(np.exp(final.value) - np.exp(final.value - gain[0])),
        gain_per_token=gain[0] / (ahead.on_tokens * (1 - 1 / LONGER)),
        loss=_interval(mean[0], reach * sd[0], final.level),
        new_loss=_interval(mean[1], reach * sd[1], final.level),
        odds=float(stdtr(noise.freedom, (mean[1] - mean[0]) / apart_sd)),
        ahead=ahead,
    )


def _bend(noise: CurveNoise) -> float:
    """Variance of what a slow bend changes between the planned end and the longer one."""
    far = np.sqrt(3) * np.log(LONGER) / noise.length
    return 2 * noise.smooth**2 * float(1 - (1 + far) * np.exp(-far))


def _path(schedule: Schedule, lr: float, n_tokens: float) -> LrPath:
    """The same schedule over another length, its cooldown in proportion."""
    end = round(n_tokens)
    share = schedule.cooldown_tokens / float(schedule.n_tokens or 1)
    longer = replace(schedule, n_tokens=end, cooldown_tokens=max(1, round(share * end)))
    return LrPath.of(longer, lr, end)


def _least(fit: CurveFit, schedule: Schedule) -> float:
    return max(fit.first_tokens, float(schedule.warmup_tokens))


def _ends(fit: CurveFit, size: float, path: LrPath) -> Array:
    """Log losses (S,) at the end of a path."""
    return fit.log_samples(path, size, at=path.n_tokens[-1:])[:, 0]


def _interval(mean: float, reach: float, level: float) -> Interval:
    value, low, high = np.exp([mean, mean - reach, mean + reach]).tolist()
    return Interval(value=value, low=low, high=high, level=level)
