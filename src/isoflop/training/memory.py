"""The host's and the device's memory: lack of it, what is given back, and what is kept."""

import ctypes
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


# Of <malloc.h>; a value is an int.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
_PAD, _NEVER = 64 * 2**20, 2**31 - 1


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed, for the next step; False where the C library is another.

    It gives large blocks back to the system at once, and a step that takes them anew waits for
    every page to be cleared: a quarter of a step's time on a CPU (docs/training.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # Older versions refuse a large threshold; they can be told to map nothing at all.
    large = mallopt(_MMAP_THRESHOLD, _NEVER) or mallopt(_MMAP_MAX, 0)
    return bool(large and mallopt(_TRIM_THRESHOLD, _NEVER) and mallopt(_TOP_PAD, _PAD))
