"""Seconds and money of a training on named hardware."""

from isoflop._errors import InputError
from isoflop.accounting.checks import require_positive
from isoflop.accounting.hardware import Accelerator

SECONDS_PER_HOUR = 3_600.0


def training_days(flops: float, accelerator: Accelerator, n_devices: int, mfu: float) -> float:
    """Days = flops / (n_devices · peak · mfu · 86400).

    `mfu` is end to end: model FLOPs over what the billed hours could do at the dense bf16 peak,
    stalls and restarts included. Published runs: 0.40 on A100, 0.29 on H100 (medians; a factor
    1.3-1.4 either way is common). `MFU_PRIOR` gives one for a setting.

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
    require_positive({"flops": flops}, "Give training FLOPs.")
    return flops / (accelerator.bf16_tflops * 1e12 * mfu * SECONDS_PER_HOUR)


def hours_from_rate(
    n_tokens: float, tokens_per_second_per_device: float, goodput: float = 1.0
) -> float:
    """Device-hours = tokens / (tokens per second and device · goodput · 3600).

    Use when a step of this very model was timed on this hardware.

    Args:
        n_tokens: tokens to train on.
        tokens_per_second_per_device: measured while training runs.
        goodput: share of the billed hours in which it runs, restarts and idling out, 0 to 1.

    Raises:
        InputError: a number is not positive or `goodput > 1`.
    """
    require_positive({"n_tokens": n_tokens}, "Give the tokens to train on.")
    require_positive(
        {"tokens_per_second_per_device": tokens_per_second_per_device},
        "Give the measured rate of one device.",
    )
    _require_goodput(goodput)
    return n_tokens / (tokens_per_second_per_device * goodput * SECONDS_PER_HOUR)


def hours_from_flops_rate(flops: float, tflops_per_device: float, goodput: float = 1.0) -> float:
    """Device-hours = flops / (TFLOP/s of a device · 10¹² · goodput · 3600).

    Both must be counted alike: a rate of 6·N·D with FLOPs of 6·N·D, a causal one with causal
    FLOPs, one with recomputation (OPT's 147, BLOOM's 156) with recomputed FLOPs.

    Raises:
        InputError: a number is not positive or `goodput > 1`.
    """
    require_positive({"flops": flops}, "Give training FLOPs.")
    require_positive(
        {"tflops_per_device": tflops_per_device}, "Give the measured rate of a device."
    )
    _require_goodput(goodput)
    return flops / (tflops_per_device * 1e12 * goodput * SECONDS_PER_HOUR)


def cost_usd(hours: float, accelerator: Accelerator) -> tuple[float, float] | None:
    """(low, high) rent in USD of `hours` device-hours, or None where no price is known.

    The range is that of rental prices at `accelerator.price_date`, not an interval.
    """
    if accelerator.price_low is None or accelerator.price_high is None:
        return None
    return hours * accelerator.price_low, hours * accelerator.price_high


def _require_goodput(goodput: float) -> None:
    if not 0 < goodput <= 1:
        raise InputError(
            f"`0 < goodput <= 1` must hold, but got goodput={goodput}. Published runs: 0.66-0.91."
        )
