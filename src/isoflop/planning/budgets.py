"""Budgets in hours, days or money as FLOPs, at a stated share of the peak."""

from collections.abc import Mapping

from isoflop._errors import InputError
from isoflop.accounting import Accelerator

BUDGETS = ("device_hours", "days", "usd")
HOURS_PER_DAY = 24.0
SECONDS_PER_HOUR = 3600.0


def with_flops(
    given: Mapping[str, float], device: Accelerator, n_devices: int, mfu: float
) -> dict[str, float]:
    """What is given, and the FLOPs of a budget: hours · 3600 · peak · mfu.

    Money is hours at the higher price of the accelerator's dated range.

    Raises:
        InputError: `mfu` outside (0, 1], `n_devices < 1`, or money where no price is known.
    """
    found = dict(given)
    for name in BUDGETS:
        if name in given:
            hours = _hours(name, given[name], device, n_devices)
            if not 0 < mfu <= 1:
                raise InputError(
                    f"`0 < mfu <= 1` must hold, but got mfu={mfu}. Published runs lie at 0.2-0.5."
                )
            found["flops"] = hours * SECONDS_PER_HOUR * device.bf16_tflops * 1e12 * mfu
    return found


def _hours(name: str, value: float, device: Accelerator, n_devices: int) -> float:
    """Device-hours of a budget."""
    if name == "device_hours":
        return value
    if name == "days":
        if n_devices < 1:
            raise InputError(
                f"`n_devices >= 1` must hold, but got n_devices={n_devices}. "
                "Give the number of accelerators."
            )
        return value * HOURS_PER_DAY * n_devices
    if device.price_high is None:
        raise InputError(
            f"usd={value:g}: no price of {device.name} is known. Give device_hours, or an "
            "accelerator of your own with a price."
        )
    return value / device.price_high
