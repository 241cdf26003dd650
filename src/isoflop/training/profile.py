"""`python -m isoflop.training.profile`: time and memory of a few steps of one training.

Reads one JSON object on stdin, {"config", "steps", "threads", "micro_batch", "device", "dtype",
"compile"}, trains throwaway weights on random tokens and prints one JSON object: {"seconds": of
each step, "memory_bytes", "device", "dtype"}. One process a shape, since a process remembers its
highest memory only.
"""

import contextlib
import json
import resource
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from isoflop._errors import InputError
from isoflop.specs import RunConfig
from isoflop.training.execution import choose_device, choose_dtype
from isoflop.training.model import Transformer


def profile(config: RunConfig, wish: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds of each of `wish["steps"]` steps, and the most bytes that were in use.

    Bytes are those of the process (with torch itself) on a CPU, those allocated on a GPU.

    Raises:
        InputError: the device wished for is not usable here.
    """
    device = choose_device(str(wish["device"]))
    dtype = choose_dtype(str(wish["dtype"]), device, config.shape)
    torch.set_num_threads(int(wish["threads"]))
    torch.manual_seed(config.seed)
    model = Transformer(config.shape).to(device)
    forward: Any = torch.compile(model) if wish["compile"] is True else model
    # Rates and decay change no time: one group of parameters does for any parametrisation.
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.optimiser.lr, fused=True)
    context = config.shape.context
    n_sequences = config.optimiser.batch_tokens // context
    micro = int(wish["micro_batch"]) or n_sequences
    seconds = []
    for _ in range(int(wish["steps"])):
        tokens = torch.randint(config.shape.vocab_size, (n_sequences, context + 1))
        began = time.perf_counter()
        _step(forward, model, optimiser, torch.split(tokens.to(device), micro), dtype)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    return {
        "seconds": seconds,
        "memory_bytes": _peak_bytes(device),
        "device": device.type,
        "dtype": dtype,
    }


def _step(
    forward: Any,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    parts: tuple[Tensor, ...],
    dtype: str,
) -> None:
    total = sum(map(len, parts))
    for part in parts:
        cast = torch.autocast(part.device.type, torch.bfloat16)
        with cast if dtype == "bfloat16" else contextlib.nullcontext():
            loss = forward(part[:, :-1].contiguous(), part[:, 1:].contiguous())
        (loss * (len(part) / total)).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # Linux counts in kilobytes


def main() -> int:
    """Profile what stdin describes; exit code 0 done, 2 bad input."""
    wish = json.load(sys.stdin)
    try:
        found = profile(RunConfig.from_json(wish["config"], place="stdin"), wish)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
