"""`hardware_options`: which accelerators, and how many: days against money."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from isoflop._errors import InputError
from isoflop._types import LEVEL, Array, Interval, Problem
from isoflop.accounting import (
    ACCELERATORS,
    Accelerator,
    Architecture,
    Layout,
    RunSetting,
    find_accelerator,
    sample_mfu,
    sample_price,
    token_flops,
)
from isoflop.planning.cluster import (
    NODE,
    Cluster,
    beside_usual,
    most_devices,
    usual_cluster,
)

SURE = 0.9
"""Odds with which a limit is to be kept."""
YEAR = 2026.9
"""When a plan's run starts; the prior of MFU knows no later runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareOption:
    """A number of devices of one kind for a training, with medians, intervals and odds."""

    accelerator: str
    n_devices: int
    days: Interval
    device_hours: Interval
    usd: Interval | None
    """Rent; None where no price is known."""
    days_sure: float
    """Days that are not exceeded with the odds asked for."""
    hours_sure: float
    usd_sure: float | None
    p_days: float | None
    """Odds of meeting the deadline; None without one."""
    p_usd: float | None
    """Odds of keeping within the money; None without a limit, 0 without a price."""
    p_met: float
    """Odds of meeting both."""
    p_fits: float
    """Odds that a step fits into the memory, with `layout`."""
    layout: Layout
    kept: float
    """Share of the speed left, beside published runs, after interruptions, communication and
    recomputation."""
    on_front: bool = False
    """Whether no other that fits is at once as fast and as cheap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareChoice:
    """Every option, and the best one under the limits."""

    options: tuple[HardwareOption, ...]
    best: HardwareOption | None
    """The cheapest that keeps every limit with odds of `sure`; the fastest where money is the
    only limit. None where none does: `problems` says why."""
    sure: float
    max_days: float | None
    max_usd: float | None
    left_out: tuple[str, ...] = ()
    """What was not tried, and why."""
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limits:
    max_days: float | None
    max_usd: float | None
    sure: float
    level: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """The training itself, whatever it runs on."""

    flops: Array
    year: float
    seed: int

    def hours(self, accelerator: Accelerator, cluster: Cluster, kept: float) -> Array:
        """Device-hours (B,); equal seeds give every option the same luck."""
        setting = RunSetting(
            bf16_tflops=accelerator.bf16_tflops,
            flops_per_token=token_flops(cluster.model, cluster.context),
            year=self.year,
            n_devices=cluster.n_devices,
            moe=cluster.model.experts is not None,
        )
        mfu = sample_mfu(np.random.default_rng([self.seed, 0]), len(self.flops), setting)
        return self.flops / (accelerator.bf16_tflops * 1e12 * mfu * kept * 3600.0)

    def price(self, accelerator: Accelerator) -> Array:
        """Rents [USD/device-hour] (B,)."""
        return sample_price(np.random.default_rng([self.seed, 1]), len(self.flops), accelerator)


def hardware_options(
    flops: Array,
    model: Architecture,
    *,
    context: int,
    batch_tokens: float,
    accelerators: Sequence[str | Accelerator] = ACCELERATORS,
    n_devices: Sequence[int] | None = None,
    max_days: float | None = None,
    max_usd: float | None = None,
    sure: float = SURE,
    year: float = YEAR,
    level: float = LEVEL,
    seed: int = 0,
) -> HardwareChoice:
    """Days and money of a training on every accelerator and number of devices, with odds.

    Days = FLOPs / (n · peak · MFU · kept · 86400). MFU and price are drawn with the same luck for
    every option, so that differences are not noise; `kept` is what is lost beside the published
    runs behind the MFU (see `cluster`).

    Args:
        flops: draws (B,) of the exact training FLOPs, recomputation not counted; inf where never.
        model: what is trained.
        context: tokens of a sequence.
        batch_tokens: tokens of a step; it bounds how many devices can share it.
        accelerators: names, or accelerators of your own.
        n_devices: numbers to try; None: powers of two, as many as the batch allows.
        max_days: deadline.
        max_usd: rent to spend [USD].
        sure: odds with which limits are to be kept, and with which the model is to fit.
        year: when it runs; software grows better on the same hardware.
        level: level of the intervals.
        seed: the same seed gives the same numbers.

    Raises:
        InputError: an impossible number, an unknown accelerator, no price where money is the
            limit, or no number of devices that divides model and batch.
    """
    limits = _Limits(max_days=max_days, max_usd=max_usd, sure=sure, level=level)
    _check(flops, context, batch_tokens, n_devices, limits)
    chosen = [find_accelerator(one) if isinstance(one, str) else one for one in accelerators]
    _check_prices(chosen, max_usd)
    counts = _counts(n_devices, batch_tokens / context)
    clusters, left_out = _clusters(counts, model, context, batch_tokens)
    usual = usual_cluster(model, context, batch_tokens)
    run = _Run(flops=np.asarray(flops, dtype=np.float64), year=year, seed=seed)
    options = []
    for accelerator in chosen:
        share = usual.spread(_linked(accelerator), sure).share
        options += [
            _option(run, one, accelerator, share, limits)
            for one in clusters
            if one.n_devices <= most_devices(accelerator)
        ]
    lonely = [one.name for one in chosen if most_devices(one) < max(counts)]
    if lonely:
        left_out.append(f"More than a node of {', '.join(lonely)}: no link to others is known.")
    if not options:
        raise InputError(" ".join(left_out) or "no accelerator was given. Name one.")
    return _choice(_with_front(options, sure), limits, tuple(left_out))


def _option(
    run: _Run, cluster: Cluster, accelerator: Accelerator, usual_share: float, limits: _Limits
) -> HardwareOption:
    spread = cluster.spread(accelerator, limits.sure)
    kept = beside_usual(cluster.n_devices) * min(1.0, spread.share / usual_share)
    hours = run.hours(accelerator, cluster, kept)
    days = hours / (24.0 * cluster.n_devices)
    usd = None if accelerator.price_low is None else hours * run.price(accelerator)
    in_time = days <= (inf if limits.max_days is None else limits.max_days)
    in_money = np.ones(len(days), dtype=bool)
    if limits.max_usd is not None:
        in_money = np.zeros(len(days), dtype=bool) if usd is None else usd <= limits.max_usd
    return HardwareOption(
        accelerator=accelerator.name,
        n_devices=cluster.n_devices,
        days=_interval(days, limits.level),
        device_hours=_interval(hours, limits.level),
        usd=None if usd is None else _interval(usd, limits.level),
        days_sure=_quantile(days, limits.sure),
        hours_sure=_quantile(hours, limits.sure),
        usd_sure=None if usd is None else _quantile(usd, limits.sure),
        p_days=None if limits.max_days is None else float(in_time.mean()),
        p_usd=None if limits.max_usd is None else float(in_money.mean()),
        p_met=float((in_time & in_money).mean()),
        p_fits=spread.memory.p_fits(accelerator.memory_gb),
        layout=spread.layout,
        kept=kept,
    )


def _with_front(options: Sequence[HardwareOption], sure: float) -> tuple[HardwareOption, ...]:
    """The options, with those marked that no other one that fits beats in days and money."""
    priced = [one for one in options if one.usd_sure is not None and one.p_fits >= sure]
    front: set[tuple[str, int]] = set()
    least = inf
    # From the fastest on, each must be cheaper than all that are faster.
    for one in sorted(priced, key=lambda one: (one.days_sure, one.usd_sure)):
        assert one.usd_sure is not None
        if one.usd_sure < least and one.days_sure < inf:
            least = one.usd_sure
            front.add((one.accelerator, one.n_devices))
    return tuple(
        replace(one, on_front=(one.accelerator, one.n_devices) in front) for one in options
    )


def _choice(
    options: tuple[HardwareOption, ...], limits: _Limits, left_out: tuple[str, ...]
) -> HardwareChoice:
    fitting = [one for one in options if one.p_fits >= limits.sure]
    good = [one for one in fitting if one.p_met >= limits.sure and one.days_sure < inf]
    only_money = limits.max_usd is not None and limits.max_days is None
    best = min(good, key=_fastest if only_money else _cheapest, default=None)
    return HardwareChoice(
        options=options,
        best=best,
        sure=limits.sure,
        max_days=limits.max_days,
        max_usd=limits.max_usd,
        left_out=left_out,
        problems=() if best is not None else (_impossible(options, fitting, limits),),
    )


def _cheapest(one: HardwareOption) -> tuple[float, float]:
    """What is least for money; without a price, device-hours, after all that have one."""
    return (inf if one.usd_sure is None else one.usd_sure, one.hours_sure)


def _fastest(one: HardwareOption) -> tuple[float, float]:
    return (one.days_sure, *_cheapest(one)[:1])


def _impossible(
    options: Sequence[HardwareOption], fitting: Sequence[HardwareOption], limits: _Limits
) -> Problem:
    """The limit that binds, and the option that comes nearest to it."""
    odds = f"{100 * limits.sure:g} %"
    if not fitting:
        near = max(options, key=lambda one: (one.p_fits, one.n_devices))
        text = (
            f"No option holds the model with odds of {odds}: the roomiest, {_name(near)}, does so "
            f"with {100 * near.p_fits:.0f} %."
        )
        remedy = "Take more devices, more memory each, or a smaller model."
    else:
        texts, remedy = [], "Allow more, or plan a smaller run."
        fast, cheap = min(fitting, key=_fastest), min(fitting, key=_cheapest)
        if limits.max_days is not None and fast.days_sure > limits.max_days:
            texts.append(
                f"The deadline of {limits.max_days:g} days is not met with odds of {odds}: the "
                f"fastest, {_name(fast)}, takes {fast.days_sure:.3g} days"
            )
        if limits.max_usd is not None and _cheapest(cheap)[0] > limits.max_usd:
            texts.append(
                f"{limits.max_usd:.4g} USD are not enough with odds of {odds}: the cheapest, "
                f"{_name(cheap)}, takes {cheap.usd_sure or inf:.4g} USD"
            )
        if not texts:
            near = max(fitting, key=lambda one: one.p_met)
            texts.append(
                f"No option keeps every limit with odds of {odds}: the nearest, {_name(near)}, "
                f"does so with {100 * near.p_met:.0f} %, in {near.days_sure:.3g} days"
            )
        text = "; ".join(texts) + "."
    return Problem(
        code="plan_impossible", severity="disqualifying", text=text, remedy=remedy,
        affects=("allocation",),
    )  # fmt: skip


def _name(one: HardwareOption) -> str:
    return f"{one.n_devices} × {one.accelerator}"


def _counts(n_devices: Sequence[int] | None, batch_sequences: float) -> list[int]:
    """Numbers to try: powers of two up to a node's tensor ranks for each sequence of a batch."""
    if n_devices is not None:
        return sorted(set(n_devices))
    most = NODE * max(1.0, batch_sequences * 2**0.5)
    return [2**power for power in range(60) if 2**power <= most]


def _clusters(
    counts: Iterable[int], model: Architecture, context: int, batch_tokens: float
) -> tuple[list[Cluster], list[str]]:
    """Those that some layout divides; of the others, why not."""
    clusters, left_out = [], []
    for count in counts:
        one = Cluster(n_devices=count, model=model, context=context, batch_tokens=batch_tokens)
        try:
            if one.found:
                clusters.append(one)
        except InputError as error:
            left_out.append(str(error))
    return clusters, left_out


def _linked(accelerator: Accelerator) -> Accelerator:
    """ASSUMPTION: where no link is known, published runs on it would have had 100 Gbit/s."""
    return replace(accelerator, scale_out_gbit=accelerator.scale_out_gbit or 100.0)


def _interval(draws: Array, level: float) -> Interval:
    """Median and interval by rank: beside an infinite draw there is nothing to interpolate."""
    low, middle, high = (_quantile(draws, q) for q in ((1 - level) / 2, 0.5, (1 + level) / 2))
    return Interval(value=middle, low=low, high=high, level=level)


def _quantile(draws: Array, share: float) -> float:
    """The smallest draw that at least `share` of them do not exceed."""
    rank = min(len(draws) - 1, max(0, int(np.ceil(share * len(draws) - 1e-9)) - 1))
    return float(np.partition(draws, rank)[rank])


def _check(
    flops: Array,
    context: int,
    batch_tokens: float,
    n_devices: Sequence[int] | None,
    limits: _Limits,
) -> None:
    if len(flops) == 0 or not (np.asarray(flops) > 0).all():
        raise InputError("`flops > 0` must hold for every draw. Give the training FLOPs.")
    positive = {"max_days": limits.max_days, "max_usd": limits.max_usd, "context": context}
    for name, value in positive.items():
        if value is not None and not 0 < value < inf:
            raise InputError(
                f"`{name} > 0` must hold, but got {name}={value}. Give a positive number, or "
                "leave it out."
            )
    for name, share in {"sure": limits.sure, "level": limits.level}.items():
        if not 0 < share < 1:
            raise InputError(f"`0 < {name} < 1` must hold, but got {name}={share}. Use e.g. 0.9.")
    if not batch_tokens >= context:
        raise InputError(
            f"`batch_tokens >= context` must hold, but got batch_tokens={batch_tokens:g}, "
            f"context={context}. A step takes at least one sequence."
        )
    for count in n_devices if n_devices is not None else ():
        if count < 1:
            raise InputError(
                f"`n_devices >= 1` must hold, but got n_devices={count}. Give numbers of devices."
            )


def _check_prices(accelerators: Sequence[Accelerator], max_usd: float | None) -> None:
    if max_usd is None or any(one.price_low is not None for one in accelerators):
        return
    raise InputError(
        f"`max_usd={max_usd:g}` needs a price, but none is known of "
        f"{', '.join(one.name for one in accelerators)}. Give one in a hardware file."
    )
