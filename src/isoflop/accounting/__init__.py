"""Accounting: shape -> parameters, FLOPs, bytes, seconds, money.

What to use when:
- `count_params`: the exact tensors of a `ModelShape` in groups; `.under(convention)` gives
  `n_params` under a named convention.
- `train_flops`, `flops_per_token`: from a shape; `flops_6nd`: from N and D alone.
- `training_memory_bytes`: whether a step fits on a device.
- `find_accelerator`, `training_days`, `device_hours`, `cost_usd`: what a training takes there;
  `read_hardware` for accelerators and prices of your own.
- `hours_from_rate`, `hours_from_flops_rate`: hours where a step was timed; `MFU_PRIOR` and
  `sample_mfu` where none was; `sample_goodput`, `sample_price` for the rest of the doubt.
- `step_time`: where the seconds of a step go under a layout of devices.
"""

from isoflop.accounting.draws import sample_goodput, sample_mfu, sample_price
from isoflop.accounting.flops import (
    FLOPS_CONVENTIONS,
    FLOPS_PER_PARAM_TOKEN,
    flops_6nd,
    flops_per_token,
    train_flops,
)
from isoflop.accounting.hardware import ACCELERATORS, Accelerator, find_accelerator
from isoflop.accounting.hardware_file import read_hardware
from isoflop.accounting.memory import training_memory_bytes
from isoflop.accounting.mfu import MFU_PRIOR, MfuPrior, RunSetting, fit_mfu_prior
from isoflop.accounting.params import PARAM_CONVENTIONS, ParamCount, count_params
from isoflop.accounting.step import (
    StepLayout,
    StepTime,
    StepWork,
    matmul_efficiency,
    step_time,
)
from isoflop.accounting.time import (
    cost_usd,
    device_hours,
    hours_from_flops_rate,
    hours_from_rate,
    training_days,
)

__all__ = [
    "ACCELERATORS",
    "FLOPS_CONVENTIONS",
    "FLOPS_PER_PARAM_TOKEN",
    "MFU_PRIOR",
    "PARAM_CONVENTIONS",
    "Accelerator",
    "MfuPrior",
    "ParamCount",
    "RunSetting",
    "StepLayout",
    "StepTime",
    "StepWork",
    "cost_usd",
    "count_params",
    "device_hours",
    "find_accelerator",
    "fit_mfu_prior",
    "flops_6nd",
    "flops_per_token",
    "hours_from_flops_rate",
    "hours_from_rate",
    "matmul_efficiency",
    "read_hardware",
    "sample_goodput",
    "sample_mfu",
    "sample_price",
    "step_time",
    "train_flops",
    "training_days",
    "training_memory_bytes",
]
