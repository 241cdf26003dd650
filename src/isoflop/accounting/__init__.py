"""Accounting: shape -> parameters, FLOPs, bytes, seconds, money.

What to use when:
- `count_params`: the exact tensors of a `ModelShape` in groups; `.under(convention)` gives
  `n_params` under a named convention.
- `train_flops`, `flops_per_token`: from a shape; `flops_6nd`: from N and D alone.
- `training_memory_bytes`: whether a step fits on a device.
- `find_accelerator`, `training_days`, `device_hours`, `cost_usd`: what a training takes there.
"""

from isoflop.accounting.flops import (
    FLOPS_CONVENTIONS,
    FLOPS_PER_PARAM_TOKEN,
    flops_6nd,
    flops_per_token,
    train_flops,
)
from isoflop.accounting.hardware import ACCELERATORS, Accelerator, find_accelerator
from isoflop.accounting.memory import training_memory_bytes
from isoflop.accounting.params import PARAM_CONVENTIONS, ParamCount, count_params
from isoflop.accounting.time import cost_usd, device_hours, training_days

__all__ = [
    "ACCELERATORS",
    "FLOPS_CONVENTIONS",
    "FLOPS_PER_PARAM_TOKEN",
    "PARAM_CONVENTIONS",
    "Accelerator",
    "ParamCount",
    "cost_usd",
    "count_params",
    "device_hours",
    "find_accelerator",
    "flops_6nd",
    "flops_per_token",
    "train_flops",
    "training_days",
    "training_memory_bytes",
]
