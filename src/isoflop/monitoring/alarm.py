"""`Alarm`: a test of the curve against its forecast that may be looked at after every point.

Under the forecast a healthy run's deviations are Student-t with a known covariance, so that what
each point adds to its past (its innovation) has a known law. Against it stand many ways to leave
it: a change at any of `CHANGE_TIMES`, as a jump, a slope or a spike that dies away, or an offset
from the start beyond what the law errs by. The likelihood ratio of each, its size averaged over a
prior, is one bet; the mean of the bets is a martingale that starts at one, and by Ville's
inequality it ever reaches 1/level in at most that share of healthy runs, however often one looks.

Source: Ville 1939; Robbins 1970, Ann. Math. Stat. 41, 1397 (mixtures); Ramdas et al. 2023,
Stat. Sci. 38, 576, arXiv:2210.01948 (game-theoretic statistics). The ratio of two Student-t laws
of one scale is Lai 1976, Ann. Stat. 4, 265.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

from isoflop._errors import InputError
from isoflop._types import Array
from isoflop.monitoring.band import Band, Seen

Shape = Literal["offset", "jump", "slope", "spike"]

SIZES = (3.0, 12.0)
"""Typical sizes of a change, in standard deviations of the run's own noise: small and large."""

SHARES: dict[Shape, float] = {"offset": 0.1, "jump": 0.4, "slope": 0.35, "spike": 0.15}
"""What is staked on every shape; they add up to one."""

CHANGES: tuple[Shape, ...] = ("jump", "slope", "spike")

OFFSET_SIZE = 2.0
"""Size of an offset from the start, in standard deviations of the law's error at the run."""

SPIKE_LENGTH = 0.03
"""Tokens over which a spike falls to 1/e, as a share of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What the curve did: its likeliest shape, when it began and how large it is by now."""

    shape: Shape
    since: float
    """Tokens at which it began; the run's first judged point for an offset."""
    size: float
    """Relative loss above (or below) the forecast by now, with the run's own level taken off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """The evidence against the forecast along the run, and whether it ever was enough."""

    level: float
    log_evidence: Array
    """Natural log of the martingale after every judged point (R,)."""
    n_tokens: Array
    change: Change | None
    """None where the run never left its forecast."""
    rung_at: float | None
    """Tokens of the point at which it rang, for good."""

    @property
    def evidence(self) -> float:
        """The largest value so far: the alarm rings from 1/level on."""
        return float(np.exp(min(self.log_evidence.max(initial=0.0), 700.0)))

    @property
    def rings(self) -> bool:
        """Whether the run has left its forecast at the stated level."""
        return self.rung_at is not None


class Bets(NamedTuple):
    """Alternatives (C,): their shape, first point changed, typical size and share of the stake."""

    shape: tuple[Shape, ...]
    since: Array
    """Tokens."""
    size: Array
    stake: Array


def watch(band: Band, seen: Seen, level: float = 0.05) -> Alarm:
    """Test the points seen so far; `level` bounds false alarms over the whole run.

    Raises:
        InputError: `0 < level < 1` does not hold.
    """
    if not 0 < level < 1:
        raise InputError(f"`0 < level < 1` must hold, but got level={level}. Use e.g. 0.05.")
    if not seen.n_tokens.size:
        return Alarm(
            level=level, log_evidence=np.zeros(0), n_tokens=np.zeros(0), change=None, rung_at=None
        )
    bets = bets_of(band, seen.n_tokens)
    innovation, factor = band.innovations(seen)
    form = forms(bets, band, seen.n_tokens)
    whitened = solve_triangular(factor, form, lower=True)
    cross = np.cumsum(whitened * innovation[:, None], axis=0)
    power = np.cumsum(whitened**2, axis=0)
    logs = _log_ratios(cross, power, np.cumsum(innovation**2), bets.size, band.noise.freedom)
    # Changes that lie beyond the last point are staked on, too: each such bet stands at one.
    ahead = np.full((logs.shape[0], 1), np.log(max(1.0 - float(bets.stake.sum()), 1e-300)))
    weighed = np.concatenate([logs + np.log(bets.stake), ahead], axis=1)
    evidence = np.asarray(logsumexp(weighed, axis=1))
    over = np.flatnonzero(evidence >= -np.log(level))
    change = None
    if over.size:
        # The whole curve up to now tells best what it was; that it was something is settled.
        change = _likeliest(bets, logs[-1], cross[-1], power[-1], form[-1])
    return Alarm(
        level=level,
        log_evidence=evidence,
        n_tokens=seen.n_tokens,
        change=change,
        rung_at=float(seen.n_tokens[over[0]]) if over.size else None,
    )


def bets_of(band: Band, at: Array) -> Bets:
    """The alternatives at points (R,): none depends on a loss, nor its stake on later points.

    A change falls between two points with the share of the planned run that lies between them,
    half by tokens and half by log tokens.
    """
    error = float(np.sqrt(band.covariance(np.array([band.end]))[0, 0]))
    passed = _share(at, band.first, band.end) + _share(np.log(at), *np.log([band.first, band.end]))
    between = np.diff(passed / 2, prepend=0.0)
    # Points at one token count: the change lies before the first of them.
    likely = between > 0
    begins, between = at[likely], between[likely]
    shape: list[Shape] = ["offset"]
    since, size, stake = [at[:1]], [np.array([OFFSET_SIZE * error])], [np.array([SHARES["offset"]])]
    for name in CHANGES:
        for scale in SIZES:
            shape += [name] * begins.size
            since.append(begins)
            size.append(np.full(begins.size, scale * band.noise.local))
            stake.append(SHARES[name] / len(SIZES) * between)
    return Bets(tuple(shape), *map(np.concatenate, (since, size, stake)))


def _share(value: Array, first: float, end: float) -> Array:
    return np.asarray(np.clip((value - first) / (end - first), 0.0, 1.0))


def forms(bets: Bets, band: Band, at: Array) -> Array:
    """Every alternative's course (R, C), of size one: 0 before its beginning."""
    after = at[:, None] >= bets.since[None]
    shape = np.array(bets.shape)
    age = np.maximum(at[:, None] - bets.since[None], 0.0) / band.end
    spike = np.exp(-age / SPIKE_LENGTH)
    # A slope grows by its size every tenth of the run.
    course = np.where(shape == "slope", 10 * age, np.where(shape == "spike", spike, 1.0))
    return np.where(after, course, 0.0)


def _log_ratios(cross: Array, power: Array, squares: Array, size: Array, freedom: float) -> Array:
    """Log likelihood ratios (R, C) of Student-t laws, the change's size averaged over a normal.

    With S = sum of squared innovations, b = cross, a = power and s = size, after n points:
    -ln(1 + s^2 a)/2 + (v + n)/2 * ln((v + S)/(v + S - s^2 b^2/(1 + s^2 a))).
    """
    more = 1 + size**2 * power
    explained = size**2 * cross**2 / more
    total = (freedom + squares)[:, None]
    n = np.arange(1, squares.size + 1)[:, None]
    left = np.maximum(total - explained, 1e-300)
    return np.asarray((freedom + n) / 2 * np.log(total / left) - np.log(more) / 2)


def _likeliest(bets: Bets, logs: Array, cross: Array, power: Array, form: Array) -> Change:
    best = int(np.argmax(logs + np.log(bets.stake)))
    shrink = bets.size[best] ** 2 / (1 + bets.size[best] ** 2 * power[best])
    return Change(
        shape=bets.shape[best],
        since=float(bets.since[best]),
        size=float(np.expm1(shrink * cross[best] * form[best])),
    )
