"""Seconds and money of a training on named hardware."""

from isoflop._errors import InputError
from isoflop.accounting.hardware import Accelerator

SECONDS_PER_DAY = 86_400.0


def training_days(flops: float, accelerator: Accelerator, n_devices: int, mfu: float) -> float:
    """Days = flops / (n_devices · peak · mfu · 86400).

    `mfu` is end to end: model FLOPs over what the billed hours could do at the dense bf16 peak,
    stalls and restarts included. Published runs: 0.40 on A100, 0.29 on H100 (medians; a factor
    1.3-1.4 either way is common).

    Raises:
        InputError: `n_devices < 1`, or `mfu` outside (0, 1], or `flops <= 0`.
    """
    if n_devices < 1:
        raise InputError(
            f"`n_devices >= 1` must hold, but got n_devices={n_devices}. "
            "Give the number of accelerators."
        )
    return device_hours(flops, accelerator, mfu) / (24.0 * n_devices)


def device_hours(flops: float, accelerator: Accelerator, mfu: float) -> float:
    """Device-hours = flops / (peak · mfu · 3600), however many devices share them.

    Raises:
        InputError: `mfu` outside (0, 1], or `flops <= 0`.
    """
    if not 0 < mfu <= 1:
        raise InputError(
            f"`0 < mfu <= 1` must hold, but got mfu={mfu}. Published runs lie at 0.2-0.5."
        )
    if not flops > 0:
        raise InputError(f"`flops > 0` must hold, but got flops={flops}. Give training FLOPs.")
    return flops / (accelerator.bf16_tflops * 1e12 * mfu * 3600.0)


def cost_usd(hours: float, accelerator: Accelerator) -> tuple[float, float] | None:
    """(low, high) rent in USD of `hours` device-hours, or None where no price is known.

    The range is that of rental prices at `accelerator.price_date`, not an interval.
    """
    if accelerator.price_low is None or accelerator.price_high is None:
        return None
    return hours * accelerator.price_low, hours * accelerator.price_high
