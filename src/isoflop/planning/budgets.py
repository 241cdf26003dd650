"""Budgets in hours, days or money as FLOPs, at a stated share of the peak."""

from collections.abc import Mapping

from isoflop._errors import InputError
from isoflop.accounting import Accelerator, cost_usd, device_hours, training_days

BUDGETS = ("device_hours", "days", "usd")


def with_flops(
    given: Mapping[str, float], device: Accelerator, n_devices: int, mfu: float
) -> dict[str, float]:
    """What is given, and the FLOPs that a budget buys: the budget over what one FLOP takes of it.

    Money is spent at the higher price of the accelerator's dated range.

    Raises:
        InputError: `mfu` outside (0, 1], `n_devices < 1`, or money where no price is known.
    """
    found = dict(given)
    for name in BUDGETS:
        if name in given:
            found["flops"] = given[name] / _of_one_flop(name, device, n_devices, mfu)
    return found


def _of_one_flop(name: str, device: Accelerator, n_devices: int, mfu: float) -> float:
    """What a FLOP takes of a budget."""
    if name == "days":
        return training_days(1.0, device, n_devices, mfu)
    hours = device_hours(1.0, device, mfu)
    if name == "device_hours":
        return hours
    price = cost_usd(hours, device)
    if price is None:
        raise InputError(
            f"No price of {device.name} is known, so none of usd. Give device_hours, or an "
            "accelerator of your own with a price."
        )
    return price[1]
