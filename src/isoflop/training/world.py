"""`World`: the processes that share one training, and what they tell each other.

Under `torchrun` (its variables RANK, WORLD_SIZE and LOCAL_RANK are set, on one node or on several)
there are several; otherwise one, and nothing here costs anything. Rank 0 alone writes files.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from isoflop._errors import InputError, IsoflopError

Parallel = Literal["ddp", "fsdp"]
_TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One of `size` processes."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    parallel: Parallel = "ddp"

    @staticmethod
    def join(parallel: Parallel) -> "World":
        """The world that `torchrun` has prepared, joined; alone where it has not."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return World(parallel=parallel)
        world = World(
            rank=int(os.environ["RANK"]),
            size=size,
            local_rank=int(os.environ["LOCAL_RANK"]),
            parallel=parallel,
        )
        backend = "gloo"
        if torch.cuda.is_available():
            backend = "cpu:gloo,cuda:nccl"
            torch.cuda.set_device(world.local_rank % torch.cuda.device_count())
        dist.init_process_group(backend, timeout=_TIMEOUT)  # env://, as torchrun sets it
        return world

    def leave(self) -> None:
        """Close the connections."""
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()

    @property
    def writes(self) -> bool:
        """Whether this process writes the run folder."""
        return self.rank == 0

    @property
    def shards(self) -> bool:
        """Whether the model is divided among the processes (FSDP2)."""
        return self.size > 1 and self.parallel == "fsdp"

    def device(self, kind: str) -> torch.device:
        """This process's device."""
        if kind == "cuda" and self.size > 1:
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device(kind)

    def share_of(self, n_sequences: int) -> int:
        """Sequences of a batch that each process computes.

        Raises:
            InputError: they cannot be divided equally.
        """
        if n_sequences % self.size:
            raise InputError(
                f"train.batch_tokens: its {n_sequences} sequences cannot be divided among "
                f"{self.size} processes. Change launch.processes or train.batch_tokens."
            )
        return n_sequences // self.size

    def from_first(self, ask: Callable[[], Any]) -> Any:
        """What `ask` gives in rank 0, in every process; an error of isoflop's is raised in all."""
        if self.size == 1:
            return ask()
        answer: list[Any] = [None, None]
        if self.writes:
            try:
                answer[0] = ask()
            except IsoflopError as error:
                answer[1] = error
        dist.broadcast_object_list(answer, src=0)
        if answer[1] is not None:
            raise answer[1]
        return answer[0]

    def any_of(self, *flags: bool) -> tuple[bool, ...]:
        """Each flag, true where any process has it."""
        if self.size == 1:
            return flags
        votes = torch.tensor([float(flag) for flag in flags])
        dist.all_reduce(votes, dist.ReduceOp.MAX)
        return tuple(vote > 0 for vote in votes.tolist())

    def mean(self, values: Tensor) -> Tensor:
        """The mean over processes, elementwise; NaN or infinity of one is everyone's."""
        if self.size == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.size

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            dist.barrier()


ALONE = World()


def spread(model: nn.Module, world: World, device: torch.device, *, unused: bool) -> nn.Module:
    """The module whose backward pass averages gradients over the world.

    DDP wraps the model; FSDP2 divides its parameters in place, block by block. `unused`: some
    parameters may get no gradient in a step.
    """
    if world.size == 1:
        return model
    if world.parallel == "ddp":
        from torch.nn.parallel import DistributedDataParallel

        ids = [device.index] if device.type == "cuda" else None
        wrapped: nn.Module = DistributedDataParallel(
            model, device_ids=ids, find_unused_parameters=unused
        )
        return wrapped
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(device.type, (world.size,))
    for block in model.get_submodule("blocks").children():
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    register_fsdp_forward_method(model, "logits")  # what multiple choice asks the model
    return model


def whole(value: Any) -> Any:
    """A sharded tensor gathered from all processes (all must ask); anything else as it is."""
    return value.full_tensor() if _is_sharded(value) else value


def shard_like(value: Tensor, pattern: Tensor) -> Tensor:
    """This process's part of `value`, divided as `pattern` is; `value` itself if that is not."""
    if not _is_sharded(pattern):
        return value
    from torch.distributed.tensor import distribute_tensor

    target: Any = pattern
    part: Tensor = distribute_tensor(
        value.to(target.device), target.device_mesh, target.placements, src_data_rank=None
    )
    return part


def _is_sharded(value: Any) -> bool:
    # Without importing DTensor: a training that is alone need not wait for that.
    return hasattr(value, "full_tensor")
