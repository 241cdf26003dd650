"""`Trainer`: an engine with its data, its run folder and its place in the schedule."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from isoflop._errors import RunError
from isoflop.accounting import train_flops
from isoflop.data import open_choices, read_card
from isoflop.runs import Point, RunFolder
from isoflop.specs import RunConfig
from isoflop.training import checkpoint as checkpoints
from isoflop.training.batches import Batches, ValidationSet
from isoflop.training.compiling import is_compile_error, why
from isoflop.training.engine import Engine
from isoflop.training.evaluate import TaskScore, answer, validation_losses
from isoflop.training.execution import note
from isoflop.training.memory import free_memory, is_out_of_memory
from isoflop.training.model import Transformer
from isoflop.training.watch import DivergedRun, LossWatch
from isoflop.training.world import ALONE, World

# How many steps are looked at together: every one costs a wait on a GPU and a message among
# processes, and on one CPU nothing.
_LOOK_EVERY = {"cpu": 8, "cuda": 32}
_LOOK_STRIDE = 8

_log = logging.getLogger("isoflop.training")


@dataclass(slots=True)
class Trainer:
    """One run under way; `step` optimiser steps are done."""

    config: RunConfig
    folder: RunFolder
    corpus: Path
    execution: dict[str, Any]
    world: World = ALONE
    multiple_choice: bool = False
    engine: Engine = field(init=False)
    batches: Batches = field(init=False)
    validation: ValidationSet = field(init=False)
    watch: LossWatch = field(init=False)
    step: int = 0
    wall_s: float = 0.0
    has_stepped: bool = False
    """Whether this run has done steps of its own, here or before a resume."""

    def __post_init__(self) -> None:
        config = self.config
        self.engine = Engine(config, self.execution, self.world)
        names = [name for name, _ in config.data.weights]
        context = config.shape.context
        self.batches = Batches(self.corpus, config.data, context=context, seed=config.seed)
        self.validation = ValidationSet.open(self.corpus, names, context=context)
        kind = self.engine.device.type
        alone = self.world.size == 1 and kind == "cpu"
        self.watch = LossWatch(
            ceiling=math.log(config.shape.vocab_size) + 1.0,
            every=1 if alone else _LOOK_EVERY[kind],
            world=self.world,
        )

    @property
    def model(self) -> Transformer:
        """The model."""
        return self.engine.model

    @property
    def n_tokens(self) -> int:
        """Tokens seen."""
        return self.step * self.config.optimiser.batch_tokens

    @property
    def looks_up(self) -> bool:
        """Whether processes talk to each other after this step, and a GPU is waited for."""
        return self.step % self.watch.every == 0

    def train_step(self) -> None:
        """One optimiser step; raises DivergedRun when the training has left its level."""
        batch = self.config.optimiser.batch_tokens
        n_sequences = batch // self.config.shape.context
        own = self.world.share_of(n_sequences)
        factor = self.config.schedule.factor(self.n_tokens, self.n_tokens + batch)
        x, y = self.batches.at(self.step * n_sequences + self.world.rank * own, own)
        while True:
            try:
                result = self.engine.step(x, y, factor)
                break
            except RuntimeError as error:
                if is_out_of_memory(error):
                    self._halve(own, error)
                elif is_compile_error(error):
                    self._stop_compiling(error)
                else:
                    raise
        self.step += 1
        self.has_stepped = True
        self.watch.see(self.step - 1, result.loss, result.norm)

    def _halve(self, n_sequences: int, error: RuntimeError) -> None:
        """Go on with half as many sequences in memory at once; the step is computed again."""
        micro = self.engine.micro_batch or n_sequences
        if self.world.size > 1:  # the others wait: all must begin again, with less each
            raise error
        if micro == 1:
            raise RunError(
                f"out of memory at step {self.step} with one sequence at once. Shrink the model."
            ) from error
        self.engine.optimiser.zero_grad(set_to_none=True)
        free_memory(self.engine.device)
        self.engine.micro_batch = micro // 2
        self.execution["micro_batch"] = micro // 2
        note(self.folder, self.execution, f"out of memory at step {self.step}: micro_batch halved")

    def _stop_compiling(self, error: RuntimeError) -> None:
        """Go on uncompiled: before the first step only, as it changes the last bits of numbers."""
        if self.has_stepped or self.world.shards:
            raise RunError(
                f"torch.compile failed at step {self.step}: {why(error)}. Go on where it works, or "
                "set launch.compile = false and delete the run folder to train it again."
            ) from error
        self.engine.stop_compiling()
        self.execution["compile"] = False
        text = f"not compiled: torch.compile failed here: {why(error)}"
        _log.warning("%s", text)
        if self.world.writes:
            note(self.folder, self.execution, text)

    def evaluate(self, *, stride: int) -> dict[str, float]:
        """Mean loss [nats/token] per domain over every stride-th validation window."""
        return validation_losses(self.engine, self.validation, stride=stride)

    def restore(self, path: Path) -> None:
        """Take up a checkpoint, this run's or its trunk's."""
        self.has_stepped = path.parent == self.folder.checkpoints
        state = checkpoints.load(path, self.engine.device)
        self.engine.load(state.model, state.optimiser)
        self.step, self.wall_s = state.step, state.wall_s
        self.watch.restore(state.watch)
        if state.random is not None:
            torch.set_rng_state(state.random.cpu())

    def save(self, *, keep: bool) -> None:
        """Write a checkpoint: for branches (`keep`), or for a resume."""
        self.watch.settle()
        model, optimiser = self.engine.state()
        if self.world.writes:
            state = checkpoints.Checkpoint(
                step=self.step,
                wall_s=self.wall_s,
                model=model,
                optimiser=optimiser,
                watch=self.watch.state(),
                random=torch.get_rng_state(),
            )
            checkpoints.save(self.folder.checkpoints, state, keep=keep)

    def beat(self, **changes: Any) -> None:
        """A sign of life with the place reached, and what has changed."""
        if self.world.writes:
            self.folder.beat(step=self.step, n_tokens=self.n_tokens, **changes)

    def record(self, *, final: bool, write: bool = True) -> None:
        """Evaluate and append a point, or only pass it where it has been written (`write`).

        Raises:
            DivergedRun: the loss is no number.
        """
        self.watch.settle()
        norm = self.watch.taken_norm()
        if not write:
            return
        losses = self.evaluate(stride=1 if final else _LOOK_STRIDE)
        mean = sum(losses.values()) / len(losses)
        if not math.isfinite(mean):
            raise DivergedRun(f"the validation loss became {mean} at step {self.step}")
        tasks = self._tasks() if final and self.multiple_choice else {}
        if self.world.writes:
            self.folder.append(self._point(losses, tasks, grad_norm=norm, final=final))

    def _point(
        self,
        losses: Mapping[str, float],
        tasks: Mapping[str, TaskScore],
        *,
        grad_norm: float,
        final: bool,
    ) -> Point:
        per_token = {d.name: d.bytes_per_token for d in read_card(self.corpus).domains}
        bits = [loss / math.log(2) / per_token[name] for name, loss in losses.items()]
        schedule, batch = self.config.schedule, self.config.optimiser.batch_tokens
        unique = self.config.data.n_unique(self.n_tokens, self.batches.train_tokens)
        return Point(
            step=self.step,
            n_tokens=self.n_tokens,
            flops=train_flops(self.config.shape, self.n_tokens),
            loss=sum(losses.values()) / len(losses),
            lr=self.config.optimiser.lr * schedule.factor(self.n_tokens - batch, self.n_tokens),
            kind="final" if final else "intermediate",
            loss_by_domain=losses,
            bpb=sum(bits) / len(bits),
            wall_s=self.wall_s,
            acc_by_domain={name: score.accuracy for name, score in tasks.items()},
            task_loss_by_domain={name: score.loss for name, score in tasks.items()},
            grad_norm=grad_norm,
            n_skipped=self.watch.n_skipped,
            n_spikes=self.watch.n_spikes,
            n_unique_tokens=unique if unique < self.n_tokens else None,
        )

    def _tasks(self) -> dict[str, TaskScore]:
        context, names = self.config.shape.context, self.validation.names
        # Rank 0 makes the questions where they have not been made; then everyone reads them.
        self.world.from_first(
            lambda: [open_choices(self.corpus, name, context=context) for name in names] and None
        )
        return {
            name: answer(self.engine, open_choices(self.corpus, name, context=context))
            for name in names
        }
