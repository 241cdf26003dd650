"""One run folder from wherever it stands to its end."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from isoflop._errors import IsoflopError, RunError
from isoflop.runs import RunFolder, Status
from isoflop.specs import RunConfig
from isoflop.training import checkpoint as checkpoints
from isoflop.training.execution import settle
from isoflop.training.trainer import Trainer
from isoflop.training.watch import DivergedRun
from isoflop.training.world import ALONE, World

_HEARTBEAT_S = 1.0
# A training is looked at twice an octave, whatever its length, so that its curve does not depend
# on how far it is asked to go.
_FIRST_LOOK_STEP = 64

_log = logging.getLogger("isoflop.training")


class InterruptedRun(Exception):
    """The process was asked to stop; the run has saved itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Goal:
    """Where a run stands and what is left of it."""

    last: int
    """The step at which it ends."""
    stops: tuple[int, ...] = ()
    """Steps at which a trunk keeps a checkpoint for a branch."""
    recorded: int = -1
    """The last step that has a point."""
    is_done: bool = False


def train_run(
    corpus: Path,
    folder: RunFolder,
    *,
    holds: Sequence[int],
    wish: Mapping[str, Any],
    stop_asked: Sequence[int] = (),
    world: World = ALONE,
) -> None:
    """Train one run folder to its end; a trunk to the last of `holds` (tokens, one a branch).

    A branch starts from its trunk's checkpoint, a run of its own (a cosine) from nothing. Resumes
    from the last checkpoint; writes points, checkpoints and status into the folder, the reason of
    a failure included.

    Args:
        corpus: the folder of the prepared corpus.
        folder: the run.
        holds: for a trunk, where its branches begin.
        wish: threads, micro_batch, device, dtype, compile, checkpoint_seconds; obeyed by a run
            that has not begun. `multiple_choice`: measure it at the end.
        stop_asked: filled by a signal handler while the run goes on: it then saves and stops.
        world: the processes that share the training; all of them call this.

    Raises:
        InterruptedRun: asked to stop, after saving.
        InputError: the configuration cannot be trained.
    """
    try:
        _train(corpus, folder, holds, wish, stop_asked, world=world)
    except InterruptedRun:
        raise
    except DivergedRun as error:
        _end(folder, world, "diverged", str(error))
    except IsoflopError as error:
        _end(folder, world, "failed", str(error))
        raise
    except Exception as error:
        _end(folder, world, "failed", f"{type(error).__name__}: {error}")
        raise


def _end(folder: RunFolder, world: World, state: str, reason: str) -> None:
    if world.writes:
        folder.beat(state=state, reason=reason)


def _train(
    corpus: Path,
    folder: RunFolder,
    holds: Sequence[int],
    wish: Mapping[str, Any],
    stop_asked: Sequence[int],
    *,
    world: World,
) -> None:
    config: RunConfig = world.from_first(folder.config)
    goal: _Goal = world.from_first(lambda: _goal(folder, config, holds))
    if goal.is_done:
        return
    batch = config.optimiser.batch_tokens
    branches = sum(wish.get("cooldowns", ()))
    execution = settle(folder, wish, config, n_tokens=goal.last * batch + branches, world=world)
    torch.set_num_threads(execution["threads"])
    if world.writes:
        attempt = folder.status().attempt + 1
        folder.set_status(Status(state="running", attempt=attempt, heartbeat=time.time()))
    trainer = Trainer(
        config, folder, corpus, execution, world, multiple_choice=bool(wish.get("multiple_choice"))
    )
    source = world.from_first(lambda: _source(folder, config, goal))
    if source is not None:
        trainer.restore(source)
    if world.writes:
        _log.info("run %s: from step %d to %d", folder.run_id, trainer.step, goal.last)
    _advance(trainer, goal, stop_asked)
    trainer.beat(state="done")


def _goal(folder: RunFolder, config: RunConfig, holds: Sequence[int]) -> _Goal:
    """What is left to do; marks a run that is done. One that diverged is not tried again."""
    if folder.status().state == "diverged":
        return _Goal(last=0, is_done=True)
    if config.is_trunk and not holds:
        raise RunError(
            f"{folder.path}: is a trunk, which ends where its branches begin. Name one too."
        )
    batch = config.optimiser.batch_tokens
    stops = tuple(sorted(hold // batch for hold in holds)) if config.is_trunk else ()
    last = stops[-1] if stops else config.n_tokens // batch
    recorded = folder.mend()
    if config.is_trunk:
        done = all(checkpoints.hold(folder.checkpoints, stop).exists() for stop in stops)
    else:
        done = folder.final() is not None
    if done:
        folder.beat(state="done", n_tokens=last * batch, step=last)
    return _Goal(last=last, stops=stops, recorded=recorded, is_done=done)


def _source(folder: RunFolder, config: RunConfig, goal: _Goal) -> Path | None:
    """The newest usable checkpoint: the run's own, or for a fresh branch its trunk's."""
    own = folder.checkpoints
    missing = [stop for stop in goal.stops if not checkpoints.hold(own, stop).exists()]
    newest = checkpoints.latest(own, up_to=missing[0] if missing else 2**62)
    if newest is not None or config.trunk is None:
        return newest
    hold_step = config.schedule.hold_tokens // config.optimiser.batch_tokens
    trunk = RunFolder(folder.path.parent / config.trunk)
    source = checkpoints.hold(trunk.checkpoints, hold_step)
    if not source.exists():
        raise RunError(
            f"{source}: missing; the trunk of run {folder.run_id} has not reached its "
            "cooldown. Run the ladder again: it trains the trunk first."
        )
    return source


def _advance(trainer: Trainer, goal: _Goal, stop_asked: Sequence[int]) -> None:
    """Step to the goal, recording and saving on the way; stop where asked to."""
    config, world = trainer.config, trainer.world
    saved = beaten = time.monotonic()
    while trainer.step < goal.last:
        before = time.monotonic()
        trainer.train_step()
        now = time.monotonic()
        trainer.wall_s += now - before
        looks = config.is_trunk or (config.trunk is None and trainer.step < goal.last)
        if looks and is_look(trainer.step):
            trainer.record(final=False, write=trainer.step > goal.recorded)
        asked, due = bool(stop_asked), now - saved > trainer.execution["checkpoint_seconds"]
        if world.size > 1:  # all must do the same: what one wants is settled at common steps
            asked, due = world.any_of(asked, due) if trainer.looks_up else (False, False)
        if trainer.step in goal.stops:
            trainer.save(keep=True)
        elif asked or due:
            trainer.save(keep=False)
            saved = now
        if asked:
            trainer.beat(state="preempted", reason="asked to stop")
            world.wait()  # the first process that is gone ends the others: rank 0 has written
            raise InterruptedRun
        if now - beaten > _HEARTBEAT_S:
            trainer.beat()
            beaten = now
    if not config.is_trunk:
        trainer.record(final=True)
        trainer.save(keep=False)


def is_look(step: int) -> bool:
    """Whether a training is evaluated after this step: steps 64·2^(k/2), rounded."""
    if step < _FIRST_LOOK_STEP:
        return False
    octaves = round(2 * math.log2(step / _FIRST_LOOK_STEP))
    return step == round(_FIRST_LOOK_STEP * 2 ** (octaves / 2))
