"""The trainer as several processes, under PyTorch's own `torchrun`: here, or on every node of a
job of which this process is one node's."""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from isoflop._errors import InputError

_log = logging.getLogger("isoflop.training")

RENDEZVOUS = "ISOFLOP_RENDEZVOUS"
"""HOST:PORT of the first node, set by the job's script, where the nodes find each other."""
# Workers that were asked to stop write a checkpoint first; torchrun alone would give them 30 s.
_SAVE_S = "300"


def run_processes(
    arguments: Sequence[str], n_processes: int, *, threads: int, n_nodes: int = 1
) -> int:
    """Run `torchrun` in this process and pass on what became of its workers.

    Exit code 0 done; 130 asked to stop, after saving; else the code of the process that failed
    first (2: bad input; 128 + the signal that killed it). `n_processes` are those of one node.

    Raises:
        InputError: there are several nodes, and nothing says where they meet.
    """
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous.api import RendezvousError

    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", _SAVE_S)
    place = ["--standalone"] if n_nodes == 1 else meeting(n_nodes, os.environ)
    words = [*place, "--nproc-per-node", str(n_processes), "-m", "isoflop.training"]
    try:
        _torchrun(run, [*words, *arguments])
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        _log.error("a process of the training ended with code %d", failure.exitcode)
        code = int(failure.exitcode)
        return code if code > 0 else 128 - code  # killed by a signal, as shells say it
    except RendezvousError as error:
        _log.error("the %d nodes did not meet at %s: %s", n_nodes, os.environ[RENDEZVOUS], error)
        return 1
    except SignalException:
        return 130
    return 0


def meeting(n_nodes: int, environment: Mapping[str, str]) -> list[str]:
    """The words that tell torchrun where `n_nodes` nodes meet.

    Slurm says which node this is: names of a cluster's nodes need not be what they call
    themselves, by which torchrun would guess.

    Raises:
        InputError: nothing says where.
    """
    place = environment.get(RENDEZVOUS, "")
    if not place.rpartition(":")[0]:
        raise InputError(
            f"--nodes {n_nodes}: {RENDEZVOUS} = {place!r} is not HOST:PORT of the first node. "
            "Let launch.launcher = 'slurm' start the training, or set it on every node."
        )
    words = ["--nnodes", str(n_nodes), "--rdzv-backend", "c10d", "--rdzv-endpoint", place]
    words += ["--rdzv-id", environment.get("SLURM_JOB_ID", "isoflop")]
    if "SLURM_NODEID" in environment:
        words += ["--rdzv-conf", f"is_host={int(environment['SLURM_NODEID'] == '0')}"]
    if "SLURMD_NODENAME" in environment:
        words += ["--local-addr", environment["SLURMD_NODENAME"]]
    return words


def _torchrun(module: Any, words: Sequence[str]) -> None:
    module.run(module.parse_args(list(words)))
