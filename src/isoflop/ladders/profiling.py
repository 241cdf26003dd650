"""`profile_ladder`: a few steps of every shape of a ladder on this machine, in processes."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from isoflop.accounting import count_params
from isoflop.ladders.design import Ladder
from isoflop.specs import LaunchSection, ModelShape, RunConfig

STEPS = 20
SETTLING = 4
"""First steps that are left out: memory is allocated, caches fill."""

TIMEOUT_S = 300.0

Key = tuple[ModelShape, int]
"""A shape and its batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProfile:
    """Seconds of one step with its 10 % and 90 % quantiles, and the highest memory."""

    seconds: float
    low: float
    high: float
    memory_bytes: int
    device: str
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderProfile:
    """What was measured, by shape and batch, and why the others were not."""

    steps: Mapping[Key, StepProfile]
    words: tuple[str, ...]


def key_of(run: RunConfig) -> Key:
    """What decides the time of a run's step."""
    return run.shape, run.optimiser.batch_tokens


def profile_ladder(
    ladder: Ladder,
    *,
    launch: LaunchSection,
    threads: int,
    progress: Callable[[float, str], None],
) -> LadderProfile:
    """Profile each distinct shape and batch of a ladder, the smallest first, one at a time.

    A shape that cannot be profiled here (no memory, no such device, too slow) is named with the
    reason; larger ones are then not tried, and the formula stands in for all of them.
    """
    if importlib.util.find_spec("torch") is None:
        word = "torch is not installed, so no step was timed: times and memory are the formula's"
        return LadderProfile(steps={}, words=(word,))
    runs = {key_of(job.trunk): job.trunk for _, job in ladder.jobs}
    ordered = sorted(runs, key=lambda key: (count_params(key[0]).total, key[1]))
    found: dict[Key, StepProfile] = {}
    for number, key in enumerate(ordered):
        shape, batch = key
        name = f"width {shape.width}, depth {shape.depth}, batch {batch}"
        progress(number / len(ordered), name)
        measured = _profile(runs[key], launch, threads)
        if isinstance(measured, str):
            left = len(ordered) - number
            word = f"{name}: {measured}; the formula stands in for it"
            return LadderProfile(
                steps=found,
                words=(word + (f" and {left - 1} larger" if left > 1 else ""),),
            )
        found[key] = measured
    progress(1.0, "")
    return LadderProfile(steps=found, words=())


def _profile(run: RunConfig, launch: LaunchSection, threads: int) -> StepProfile | str:
    """The profile of a run's step, or why there is none."""
    micro = launch.micro_batch_tokens
    wish = {
        "config": run.to_json(),
        "steps": STEPS,
        "threads": threads,
        "sequences": run.optimiser.batch_tokens // run.shape.context // launch.total_processes,
        "micro_batch": micro // run.shape.context if isinstance(micro, int) else 0,
        "device": launch.device,
        "dtype": launch.dtype,
        "compile": launch.compile,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "isoflop.training.profile"],
            input=json.dumps(wish),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env=dict(os.environ, OMP_NUM_THREADS=str(threads)),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{STEPS} steps took more than {TIMEOUT_S:.0f} s"
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        return said[-1] if said else f"its process ended with {done.returncode}"
    return _read(json.loads(done.stdout.splitlines()[-1]))


def _read(data: Mapping[str, Any]) -> StepProfile:
    seconds = np.array(data["seconds"][SETTLING:], dtype=np.float64)
    low, middle, high = np.quantile(seconds, [0.1, 0.5, 0.9]).tolist()
    return StepProfile(
        seconds=middle,
        low=low,
        high=high,
        memory_bytes=int(data["memory_bytes"]),
        device=str(data["device"]),
        dtype=str(data["dtype"]),
    )
