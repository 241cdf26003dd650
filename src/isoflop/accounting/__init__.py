"""Accounting: shape -> parameters, FLOPs, bytes, seconds, money.

What to use when:
- `count_params`: the exact tensors of a `ModelShape` in groups; `.under(convention)` gives
  `n_params` under a named convention.
- `train_flops`, `flops_per_token`: from a shape; `flops_6nd`: from N and D alone.
- `Architecture`: what a published decoder is made of (grouped queries, latent attention, experts,
  windows); `read_architecture` reads it from a Hugging Face `config.json`. `count_weights` counts
  it: total, active, without embedding, per token; `token_flops` and `hardware_flops` cost it.
- `ShapeRule`: from a size to the decoder of a family that has it; `size_under` counts it.
- `training_memory_bytes`: whether a step fits on a device.
- `training_memory` under a `Layout`: bytes on the fullest of many devices, and the odds that they
  fit; `layouts`: which ones a number of devices admits (`spreads`: their ranks alone),
  `layout_faults`: why not.
- `kv_bytes_per_token`; `inference_cost` of a `Serving`: latency, batch, throughput, USD per million
  tokens, each with its spread.
- `find_accelerator`, `training_days`, `device_hours`, `cost_usd`: what a training takes there;
  `read_hardware` for accelerators and prices of your own.
- `hours_from_rate`, `hours_from_flops_rate`: hours where a step was timed; `MFU_PRIOR` and
  `sample_mfu` where none was; `sample_goodput`, `sample_price` for the rest of the doubt.
- `step_time_of`: where the seconds of a step go under a `Layout`; `step_time` from plain numbers.
"""

from isoflop.accounting.architecture import Architecture, Experts, LatentAttention, Vectors
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
from isoflop.accounting.huggingface import MODEL_TYPES, architecture_of, read_architecture
from isoflop.accounting.inference import InferenceCost, PerToken, Spread, inference_cost
from isoflop.accounting.kv import kv_bytes, kv_bytes_per_token
from isoflop.accounting.layout import Layout, layout_faults, layouts, spreads, zero_stages
from isoflop.accounting.memory import training_memory_bytes
from isoflop.accounting.mfu import MFU_PRIOR, MfuPrior, RunSetting, fit_mfu_prior
from isoflop.accounting.params import PARAM_CONVENTIONS, ParamCount, count_params
from isoflop.accounting.serving import Serving
from isoflop.accounting.shape_rule import ShapeRule, size_under
from isoflop.accounting.step import StepTime, matmul_efficiency, step_time, step_time_of
from isoflop.accounting.step_work import StepLayout, StepWork
from isoflop.accounting.time import (
    cost_usd,
    device_hours,
    hours_from_flops_rate,
    hours_from_rate,
    training_days,
)
from isoflop.accounting.token_flops import (
    RECOMPUTES,
    attention_flops,
    hardware_flops,
    mean_attended,
    token_flops,
)
from isoflop.accounting.training_memory import TrainingMemory, training_memory
from isoflop.accounting.weights import WeightCount, count_weights

__all__ = [
    "ACCELERATORS",
    "FLOPS_CONVENTIONS",
    "FLOPS_PER_PARAM_TOKEN",
    "MFU_PRIOR",
    "MODEL_TYPES",
    "PARAM_CONVENTIONS",
    "RECOMPUTES",
    "Accelerator",
    "Architecture",
    "Experts",
    "InferenceCost",
    "LatentAttention",
    "Layout",
    "MfuPrior",
    "ParamCount",
    "PerToken",
    "RunSetting",
    "Serving",
    "ShapeRule",
    "Spread",
    "StepLayout",
    "StepTime",
    "StepWork",
    "TrainingMemory",
    "Vectors",
    "WeightCount",
    "architecture_of",
    "attention_flops",
    "cost_usd",
    "count_params",
    "count_weights",
    "device_hours",
    "find_accelerator",
    "fit_mfu_prior",
    "flops_6nd",
    "flops_per_token",
    "hardware_flops",
    "hours_from_flops_rate",
    "hours_from_rate",
    "inference_cost",
    "kv_bytes",
    "kv_bytes_per_token",
    "layout_faults",
    "layouts",
    "matmul_efficiency",
    "mean_attended",
    "read_architecture",
    "read_hardware",
    "sample_goodput",
    "sample_mfu",
    "sample_price",
    "size_under",
    "spreads",
    "step_time",
    "step_time_of",
    "token_flops",
    "train_flops",
    "training_days",
    "training_memory",
    "training_memory_bytes",
    "zero_stages",
]
