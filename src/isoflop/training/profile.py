"""`python -m isoflop.training.profile`: time and memory of a few steps of one training.

Reads one JSON object on stdin, {"config", "steps", "threads", "sequences" of a step in this
process, "micro_batch", "device", "dtype", "compile"}, trains throwaway weights on random tokens and
prints one JSON object: {"seconds": of each step, "memory_bytes", "device", "dtype"}. One process a
shape, since a process remembers its highest memory only.
"""

import json
import resource
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch

from isoflop._errors import InputError
from isoflop.specs import RunConfig
from isoflop.training.engine import Engine
from isoflop.training.execution import choose_device, choose_dtype


def profile(config: RunConfig, wish: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds of each of `wish["steps"]` steps, and the most bytes that were in use.

    Bytes are those of the process (with torch itself) on a CPU, those allocated on a GPU.

    Raises:
        InputError: the device wished for is not usable here.
    """
    device = choose_device(str(wish["device"]))
    dtype = choose_dtype(str(wish["dtype"]), device, config.shape)
    torch.set_num_threads(int(wish["threads"]))
    execution = {
        "device": device.type,
        "dtype": dtype,
        "compile": wish["compile"] is True,
        "micro_batch": int(wish["micro_batch"]),
    }
    engine = Engine(config, execution)
    context = config.shape.context
    n_sequences = int(wish["sequences"])
    seconds = []
    for _ in range(int(wish["steps"])):
        tokens = torch.randint(config.shape.vocab_size, (n_sequences, context + 1))
        began = time.perf_counter()
        engine.step(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous(), 1.0)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    return {
        "seconds": seconds,
        "memory_bytes": _peak_bytes(device),
        "device": device.type,
        "dtype": dtype,
    }


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
