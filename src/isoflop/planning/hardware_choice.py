"""`hardware_options`: which accelerators, and how many: days against money."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from isoflop._errors import InputError
from isoflop._types import LEVEL, Array, Interval, Problem
from isoflop.accounting import (
    ACCELERATORS,
    MFU_PRIOR,
    Accelerator,
    Architecture,
    RunSetting,
    find_accelerator,
    sample_mfu,
    sample_price,
    token_flops,
)
from isoflop.planning.cluster import (
    NODE,
    Cluster,
    beside_longer_steps,
    beside_usual,
    most_devices,
)
from isoflop.planning.draws import draws_of, interval_of, quantile_of
from isoflop.planning.hardware_option import (
    HardwareChoice,
    HardwareLimits,
    HardwareOption,
    choice_of,
    with_front,
)
from isoflop.planning.rates import PLAN_YEAR

SURE = 0.9
"""Odds with which a limit is to be kept."""


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
    flops: float | Interval | Array,
    model: Architecture,
    *,
    context: int,
    batch_tokens: float,
    accelerators: Sequence[str | Accelerator] = ACCELERATORS,
    n_devices: Sequence[int] | None = None,
    max_days: float | None = None,
    max_usd: float | None = None,
    sure: float = SURE,
    year: float = PLAN_YEAR,
    level: float = LEVEL,
    seed: int = 0,
) -> HardwareChoice:
    """Days and money of a training on every accelerator and number of devices, with odds.

    Days = FLOPs / (n · peak · MFU · kept · 86400). MFU and price are drawn with the same luck for
    every option, so that differences are not noise; `kept` is what is lost beside the published
    runs behind the MFU (see `cluster`).

    Args:
        flops: draws (B,) of the exact training FLOPs, recomputation not counted, inf where the
            goal is never reached; or an interval, such as a plan's `exact_flops`, or one number
            that is certain: 1,000 draws then.
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
    draws = draws_of(flops, seed)
    limits = HardwareLimits(max_days=max_days, max_usd=max_usd, sure=sure, level=level)
    _check(draws, context, batch_tokens, n_devices, limits)
    named = (find_accelerator(one) if isinstance(one, str) else one for one in accelerators)
    chosen = list(dict.fromkeys(named))
    _check_prices(chosen, max_usd)
    counts = _counts(n_devices, batch_tokens / context)
    # Beside the numbers asked for, those that steps of the usual length are compared with.
    usual = _counts(None, batch_tokens / context) if n_devices is not None else []
    clusters, faults = _clusters({*counts, *usual}, model, context, batch_tokens)
    run = _Run(flops=draws, year=year, seed=seed)
    options = [
        _option(run, clusters, count, accelerator, limits)
        for accelerator in chosen
        for count in sorted(set(counts) & set(clusters))
        if count <= most_devices(accelerator)
    ]
    if not options:
        raise InputError(" ".join(_left_out(chosen, counts, faults)))
    # Of numbers that nobody asked for none is missed.
    left_out = _left_out(chosen, counts, faults if n_devices is not None else {})
    choice = choice_of(with_front(options, sure), limits, left_out)
    return replace(choice, problems=choice.problems + _doubts(choice.best, chosen))


def _option(
    run: _Run,
    clusters: Mapping[int, Cluster],
    count: int,
    accelerator: Accelerator,
    limits: HardwareLimits,
) -> HardwareOption:
    cluster = clusters[count]
    spread = cluster.spread(accelerator, limits.sure)
    kept = beside_usual(count) * beside_longer_steps(cluster, accelerator, limits.sure, clusters)
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
        days=interval_of(days, limits.level),
        device_hours=interval_of(hours, limits.level),
        usd=None if usd is None else interval_of(usd, limits.level),
        days_sure=quantile_of(days, limits.sure),
        hours_sure=quantile_of(hours, limits.sure),
        usd_sure=None if usd is None else quantile_of(usd, limits.sure),
        p_days=None if limits.max_days is None else float(in_time.mean()),
        p_usd=None if limits.max_usd is None else float(in_money.mean()),
        p_met=float((in_time & in_money).mean()),
        p_fits=spread.memory.p_fits(accelerator.memory_gb),
        layout=spread.layout,
        kept=kept,
    )


def _doubts(
    best: HardwareOption | None, accelerators: Sequence[Accelerator]
) -> tuple[Problem, ...]:
    """What is known less well of the best option's accelerator than of others."""
    if best is None:
        return ()
    chosen = next(one for one in accelerators if one.name == best.accelerator)
    setting = RunSetting(bf16_tflops=chosen.bf16_tflops, flops_per_token=1e10, year=PLAN_YEAR)
    found = []
    if MFU_PRIOR.spread_of(setting) > MFU_PRIOR.spread:
        found.append(
            Problem(
                code="extrapolation",
                severity="note",
                text=f"No published run had a peak like that of {chosen.name}, "
                f"{chosen.bf16_tflops:g} TFLOP/s: its MFU is taken to be that of the nearest "
                "class, with more spread.",
                remedy="Time fifty steps on it before it is rented.",
            )
        )
    if chosen.price_low is not None and chosen.price_low == chosen.price_high:
        found.append(
            Problem(
                code="one_price",
                severity="note",
                text=f"The rent of {chosen.name}, {chosen.price_low:g} USD/h, is one quote of "
                f"{chosen.price_date}: others have a range, and are held to the dear end of it.",
                remedy="Give prices of your own in a hardware file.",
            )
        )
    return tuple(found)


def _counts(n_devices: Sequence[int] | None, batch_sequences: float) -> list[int]:
    """Numbers to try: powers of two up to a node's tensor ranks for each sequence of a batch."""
    if n_devices is not None:
        return sorted(set(n_devices))
    most = NODE * max(1.0, batch_sequences * 2**0.5)
    return [2**power for power in range(60) if 2**power <= most]


def _clusters(
    counts: Iterable[int], model: Architecture, context: int, batch_tokens: float
) -> tuple[dict[int, Cluster], dict[int, str]]:
    """Those that some layout divides, by their number; of the others, why not."""
    clusters, faults = {}, {}
    for count in sorted(counts):
        one = Cluster(n_devices=count, model=model, context=context, batch_tokens=batch_tokens)
        try:
            if one.found:
                clusters[count] = one
        except InputError as error:
            faults[count] = str(error)
    return clusters, faults


def _left_out(
    accelerators: Sequence[Accelerator], counts: Sequence[int], faults: Mapping[int, str]
) -> tuple[str, ...]:
    """Why some of what was asked for is not among the options."""
    lonely = [one.name for one in accelerators if most_devices(one) < max(counts)]
    words = [faults[count] for count in counts if count in faults]
    if lonely:
        words.append(
            f"More than a node of {', '.join(lonely)} is not among the options: no link to others "
            "is known. Give scale_out_gbit in a hardware file."
        )
    return tuple(words)


def _check(
    flops: Array,
    context: int,
    batch_tokens: float,
    n_devices: Sequence[int] | None,
    limits: HardwareLimits,
) -> None:
    if len(flops) == 0 or not (flops > 0).all():
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
    if n_devices is not None and not n_devices:
        raise InputError("`n_devices` must name at least one number of devices, but got none.")
    for count in n_devices if n_devices is not None else ():
        if count < 1:
            raise InputError(
                f"`n_devices >= 1` must hold, but got n_devices={count}. Give numbers of devices."
            )


def _check_prices(accelerators: Sequence[Accelerator], max_usd: float | None) -> None:
    if not accelerators:
        raise InputError("no accelerator was given. Name one, such as H100-SXM.")
    if max_usd is None or any(one.price_low is not None for one in accelerators):
        return
    raise InputError(
        f"`max_usd={max_usd:g}` needs a price, but none is known of "
        f"{', '.join(one.name for one in accelerators)}. Give one in a hardware file."
    )
