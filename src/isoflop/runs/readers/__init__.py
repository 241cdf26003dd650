"""Readers of what other tools recorded, in files, in folders and on servers.

What to use when:
- `READERS`: by kind; `sniff` says whether a path is of the kind, `read` yields its runs.
- `SERVERS`: by the word before the colon of a source such as `wandb:ENTITY/PROJECT`.

A reader understands no metric's name and no unit, imports none of the tools and runs nothing that
a file holds. Nobody is contacted but by a call of `SERVERS`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from isoflop.runs.foreign import ForeignRun
from isoflop.runs.readers import lm_eval, mlflow, tensorboard, trackio, trainer_state, wandb
from isoflop.runs.readers.mlflow_api import read_mlflow
from isoflop.runs.readers.wandb_api import read_wandb


@dataclass(frozen=True, slots=True)
class Reader:
    """How runs of one tool are found and read.

    `read` raises RunError where the path itself is none of the tool's; what is wrong within is
    among the `problems` of its run.
    """

    kind: str
    sniff: Callable[[Path], bool]
    read: Callable[[Path], Iterator[ForeignRun]]


_MODULES = (wandb, mlflow, trackio, trainer_state, tensorboard, lm_eval)

READERS: dict[str, Reader] = {
    module.TOOL: Reader(module.TOOL, module.sniff, module.read) for module in _MODULES
}
"""Every reader of files by its kind; where a folder is of several kinds, the first tells most."""

SERVERS: dict[str, Callable[[str, Path, Callable[[str], bool]], Iterator[ForeignRun]]] = {
    "wandb": read_wandb,
    "mlflow": read_mlflow,
}
"""Runs of a server: (what follows the colon, folder of the cache, which metrics are wanted)."""

__all__ = ["READERS", "SERVERS", "Reader"]
