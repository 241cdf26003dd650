"""`LossWatch`: single bad steps are counted, a run that has left its level is called diverged.

A step whose gradient is no number changes nothing and is counted; `_SKIPPED_IN_A_ROW` of them end
the run. Large gradients are clipped by the optimiser's `grad_clip`. The mean training loss of every
block of `BLOCK` steps is compared with the lowest such mean so far (at most that of a model that
knows nothing, ln V + 1): `MARGIN` nats above it, the run has diverged.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from isoflop.training.world import ALONE, World

BLOCK = 32
"""Steps whose mean loss is judged: at 1024 tokens a step 32,768 tokens."""
MARGIN = 1.0
"""Nats: e times the perplexity. The means of two blocks of a healthy pilot differ by under 0.2."""
_SKIPPED_IN_A_ROW = 3
_KEPT = ("best", "total", "counted", "in_a_row", "n_skipped", "n_spikes", "grad_norm")


class DivergedRun(Exception):
    """The training has left its level, or its loss is no longer a number."""


@dataclass(slots=True)
class LossWatch:
    """Sees the loss and gradient norm of every step; on a GPU in groups, to spare a wait a step."""

    ceiling: float
    """Loss of a model that knows nothing, ln V, and one nat."""
    every: int = 1
    """Steps that are looked at together."""
    world: World = ALONE
    best: float = math.inf
    total: float = 0.0
    counted: int = 0
    in_a_row: int = 0
    n_skipped: int = 0
    n_spikes: int = 0
    grad_norm: float = 0.0
    """Largest since `taken_norm`."""
    _unseen: list[tuple[int, Tensor, Tensor]] = field(default_factory=list)

    def see(self, step: int, loss: Tensor, norm: Tensor) -> None:
        """Take the (detached) loss and gradient norm of a step.

        Raises:
            DivergedRun: with the reason and the step.
        """
        self._unseen.append((step, loss, norm))
        if len(self._unseen) >= self.every:
            self.settle()

    def settle(self) -> None:
        """Judge the steps that have not been looked at yet; raises as `see`."""
        if not self._unseen:
            return
        steps = [step for step, _, _ in self._unseen]
        pairs = torch.stack([torch.stack((loss, norm)) for _, loss, norm in self._unseen])
        self._unseen = []
        for step, (loss, norm) in zip(steps, self.world.mean(pairs).tolist(), strict=True):
            self._judge(step, loss, norm)

    def _judge(self, step: int, loss: float, norm: float) -> None:
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.n_skipped += 1
            self.in_a_row += 1
            if self.in_a_row == _SKIPPED_IN_A_ROW:
                what = f"loss became {loss}" if not math.isfinite(loss) else f"gradient is {norm}"
                raise DivergedRun(
                    f"the training {what} at step {step - self.in_a_row + 1}, and "
                    f"{self.in_a_row} steps in a row could not be used"
                )
            return
        self.in_a_row = 0
        level = min(self.best, self.ceiling)
        self.n_spikes += loss > level + MARGIN
        self.grad_norm = max(self.grad_norm, norm)
        self.total += loss
        self.counted += 1
        if self.counted < BLOCK:
            return
        mean, self.total, self.counted = self.total / BLOCK, 0.0, 0
        if mean > level + MARGIN:
            raise DivergedRun(
                f"the mean training loss of the {BLOCK} steps to step {step} is {mean:.3f}, more "
                f"than {MARGIN:g} above its lowest level, {level:.3f}"
            )
        self.best = min(self.best, mean)

    def taken_norm(self) -> float:
        """The largest gradient norm, before clipping, since the last call."""
        norm, self.grad_norm = self.grad_norm, 0.0
        return norm

    def state(self) -> dict[str, Any]:
        """What a resume needs to judge as if nothing had happened."""
        return {name: getattr(self, name) for name in _KEPT}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`; a checkpoint of an older version has none."""
        for name in _KEPT:
            setattr(self, name, state.get(name, getattr(self, name)))
