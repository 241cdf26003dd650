"""End-to-end MFU foretold from what is known before a run: a regression on published runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray

from isoflop._errors import InputError
from isoflop.accounting.checks import fields_of, require_positive

_SHRINKAGE = 2.25
"""ASSUMPTION: a standardised coefficient is about 0.2, a run's own scatter 0.3: (0.3 / 0.2)²."""
_UNSEEN_SPREAD = 0.2
"""ASSUMPTION: added in quadrature outside the peaks of the published runs."""

_EARLY_BELOW, _HOPPER_FROM = 300.0, 600.0
_SEEN_TFLOPS = (120.0, 1000.0)
# Ends of what was published; a setting beyond them is taken as the end.
_FIRST_YEAR = 2020.0
_LAST_YEAR = {"early": 2022.5, "ampere": 2024.5, "hopper": 2026.1}
_SIZES = (1.3e8, 5.5e11)
_FEW, _MANY = 8, 256
_LARGEST_MEDIAN = 0.6
"""The best published run, llm.c's GPT-2, has 0.59; the small runs on few devices lie there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSetting:
    """What is known of a run before it starts, and decides its MFU."""

    bf16_tflops: float
    """Dense bf16 peak of a device [10¹² FLOP/s]."""
    flops_per_token: float
    """Training FLOPs per token; a sixth of them is the size that counts."""
    year: float
    """When it runs, 2024.5 = July 2024: software grows better on the same hardware."""
    n_devices: int | None = None
    """None: not known, many."""
    moe: bool = False

    def __post_init__(self) -> None:
        """Raise InputError where a number cannot be."""
        numbers = fields_of(self, "bf16_tflops", "flops_per_token", "year")
        require_positive(numbers, "Correct it.")
        if self.n_devices is not None and self.n_devices < 1:
            raise InputError(
                f"`n_devices >= 1` must hold, but got n_devices={self.n_devices}. "
                "Give the number of accelerators."
            )

    @property
    def hardware_class(self) -> str:
        """`early` (V100, TPU v3 and v4), `ampere` (A100) or `hopper` (H100, H800), by the peak."""
        if self.bf16_tflops < _EARLY_BELOW:
            return "early"
        return "ampere" if self.bf16_tflops < _HOPPER_FROM else "hopper"

    @property
    def features(self) -> NDArray[np.float64]:
        """[early class, Hopper's class, mixture, years after 2023, fewness, ln size / 20 B].

        Fewness falls with ln n_devices from 1 at one node (8 devices) to 0 at 256 and beyond.
        A year after the last published run of the class is taken as that run's.
        """
        many = _MANY if self.n_devices is None else self.n_devices
        few = log(_MANY / min(max(many, _FEW), _MANY)) / log(_MANY / _FEW)
        size = min(max(self.flops_per_token / 6.0, _SIZES[0]), _SIZES[1])
        return np.array(
            [
                float(self.hardware_class == "early"),
                float(self.hardware_class == "hopper"),
                float(self.moe),
                min(max(self.year, _FIRST_YEAR), _LAST_YEAR[self.hardware_class]) - 2023.0,
                few,
                log(size / 2e10),
            ]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MfuPrior:
    """ln MFU ~ Normal(intercept + coefficients · features, spread); see `RunSetting.features`."""

    intercept: float
    coefficients: tuple[float, ...]
    spread: float
    """Of ln MFU for a new run [1]."""

    def median(self, setting: RunSetting) -> float:
        """Median end-to-end MFU of a run so set, against the dense bf16 peak; at most 0.6."""
        median = exp(self.intercept + float(np.dot(self.coefficients, setting.features)))
        return min(median, _LARGEST_MEDIAN)

    def spread_of(self, setting: RunSetting) -> float:
        """Spread of ln MFU; wider where no published run had such a peak."""
        low, high = _SEEN_TFLOPS
        seen = low <= setting.bf16_tflops <= high
        return self.spread if seen else sqrt(self.spread**2 + _UNSEEN_SPREAD**2)


def fit_mfu_prior(settings: Sequence[RunSetting], mfu: Sequence[float]) -> MfuPrior:
    """The prior that runs support: ridge regression of ln MFU on the standardised features.

    `spread` is the root mean square of the leave-one-out errors, so it holds the error of the
    coefficients. Use when you have end-to-end MFUs of your own; else `MFU_PRIOR`.

    Args:
        settings: R runs, at least 3.
        mfu: R end-to-end MFUs: tokens · exact FLOPs per token / (billed hours · bf16 peak).

    Raises:
        InputError: fewer than 3 runs, lengths that differ, or an MFU outside (0, 1].
    """
    if len(settings) != len(mfu) or len(mfu) < 3:
        raise InputError(
            f"at least 3 runs with one MFU each are needed, but got {len(settings)} settings "
            f"and {len(mfu)} MFUs. Give more runs, or use MFU_PRIOR."
        )
    for value in mfu:
        if not 0 < value <= 1:
            raise InputError(f"`0 < mfu <= 1` must hold, but got mfu={value}. Correct it.")
    x_RP = np.stack([setting.features for setting in settings])
    y_R = np.log(np.asarray(mfu, dtype=np.float64))
    errors = np.empty(len(y_R))
    for run in range(len(y_R)):
        others = np.arange(len(y_R)) != run
        intercept, coefficients = _ridge(x_RP[others], y_R[others])
        errors[run] = intercept + x_RP[run] @ coefficients - y_R[run]
    intercept, coefficients = _ridge(x_RP, y_R)
    return MfuPrior(
        intercept=intercept,
        coefficients=tuple(float(c) for c in coefficients),
        spread=float(np.sqrt(np.mean(errors**2))),
    )


def _ridge(
    x_RP: NDArray[np.float64], y_R: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Intercept and coefficients in the features' own units."""
    centre, scale = x_RP.mean(axis=0), x_RP.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    z_RP = (x_RP - centre) / scale
    gram = z_RP.T @ z_RP + _SHRINKAGE * np.eye(z_RP.shape[1])
    slopes = np.linalg.solve(gram, z_RP.T @ (y_R - y_R.mean())) / scale
    return float(y_R.mean() - slopes @ centre), slopes


MFU_PRIOR = MfuPrior(
    intercept=-1.1166,
    coefficients=(-0.2197, -0.4653, -0.0646, 0.1282, 0.6668, 0.0682),
    spread=0.2161,
)
"""From 29 published runs of 2020-2026 with billed hours, exact-causal FLOPs, fitted 2026-11.

Sources: model cards, papers and the Epoch AI database (epoch-research/training-cost-trends,
263c40a); MPT-30B, which changed hardware, and runs whose FLOPs are not known are left out.
"""
