"""The training loop: one run folder from wherever it stands to its end."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from isoflop._errors import IsoflopError, RunError
from isoflop.accounting import count_params, train_flops
from isoflop.data import read_card
from isoflop.runs import Point, RunFolder, Status
from isoflop.specs import RunConfig
from isoflop.training import checkpoint as checkpoints
from isoflop.training.batches import Batches, ValidationSet
from isoflop.training.execution import settle
from isoflop.training.model import Transformer
from isoflop.training.optimiser import make_optimiser

_HEARTBEAT_S = 1.0
# A trunk is looked at twice an octave, whatever its length, so that its curve does not depend on
# how far it is asked to go; every eighth window is enough to see a slope.
_FIRST_LOOK_STEP = 64
_LOOK_STRIDE = 8
_EVAL_TOKENS = 16_384

_log = logging.getLogger("isoflop.training")


class InterruptedRun(Exception):
    """The process was asked to stop; the run has saved itself."""


class DivergedRun(Exception):
    """The loss is no longer a number."""


@dataclass(slots=True)
class Trainer:
    """Model, optimiser and data of one run; `step` optimiser steps are done."""

    config: RunConfig
    folder: RunFolder
    corpus: Path
    execution: Mapping[str, Any]
    model: Transformer = field(init=False)
    optimiser: torch.optim.AdamW = field(init=False)
    batches: Batches = field(init=False)
    validation: ValidationSet = field(init=False)
    device: torch.device = field(init=False)
    forward: Any = field(init=False)
    step: int = 0
    wall_s: float = 0.0

    def __post_init__(self) -> None:
        config = self.config
        self.device = torch.device(self.execution["device"])
        torch.manual_seed(config.seed)
        self.model = Transformer(config.shape, config.parametrisation)
        counted = count_params(config.shape).total
        actual = sum(p.numel() for p in self.model.parameters())
        assert actual == counted, f"model has {actual} parameters, accounting says {counted}"
        self.model.to(self.device)
        self.forward = torch.compile(self.model) if self.execution["compile"] else self.model
        self.optimiser = make_optimiser(self.model, config)
        names = [name for name, _ in config.data.weights]
        context = config.shape.context
        self.batches = Batches(self.corpus, config.data, context=context, seed=config.seed)
        self.validation = ValidationSet.open(self.corpus, names, context=context)

    @property
    def n_tokens(self) -> int:
        return self.step * self.config.optimiser.batch_tokens

    def restore(self, path: Path) -> None:
        state = checkpoints.load(path, self.device)
        self.model.load_state_dict(state.model)
        self.optimiser.load_state_dict(state.optimiser)
        self.step, self.wall_s = state.step, state.wall_s

    def save(self, *, keep: bool) -> None:
        state = checkpoints.Checkpoint(
            step=self.step,
            wall_s=self.wall_s,
            model=self.model.state_dict(),
            optimiser=self.optimiser.state_dict(),
        )
        checkpoints.save(self.folder.checkpoints, state, keep=keep)

    def train_step(self) -> None:
        """One optimiser step; raises DivergedRun when the loss is not finite."""
        settings, context = self.config.optimiser, self.config.shape.context
        n_sequences = settings.batch_tokens // context
        micro = self.execution["micro_batch"] or n_sequences
        factor = self.config.schedule.factor(self.n_tokens, self.n_tokens + settings.batch_tokens)
        for group in self.optimiser.param_groups:
            group["lr"] = settings.lr * factor * group["lr_factor"]
        x_all, y_all = self.batches.at(self.step * n_sequences, n_sequences)
        total = 0.0
        for x, y in zip(torch.split(x_all, micro), torch.split(y_all, micro), strict=True):
            x, y = x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)
            with self.autocast():
                loss = self.forward(x, y) * (len(x) / n_sequences)
            loss.backward()
            if self.device.type == "cpu" or self.step % 50 == 0:
                total += float(loss.detach())
        if not math.isfinite(total):
            raise DivergedRun(f"the training loss became {total} at step {self.step}")
        nn.utils.clip_grad_norm_(self.model.parameters(), settings.grad_clip)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1

    def autocast(self) -> AbstractContextManager[Any]:
        enabled = self.execution["dtype"] == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    @torch.no_grad()
    def evaluate(self, *, stride: int) -> dict[str, float]:
        """Mean loss [nats/token] per domain over every stride-th validation window."""
        losses = {}
        rows = max(1, _EVAL_TOKENS // self.config.shape.context)
        for name, windows in zip(self.validation.names, self.validation.windows, strict=True):
            chosen, total = windows[::stride], 0.0
            for block in torch.split(chosen, rows):
                block = block.to(self.device)
                with self.autocast():
                    total += float(self.model(block[:, :-1], block[:, 1:])) * len(block)
            losses[name] = total / len(chosen)
        return losses


def train_run(
    corpus: Path,
    folder: RunFolder,
    *,
    holds: Sequence[int],
    wish: Mapping[str, Any],
    stop_asked: Sequence[int] = (),
) -> None:
    """Train one run folder to its end; a trunk to the last of `holds` (tokens, one a branch).

    A branch starts from its trunk's checkpoint. Resumes from the last checkpoint; writes points,
    checkpoints and status into the folder, the reason of a failure included.

    Args:
        corpus: the folder of the prepared corpus.
        folder: the run.
        holds: for a trunk, where its branches begin.
        wish: threads, micro_batch, device, dtype, compile, checkpoint_seconds; obeyed by a run
            that has not begun.
        stop_asked: filled by a signal handler while the run goes on: it then saves and stops.

    Raises:
        InterruptedRun: asked to stop, after saving.
        InputError: the configuration cannot be trained.
    """
    try:
        _train(corpus, folder, holds, wish, stop_asked)
    except InterruptedRun:
        raise
    except DivergedRun as error:
        folder.beat(state="diverged", reason=str(error))
    except IsoflopError as error:
        folder.beat(state="failed", reason=str(error))
        raise
    except Exception as error:
        folder.beat(state="failed", reason=f"{type(error).__name__}: {error}")
        raise


def _train(
    corpus: Path,
    folder: RunFolder,
    holds: Sequence[int],
    wish: Mapping[str, Any],
    stop_asked: Sequence[int],
) -> None:
    config = folder.config()
    if config.trunk is None and not holds:
        raise RunError(
            f"{folder.path}: is a trunk, which ends where its branches begin. Name one too."
        )
    batch = config.optimiser.batch_tokens
    stops = sorted(hold // batch for hold in holds) if config.trunk is None else []
    last = stops[-1] if stops else config.n_tokens // batch
    recorded = folder.mend()
    if config.trunk is not None and folder.final() is not None:
        folder.beat(state="done", n_tokens=config.n_tokens, step=last)
        return
    if stops and all(checkpoints.hold(folder.checkpoints, s).exists() for s in stops):
        folder.beat(state="done", n_tokens=last * batch, step=last)
        return
    execution = settle(folder, wish, config.shape)
    torch.set_num_threads(execution["threads"])
    attempt = folder.status().attempt + 1
    folder.set_status(Status(state="running", attempt=attempt, heartbeat=time.time()))
    trainer = Trainer(config, folder, corpus, execution)
    _restore(trainer, stops)
    _log.info("run %s: from step %d to %d", folder.run_id, trainer.step, last)
    _advance(trainer, last, stops, recorded, stop_asked)
    folder.beat(state="done", step=trainer.step, n_tokens=trainer.n_tokens)


def _restore(trainer: Trainer, stops: Sequence[int]) -> None:
    """Load the newest usable checkpoint: the run's own, or for a fresh branch its trunk's."""
    folder, config = trainer.folder, trainer.config
    own = folder.checkpoints
    missing = [s for s in stops if not checkpoints.hold(own, s).exists()]
    newest = checkpoints.latest(own, up_to=missing[0] if missing else 2**62)
    if newest is not None:
        trainer.restore(newest)
    elif config.trunk is not None:
        hold_step = config.schedule.hold_tokens // config.optimiser.batch_tokens
        trunk = RunFolder(folder.path.parent / config.trunk)
        source = checkpoints.hold(trunk.checkpoints, hold_step)
        if not source.exists():
            raise RunError(
                f"{source}: missing; the trunk of run {folder.run_id} has not reached its "
                "cooldown. Run the ladder again: it trains the trunk first."
            )
        trainer.restore(source)


def _advance(
    trainer: Trainer, last: int, stops: Sequence[int], recorded: int, stop_asked: Sequence[int]
) -> None:
    """Step to `last`, recording and saving on the way; stop where asked to."""
    is_trunk = trainer.config.trunk is None
    saved = beaten = time.monotonic()
    while trainer.step < last:
        before = time.monotonic()
        trainer.train_step()
        now = time.monotonic()
        trainer.wall_s += now - before
        if is_trunk and _is_look(trainer.step) and trainer.step > recorded:
            _record(trainer, kind="intermediate")
        if trainer.step in stops:
            trainer.save(keep=True)
        elif stop_asked or now - saved > trainer.execution["checkpoint_seconds"]:
            trainer.save(keep=False)
            saved = now
        if stop_asked:
            trainer.folder.beat(
                state="preempted",
                reason="asked to stop",
                step=trainer.step,
                n_tokens=trainer.n_tokens,
            )
            raise InterruptedRun
        if now - beaten > _HEARTBEAT_S:
            trainer.folder.beat(step=trainer.step, n_tokens=trainer.n_tokens)
            beaten = now
    if not is_trunk:
        _record(trainer, kind="final")
        trainer.save(keep=False)


def _record(trainer: Trainer, *, kind: str) -> None:
    losses = trainer.evaluate(stride=1 if kind == "final" else _LOOK_STRIDE)
    mean = sum(losses.values()) / len(losses)
    if not math.isfinite(mean):
        raise DivergedRun(f"the validation loss became {mean} at step {trainer.step}")
    per_token = {d.name: d.bytes_per_token for d in read_card(trainer.corpus).domains}
    bits = [loss / math.log(2) / per_token[name] for name, loss in losses.items()]
    schedule, batch = trainer.config.schedule, trainer.config.optimiser.batch_tokens
    trainer.folder.append(
        Point(
            step=trainer.step,
            n_tokens=trainer.n_tokens,
            flops=train_flops(trainer.config.shape, trainer.n_tokens),
            loss=mean,
            lr=trainer.config.optimiser.lr
            * schedule.factor(trainer.n_tokens - batch, trainer.n_tokens),
            kind="final" if kind == "final" else "intermediate",
            loss_by_domain=losses,
            bpb=sum(bits) / len(bits),
            wall_s=trainer.wall_s,
        )
    )


def _is_look(step: int) -> bool:
    """Whether a trunk is evaluated after this step: steps 64·2^(k/2), rounded."""
    if step < _FIRST_LOOK_STEP:
        return False
    octaves = round(2 * math.log2(step / _FIRST_LOOK_STEP))
    return step == round(_FIRST_LOOK_STEP * 2 ** (octaves / 2))
