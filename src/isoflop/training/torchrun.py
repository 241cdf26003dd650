"""The trainer as several processes of this machine, under PyTorch's own `torchrun`."""

import logging
import os
from collections.abc import Sequence
from typing import Any

_log = logging.getLogger("isoflop.training")


def run_processes(arguments: Sequence[str], n_processes: int, *, threads: int) -> int:
    """Run `torchrun` in this process and pass on what became of its workers.

    Exit code 0 done; 130 asked to stop, after saving; else the code of the process that failed
    first (2: bad input).
    """
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    words = ["--standalone", "--nproc-per-node", str(n_processes), "-m", "isoflop.training"]
    try:
        _torchrun(run, [*words, *arguments])
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        _log.error("a process of the training ended with code %d", failure.exitcode)
        code = int(failure.exitcode)
        return code if code > 0 else 128 - code  # killed by a signal, as shells say it
    except SignalException:
        return 130
    return 0


def _torchrun(module: Any, words: Sequence[str]) -> None:
    module.run(module.parse_args(list(words)))
