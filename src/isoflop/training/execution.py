"""How a run is computed: chosen before its first step and frozen for resumes."""

import torch

from isoflop._errors import InputError
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
