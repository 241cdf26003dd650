"""Checkpoints: model, optimiser, place in the data and random state, written atomically.

`hold_<step>.pt` is kept for the branches that cool down from it; `last_<step>.pt` is replaced by
the next one. The data order is a pure function of the step, so the step is all its state.
"""

import os
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from isoflop._errors import RunError
from isoflop.runs.checkpoints import latest as latest
from isoflop.runs.checkpoints import step_of as step_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The state after `step` optimiser steps."""

    step: int
    wall_s: float
    model: dict[str, Any]
    optimiser: dict[str, Any]
    watch: dict[str, Any] = field(default_factory=dict)
    """What the watch over the loss remembers; a checkpoint of an older version has none."""
    random: torch.Tensor | None = None
    """State of the random numbers: nothing draws from them yet once the weights are made."""


def save(folder: Path, checkpoint: Checkpoint, *, keep: bool) -> Path:
    """Write `hold_…` (keep) or `last_…`, then drop older `last_…` files."""
    name = f"{'hold' if keep else 'last'}_{checkpoint.step:08d}.pt"
    temporary = folder / f"{name}.tmp"
    state = {
        "step": checkpoint.step,
        "wall_s": checkpoint.wall_s,
        "model": checkpoint.model,
        "optimiser": checkpoint.optimiser,
        "watch": checkpoint.watch,
        "random": checkpoint.random,
    }
    with temporary.open("wb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(folder / name)
    for old in folder.glob("last_*.pt"):
        if step_of(old) < checkpoint.step:
            old.unlink()
    return folder / name


def load(path: Path, device: torch.device) -> Checkpoint:
    """Read a checkpoint; tensors only, so that a foreign file cannot run code."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        return Checkpoint(**state)
    except (OSError, RuntimeError, EOFError, TypeError, pickle.UnpicklingError) as error:
        raise RunError(
            f"{path}: corrupt checkpoint ({type(error).__name__}). "
            "Delete this file: the run goes on from the one before."
        ) from error


def hold(folder: Path, step: int) -> Path:
    """Where the checkpoint for a branch at `step` lies."""
    return folder / f"hold_{step:08d}.pt"
