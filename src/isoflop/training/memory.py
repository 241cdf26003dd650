"""Lack of memory: how it is known, and what is given back."""

import gc

import torch

OUT_OF_MEMORY = 71
"""Exit code of a training that had not enough: whoever started it may try with less at once."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error is a device's or the host's lack of memory for a tensor."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def free_memory(device: torch.device) -> None:
    """Give back what is held and not used."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
