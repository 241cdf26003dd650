"""What a FLOP of training takes: device-hours and USD, with draws of MFU, goodput and price."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array, Interval
from isoflop.accounting import (
    MFU_PRIOR,
    Accelerator,
    RunSetting,
    hours_from_flops_rate,
    sample_goodput,
    sample_mfu,
    sample_price,
)

BUDGETS = ("device_hours", "days", "usd")
"""Budgets that are FLOPs once hours and prices are known."""

STEP_ERROR = 0.03
"""1-sigma error of ln MFU after a step was timed. Source: reference of the planner, section 5.3."""

PLAN_YEAR = 2026.0
"""When a plan is taken to run, for the MFU of its software: that of the last published runs."""

_SEED = 20_261_128
_HOURS_A_DAY = 24.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Accelerators, how many, and what is known of them beforehand."""

    device: Accelerator
    n_devices: int | None = None
    """None: as many as the model takes."""
    mfu: float | None = None
    """End-to-end share of the dense peak as stated; None: drawn from `MFU_PRIOR`."""
    step_mfu: float | None = None
    """Share of the peak while a measured step runs; goodput is then drawn."""
    price: float | None = None
    """Rent as agreed [USD/device-hour]; None: the dated range of the accelerator."""

    def __post_init__(self) -> None:
        """Raise InputError where a number cannot be."""
        for name in ("mfu", "step_mfu"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise InputError(
                    f"`0 < {name} <= 1` must hold, but got {name}={value}. Published runs lie at "
                    "0.2-0.5; leave it out for a prior on them."
                )
        if self.mfu is not None and self.step_mfu is not None:
            raise InputError(
                f"mfu={self.mfu:g} is end to end and step_mfu={self.step_mfu:g} that of a step. "
                "Give one of them."
            )
        if self.n_devices is not None and self.n_devices < 1:
            raise InputError(
                f"`n_devices >= 1` must hold, but got n_devices={self.n_devices}. "
                "Give the number of accelerators."
            )
        if self.price is not None and not 0 < self.price < np.inf:
            raise InputError(
                f"`price > 0` must hold, but got price={self.price}. Give USD per device-hour."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Device-hours and USD of one FLOP of 6·N·D: medians, and B draws as log deviations."""

    hours: float
    """Device-hours a FLOP."""
    price: float | None
    """USD a device-hour; None where no price is known."""
    n_devices: int
    device: str
    mfu: Interval
    """End-to-end MFU, of exact-causal FLOPs."""
    deviations: Mapping[str, Array] = field(default_factory=dict)
    """ln of what each source (mfu, goodput, price) multiplies the cost by, (B,) each."""

    def per_flop(self, name: str) -> float:
        """Median of what a FLOP takes of `device_hours`, `days` or `usd`.

        Raises:
            InputError: money where no price is known.
        """
        match name:
            case "device_hours":
                return self.hours
            case "days":
                return self.hours / _HOURS_A_DAY / self.n_devices
        assert name == "usd"
        if self.price is None:
            raise InputError(
                f"No price of {self.device} is known, so none of usd. Give device_hours, a price, "
                "or an accelerator of your own with one."
            )
        return self.hours * self.price

    def log_draws(self, name: str, leave_out: str = "") -> Array:
        """ln of what a FLOP takes in each draw (B,), `leave_out` held at its median."""
        total = np.log(self.per_flop(name)) + np.zeros_like(self.deviations["mfu"])
        for source, deviation in self.deviations.items():
            if source != leave_out and (source != "price" or name == "usd"):
                total = total + deviation
        return np.asarray(total)

    def flops_for(self, name: str, budget: float, sure: float) -> float:
        """FLOPs that a budget pays for in the share `sure` of draws.

        Raises:
            InputError: money where no price is known.
        """
        draws = np.log(budget) - self.log_draws(name)
        # By rank, so that a budget without doubt is met to the last digit.
        return float(np.exp(np.sort(draws)[int((1 - sure) * (len(draws) - 1))]))

    def buys(self, name: str, budget: float, level: float) -> Interval:
        """FLOPs that a budget would buy: the median and the interval over draws.

        Raises:
            InputError: money where no price is known.
        """
        draws = np.log(budget) - self.log_draws(name)
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
        middle = budget / self.per_flop(name)
        return Interval(
            value=middle,
            low=min(middle, float(np.exp(low))),
            high=max(middle, float(np.exp(high))),
            level=level,
        )


def rates(
    machine: Machine,
    *,
    n_devices: int,
    flops_per_token: float,
    ratio: float,
    size: int,
    level: float,
    moe: bool = False,
    kept: float = 1.0,
) -> Rates:
    """What a FLOP of 6·N·D takes on a machine.

    Args:
        machine: where it runs.
        n_devices: on how many devices.
        flops_per_token: exact-causal FLOPs of a token, for the prior of MFU.
        ratio: exact-causal FLOPs over 6·N·D.
        size: how many draws.
        level: level of the interval of MFU.
        moe: whether it is a mixture of experts, for the prior of MFU.
        kept: share of that prior's speed that so many devices keep (see `cluster`).
    """
    mfu, goodput = _mfu_draws(
        machine, _setting(machine, n_devices, flops_per_token, moe), kept, size
    )
    median = np.exp(np.median(mfu[0]) + np.median(goodput[0]))
    deviations = {
        "mfu": -mfu[1],
        "goodput": -goodput[1],
        "price": _price_deviation(machine, size),
    }
    ends = np.quantile(mfu[1] + goodput[1], [(1 - level) / 2, (1 + level) / 2])
    share = float(median)
    device = machine.device
    return Rates(
        hours=ratio * hours_from_flops_rate(1.0, device.bf16_tflops) / share,
        price=_median_price(machine),
        n_devices=n_devices,
        device=device.name,
        mfu=Interval(
            value=share,
            low=share * float(np.exp(min(ends[0], 0.0))),
            high=min(1.0, share * float(np.exp(max(ends[1], 0.0)))),
            level=level,
        ),
        deviations=deviations,
    )


Drawn = tuple[Array, Array]
"""ln of the median (1,) and of the draws over it (B,)."""


def _setting(machine: Machine, n_devices: int, flops_per_token: float, moe: bool) -> RunSetting:
    """What the prior of MFU asks for."""
    return RunSetting(
        bf16_tflops=machine.device.bf16_tflops,
        flops_per_token=flops_per_token,
        year=PLAN_YEAR,
        n_devices=n_devices,
        moe=moe,
    )


def _mfu_draws(
    machine: Machine, setting: RunSetting, kept: float, size: int
) -> tuple[Drawn, Drawn]:
    """ln MFU and ln goodput: median and deviations."""
    none = (np.zeros(1), np.zeros(size))
    if machine.mfu is not None:
        return (np.log([machine.mfu]), np.zeros(size)), none
    rng = np.random.default_rng([_SEED, 0])
    if machine.step_mfu is not None:
        step = (np.log([machine.step_mfu]), STEP_ERROR * rng.standard_normal(size))
        drawn = np.log(sample_goodput(np.random.default_rng([_SEED, 1]), size))
        middle = float(np.median(drawn))
        return step, (np.array([middle]), drawn - middle)
    middle = float(np.log(MFU_PRIOR.median(setting)))
    deviations = np.log(sample_mfu(rng, size, setting)) - middle
    # Stalls and restarts are in the published hours behind the prior: no goodput besides.
    return (np.array([middle + np.log(kept)]), deviations), none


def _median_price(machine: Machine) -> float | None:
    device = machine.device
    if machine.price is not None:
        return machine.price
    if device.price_low is None or device.price_high is None:
        return None
    return float(np.sqrt(device.price_low * device.price_high))


def _price_deviation(machine: Machine, size: int) -> Array:
    median = _median_price(machine)
    if machine.price is not None or median is None:
        return np.zeros(size)
    rng = np.random.default_rng([_SEED, 2])
    return np.asarray(np.log(sample_price(rng, size, machine.device)) - np.log(median))
