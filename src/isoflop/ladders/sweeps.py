"""The sweeps of `[tune]`: learning rates and batches at the corners of the ladder."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from isoflop._errors import StudyError
from isoflop.ladders.rates import LEAST_COOLDOWN, Rate, RateRule, batch_unit
from isoflop.ladders.rungs import FLOPS_PER_PARAM_TOKEN, Rung
from isoflop.specs import StudyConfig

SIDE_RATES = 3
"""Learning rates at batches other than train.batch_tokens."""

BRACKET = 1.6
"""Factor of the top rung's two extra rates, below and above the law's."""

REACH = 4
"""Steps of the batch that further rounds may go beyond the first. Not `tune.rounds`: horizons are
whole in the largest batch, and runs that are done must stay the same when rounds are added."""

LEAST_CELLS = 4
"""(N, D) pairs that `fit_lr_batch` needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corners:
    """Where the sweeps are made: rungs crossed with horizons."""

    rungs: tuple[Rung, ...]
    horizons: tuple[int, ...]


def choose_corners(config: StudyConfig, rungs: Sequence[Rung], rule: RateRule) -> Corners:
    """The smallest rung and the largest affordable one, the shortest horizon and the longest.

    Affordable: all trunks and branches of the sweeps cost at most tune.max_share of the pilots'
    own compute. Of those the pair with the largest lever ln(N/N0) · ln(D/D0); a horizon between
    is added, since a branch is cheap. A ladder of one size is swept at four horizons.

    Raises:
        StudyError: nothing is affordable, or there are too few horizons.
    """
    assert config.tune is not None
    ordered = sorted(rungs, key=lambda rung: rung.n_params)
    horizons = sorted({t for rung in rungs for t in rung.horizons})
    budget = config.tune.max_share * sum(_own_flops(config, rung) for rung in rungs)
    alone = len(ordered) == 1
    best: tuple[float, Corners] | None = None
    cheapest = float("inf")
    for large, last in product(ordered[0:1] if alone else ordered[1:], range(1, len(horizons))):
        corners = Corners(
            rungs=(large,) if alone else (ordered[0], large),
            horizons=_between(horizons[: last + 1], 4 if alone else 3),
        )
        if len(corners.rungs) * len(corners.horizons) < LEAST_CELLS:
            continue
        cost = _sweep_flops(config, corners, rule)
        cheapest = min(cheapest, cost)
        reach = 1.0 if alone else float(np.log(large.n_params / ordered[0].n_params))
        lever = reach * float(np.log(horizons[last] / horizons[0]))
        if cost <= budget and (best is None or lever > best[0]):
            best = (lever, corners)
    if best is not None:
        return best[1]
    if not np.isfinite(cheapest):
        raise StudyError(
            f"tune: {len(ordered)} sizes and {len(horizons)} horizons have no four corners. Give "
            "the ladder two sizes and two horizons, or remove [tune]."
        )
    raise StudyError(
        f"tune.max_share = {config.tune.max_share}: `max_share >= "
        f"{cheapest * config.tune.max_share / budget:.3g}` must hold for the cheapest sweeps. "
        "Raise it, sweep fewer rates, or add longer pilots."
    )


def swept_rates(config: StudyConfig, center: Rate) -> list[Rate]:
    """Rates of one corner: n_lr at the batch of [train], three at one batch below and one above."""
    tune = config.tune
    assert tune is not None
    rates = []
    for batch in swept_batches(config):
        count = tune.n_lr if batch == center.batch_tokens else SIDE_RATES
        places = range(-(count // 2), count // 2 + 1)
        rates += [rate_at(center, tune.lr_step, batch, place) for place in places]
    return rates


def rate_at(center: Rate, lr_step: float, batch_tokens: int, place: int) -> Rate:
    """The rate `place` steps above the middle of a batch, which moves with sqrt(B).

    As Adam's best rate does. All rounds of a sweep lie on this one lattice: none trains a point
    that another has trained.
    """
    middle = center.lr * (batch_tokens / center.batch_tokens) ** 0.5
    factor = lr_step**place
    return Rate(float(f"{middle * factor:.6g}"), batch_tokens)


def swept_batches(config: StudyConfig) -> tuple[int, ...]:
    """One batch below train.batch_tokens and one above; two above where none below is whole."""
    tune, batch = config.tune, config.train.batch_tokens
    assert tune is not None
    unit = batch_unit(config)
    if batch % (tune.batch_step * unit) == 0:
        return batch // tune.batch_step, batch, batch * tune.batch_step
    return batch, batch * tune.batch_step, batch * tune.batch_step**2


def reachable_batches(config: StudyConfig, horizons: Sequence[int]) -> tuple[int, ...]:
    """Every batch that some round may sweep, ascending; no rung takes one beyond them.

    `REACH` steps either way of the first round's: downwards while batches are whole in contexts
    and micro-batches; upwards while the shortest cooldown has `LEAST_COOLDOWN` batches and the
    horizons, whole in the largest, stay apart. The first round's alone where tune.batch is off.
    """
    tune, found = config.tune, list(swept_batches(config))
    assert tune is not None
    if not tune.batch:
        return tuple(found)
    step, unit = tune.batch_step, batch_unit(config)
    for _ in range(REACH):
        if found[0] % (step * unit) == 0:
            found.insert(0, found[0] // step)
    for _ in range(REACH):
        wider = found[-1] * step
        cut = _cut(horizons, wider)
        cooldown = config.train.cooldown_fraction * cut[0]
        if LEAST_COOLDOWN * wider > cooldown or len(set(cut)) < len(cut):
            break
        found.append(wider)
    return tuple(found)


def whole_horizons(config: StudyConfig, horizons: Sequence[int]) -> tuple[int, ...]:
    """Horizons that are whole in every batch of every round, so that a cell has one D.

    Raises:
        StudyError: two of them come out alike, or one is shorter than a batch.
    """
    unit = reachable_batches(config, horizons)[-1]
    found = _cut(horizons, unit)
    if found[0] == 0 or len(set(found)) < len(found):
        raise StudyError(
            f"tune.batch_step: horizons {list(horizons)} of the ladder are too short or too alike "
            f"for batches of {unit} tokens. Lower batch_step, or lengthen the shortest pilots."
        )
    return found


def bracket_rates(top: Rate) -> list[Rate]:
    """The top rung's rate with one a factor `BRACKET` below and one above."""
    return [Rate(float(f"{top.lr * BRACKET**k:.6g}"), top.batch_tokens) for k in (-1, 1)]


def _sweep_flops(config: StudyConfig, corners: Corners, rule: RateRule) -> float:
    tokens = _tokens(config, corners.horizons)
    return sum(
        len(swept_rates(config, rule(rung.shape, rung.horizons)))
        * (FLOPS_PER_PARAM_TOKEN * rung.n_params * tokens)
        for rung in corners.rungs
    )


def _own_flops(config: StudyConfig, rung: Rung) -> float:
    """What a rung costs."""
    return FLOPS_PER_PARAM_TOKEN * rung.n_params * _tokens(config, rung.horizons)


def _cut(horizons: Sequence[int], unit: int) -> tuple[int, ...]:
    return tuple(horizon // unit * unit for horizon in horizons)


def _tokens(config: StudyConfig, horizons: Sequence[int]) -> float:
    """Tokens trained to reach horizons: one trunk and every branch's cooldown, or every cosine."""
    share = config.train.cooldown_fraction if config.train.schedule == "wsd" else 1.0
    return (1 - share) * horizons[-1] + share * sum(horizons)


def _between(horizons: Sequence[int], count: int) -> tuple[int, ...]:
    """At most `count` of ascending horizons, ends included, as even in ln D as they allow."""
    wanted = np.geomspace(horizons[0], horizons[-1], count)
    logs = np.log(np.array(horizons, dtype=np.float64))
    places = {int(np.argmin(np.abs(logs - np.log(one)))) for one in wanted}
    return tuple(horizons[place] for place in sorted(places))
