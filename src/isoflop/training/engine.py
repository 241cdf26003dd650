"""`Engine`: model and optimiser, and the step that moves them; knows neither data nor folders."""

import contextlib
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from isoflop.accounting import count_params
from isoflop.specs import RunConfig
from isoflop.training.model import Transformer
from isoflop.training.optimiser import make_optimiser
from isoflop.training.world import ALONE, World, shard_like, spread, whole


class StepResult(NamedTuple):
    """Of one step, on its device: mean loss [nats/token] and norm of the gradient before clipping.

    Under several processes the loss is that of this process's sequences.
    """

    loss: Tensor
    norm: Tensor


class Engine:
    """The weights of one training and how they are moved.

    `execution`: device, dtype, compile and micro_batch (sequences at once; 0: all).
    """

    def __init__(
        self, config: RunConfig, execution: Mapping[str, Any], world: World = ALONE
    ) -> None:
        self.config, self.world = config, world
        self.device = world.device(execution["device"])
        self.bf16 = execution["dtype"] == "bfloat16"
        self.micro_batch: int = execution["micro_batch"]
        torch.manual_seed(config.seed)
        self.model = Transformer(config.shape, config.parametrisation)
        counted = count_params(config.shape).total
        actual = sum(p.numel() for p in self.model.parameters())
        assert actual == counted, f"model has {actual} parameters, accounting says {counted}"
        self.model.to(self.device)
        self.compiled: bool = execution["compile"]
        self.forward = self._spread_and_compile()
        self.optimiser = make_optimiser(self.model, config)
        # A step that must be left out is left out on the device, without a wait; FSDP's sharded
        # tensors cannot say so to the fused kernel, and the host asks.
        self._skips_on_device = self.device.type == "cuda" and not world.shards

    def _spread_and_compile(self) -> Any:
        """The callable (x, y) -> loss; static shapes, so that a resume compiles the same code."""
        if self.world.size == 1:
            return torch.compile(self.model, dynamic=False) if self.compiled else self.model
        if self.compiled:  # inside the wrappers, whose hooks are not compiled
            parts = self.model.blocks if self.world.shards else [self.model]
            for part in parts:
                part.compile(dynamic=False)
        return spread(self.model, self.world, self.device, unused=self.config.shape.n_experts > 0)

    def stop_compiling(self) -> None:
        """Compute as the source says from here on, with the same weights."""
        self.compiled = False
        self.optimiser.zero_grad(set_to_none=True)
        if self.world.size == 1:
            self.forward = self.model
        for part in self.model.modules():
            part._compiled_call_impl = None  # what nn.Module.compile sets, and has no undoing of
        torch._dynamo.reset()

    def step(self, x: Tensor, y: Tensor, factor: float) -> StepResult:
        """One optimiser step on inputs and targets (B, T) at `factor` of the peak rate.

        A gradient that is no number leaves weights and optimiser as they were.
        """
        settings = self.config.optimiser
        for group in self.optimiser.param_groups:
            group["lr"] = settings.lr * factor * group["lr_factor"]
        loss = self._gradient(x, y)
        norm = whole(nn.utils.clip_grad_norm_(self.model.parameters(), settings.grad_clip))
        if self._skips_on_device:
            # What torch.amp's GradScaler sets to the same end.
            setattr(self.optimiser, "found_inf", (~torch.isfinite(norm)).float())  # noqa: B010
            self.optimiser.step()
        elif math.isfinite(float(norm)):
            self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return StepResult(loss, norm)

    def _gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Accumulate the gradient of the mean loss over micro-batches; that loss."""
        micro = self.micro_batch or len(x)
        if self.device.type == "cuda":  # a copy from other memory waits for all that is queued
            x, y = x.pin_memory(), y.pin_memory()
        parts = list(zip(torch.split(x, micro), torch.split(y, micro), strict=True))
        total: Tensor | None = None
        for number, (x_part, y_part) in enumerate(parts, start=1):
            x_part = x_part.to(self.device, non_blocking=True)
            y_part = y_part.to(self.device, non_blocking=True)
            with self._averaging(last=number == len(parts)):
                with self.autocast():
                    loss = self.forward(x_part, y_part) * (len(x_part) / len(x))
                loss.backward()
            total = loss.detach() if total is None else total + loss.detach()
        assert total is not None
        return total

    def _averaging(self, *, last: bool) -> AbstractContextManager[Any]:
        """Gradients are averaged over the processes once a step, with its last micro-batch."""
        if self.world.size == 1:
            return contextlib.nullcontext()
        if self.world.shards:
            self.forward.set_requires_gradient_sync(last)
            return contextlib.nullcontext()
        context: AbstractContextManager[Any] = (
            contextlib.nullcontext() if last else self.forward.no_sync()
        )
        return context

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which the model computes."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Model and optimiser, whole, whatever the number of processes (all must ask)."""
        model = {name: whole(value) for name, value in self.model.state_dict().items()}
        optimiser = self.optimiser.state_dict()
        optimiser["state"] = {
            key: {name: whole(value) for name, value in one.items()}
            for key, one in optimiser["state"].items()
        }
        return model, optimiser

    def load(self, model: Mapping[str, Any], optimiser: Mapping[str, Any]) -> None:
        """Take up a state that `state` gave, under any number of processes."""
        own = self.model.state_dict()
        self.model.load_state_dict({k: shard_like(v, own[k]) for k, v in model.items()})
        params = [p for group in self.optimiser.param_groups for p in group["params"]]
        moments = {
            key: {
                name: shard_like(value, params[key]) if value.ndim else value
                for name, value in one.items()
            }
            for key, one in optimiser["state"].items()
        }
        self.optimiser.load_state_dict({**optimiser, "state": moments})
