"""`HardwareOption`: devices for a training; which are not beaten, and which is best."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from isoflop._types import Interval, Problem
from isoflop.accounting import Layout
from isoflop.planning.words import count


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
class HardwareLimits:
    """What a choice is to keep, and with which odds."""

    max_days: float | None
    max_usd: float | None
    sure: float
    level: float


def with_front(options: Sequence[HardwareOption], sure: float) -> tuple[HardwareOption, ...]:
    """The options, with those marked that no other one that fits beats in days and money."""
    priced = [
        (one.days_sure, one.usd_sure, place)
        for place, one in enumerate(options)
        if one.usd_sure is not None and one.p_fits >= sure
    ]
    front: set[int] = set()
    least = inf
    # From the fastest on, each must be cheaper than all that are faster.
    for days, usd, place in sorted(priced):
        if usd < least and days < inf:
            least = usd
            front.add(place)
    return tuple(
        replace(one, on_front=True) if place in front else one for place, one in enumerate(options)
    )


def choice_of(
    options: tuple[HardwareOption, ...], limits: HardwareLimits, left_out: tuple[str, ...]
) -> HardwareChoice:
    """The options with the best of those that fit and keep the limits, or why there is none."""
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
    options: Sequence[HardwareOption], fitting: Sequence[HardwareOption], limits: HardwareLimits
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
                f"{count(limits.max_usd)} USD are not enough with odds of {odds}: the cheapest, "
                f"{_name(cheap)}, takes {count(cheap.usd_sure or inf)} USD"
            )
        if not texts:
            near = max(fitting, key=lambda one: one.p_met)
            texts.append(
                f"No option keeps every limit with odds of {odds}: the nearest, {_name(near)}, "
                f"does so with {100 * near.p_met:.0f} %, in {near.days_sure:.3g} days for "
                f"{count(near.usd_sure or inf)} USD"
            )
        text = "; ".join(texts) + "."
    return Problem(
        code="plan_impossible", severity="disqualifying", text=text, remedy=remedy,
        affects=("allocation",),
    )  # fmt: skip


def _name(one: HardwareOption) -> str:
    return f"{one.n_devices} × {one.accelerator}"
