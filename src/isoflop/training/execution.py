"""How a run is computed: chosen before its first step and frozen for resumes."""

from collections.abc import Mapping
from typing import Any

import torch

from isoflop._errors import InputError, RunError
from isoflop.runs import RunFolder
from isoflop.specs import ModelShape

# bf16 matrices pay on CPUs only when they are large: at width 64-128 conversion costs more than
# the multiplication saves (LOG.md, "bf16 on the CPU").
_CPU_BF16_WIDTH = 256


def choose_device(wanted: str) -> torch.device:
    """The device for `auto`, `cpu` or `cuda`."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "launch.device = 'cuda': no CUDA device is usable here. Use 'auto' or 'cpu'."
        )
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def choose_dtype(wanted: str, device: torch.device, shape: ModelShape) -> str:
    """The compute type for `auto`: bfloat16 on CUDA and on CPUs that have it, for wide models."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    has_bf16 = bool(torch.cpu._is_avx512_bf16_supported())
    return "bfloat16" if has_bf16 and shape.width >= _CPU_BF16_WIDTH else "float32"


def settle(folder: RunFolder, wish: Mapping[str, Any], shape: ModelShape) -> dict[str, Any]:
    """How a run is computed: what its execution.json says, or the wish, which is then frozen.

    Raises:
        InputError: the device wished for is not usable here.
        RunError: execution.json is corrupt, or names a device that is not usable here.
    """
    device = choose_device(wish["device"])
    dtype = choose_dtype(wish["dtype"], device, shape)
    execution = folder.freeze_execution({**wish, "device": device.type, "dtype": dtype})
    good = {
        "threads": _is_count(execution.get("threads"), 1),
        "micro_batch": _is_count(execution.get("micro_batch"), 0),
        "device": execution.get("device") in ("cpu", "cuda"),
        "dtype": execution.get("dtype") in ("float32", "bfloat16"),
        "compile": isinstance(execution.get("compile"), bool),
        "checkpoint_seconds": isinstance(execution.get("checkpoint_seconds"), int | float),
    }
    remedy = "Restore the file, or delete the run folder to train it again."
    for key, fine in good.items():
        if not fine:
            raise RunError(
                f"{folder.path / 'execution.json'}: {key} = {execution.get(key)!r} cannot be "
                f"obeyed. {remedy}"
            )
    if execution["device"] == "cuda" and not torch.cuda.is_available():
        raise RunError(
            f"{folder.path / 'execution.json'}: device = 'cuda', with which the run was begun, is "
            "not usable here. Go on where it is, or delete the run folder to train it again."
        )
    return execution


def _is_count(value: object, least: int) -> bool:
    return type(value) is int and value >= least
