"""How a run is computed: chosen before its first step and frozen for resumes."""

import os
import shutil
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from isoflop._errors import InputError, RunError
from isoflop.runs import RunFolder
from isoflop.specs import ModelShape, RunConfig
from isoflop.training.trial import CHOSEN, hold_trial
from isoflop.training.world import ALONE, World

# bf16 matrices pay on CPUs only when they are large: at width 64-128 conversion costs more than
# the multiplication saves (LOG.md, "bf16 on the CPU").
_CPU_BF16_WIDTH = 256


def choose_device(wanted: str) -> torch.device:
    """The device for `auto`, `cpu` or `cuda`."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "launch.device = 'cuda': no CUDA device is usable here. Use 'auto' or 'cpu'."
        )
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def choose_dtype(wanted: str, device: torch.device, shape: ModelShape) -> str:
    """The compute type for `auto`: bfloat16 on CUDA and on CPUs that have it, for wide models."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return "bfloat16" if cpu_has_bf16() and shape.width >= _CPU_BF16_WIDTH else "float32"


def cpu_has_bf16() -> bool:
    """Whether this processor multiplies bf16 matrices itself."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def settle(
    folder: RunFolder,
    wish: Mapping[str, Any],
    config: RunConfig,
    *,
    n_tokens: int,
    world: World = ALONE,
) -> dict[str, Any]:
    """How a run is computed: what its execution.json says, or the wish, which is then frozen.

    Where the wish says `auto`, a branch is computed as its trunk was, and any other run as a
    measured trial finds best (every process takes part, rank 0 decides).

    Args:
        folder: the run.
        wish: threads, micro_batch, device, dtype, compile, checkpoint_seconds.
        config: the run's configuration.
        n_tokens: tokens that a trial must be repaid by.
        world: the processes.

    Raises:
        InputError: the device wished for is not usable here, or too few sequences a step.
        RunError: execution.json is corrupt, or names a device that is not usable here.
    """
    own = world.share_of(config.optimiser.batch_tokens // config.shape.context)
    execution: dict[str, Any] | None = world.from_first(folder.execution)
    if execution is None:
        execution = _choose(
            folder, wish, config, n_sequences=own, n_tokens=n_tokens // world.size, world=world
        )
        execution |= {"processes": world.size, "parallel": world.parallel}
        frozen = dict(execution)
        execution = dict(world.from_first(lambda: folder.freeze_execution(frozen)))
    _check(folder, execution)
    before = execution.get("processes", 1)
    if world.size != before:
        text = f"goes on with {world.size} processes ({world.parallel}), before: {before}"
        execution |= {"processes": world.size, "parallel": world.parallel}
        if world.writes:
            note(folder, execution, text)
        execution["micro_batch"] = min(execution["micro_batch"], own)
    return execution


def note(folder: RunFolder, execution: dict[str, Any], text: str) -> None:
    """Add a word to the run's execution.json on how its execution had to change."""
    execution["notes"] = [*execution.get("notes", []), text]
    folder.rewrite_execution(execution)


def _choose(
    folder: RunFolder,
    wish: Mapping[str, Any],
    config: RunConfig,
    *,
    n_sequences: int,
    n_tokens: int,
    world: World,
) -> dict[str, Any]:
    device = choose_device(wish["device"])
    dtype = choose_dtype(wish["dtype"], device, config.shape)
    names = ("threads", "micro_batch", "compile", "checkpoint_seconds")
    execution = {name: wish[name] for name in names} | {"device": device.type, "dtype": dtype}
    if wish["compile"] and (missing := missing_compiler(device)):
        execution |= {"compile": False, "notes": [f"not compiled: {missing}"]}
    free = {name for name in ("micro_batch", "compile") if execution[name] == "auto"}
    if not free:
        return execution
    if config.trunk is not None:
        trunk = RunFolder(folder.path.parent / config.trunk)
        made = world.from_first(trunk.execution)
        if made is not None:
            return execution | {name: made[name] for name in (*CHOSEN, "device")}
    if wish.get("fewer_threads"):
        free.add("threads")
    if "compile" in free and wish["dtype"] == "auto" and device.type == "cpu" and cpu_has_bf16():
        free.add("dtype")
    plain = {"micro_batch": 0, "compile": False}
    execution |= {name: plain[name] for name in free & set(plain)}
    chosen = hold_trial(config, execution, free=free, n_sequences=n_sequences, n_tokens=n_tokens)
    return execution | dict(world.from_first(lambda: chosen))


def missing_compiler(device: torch.device) -> str:
    """What `torch.compile` would look for here in vain; empty if it is there."""
    wanted = os.environ.get("CXX", "g++") if device.type == "cpu" else os.environ.get("CC", "cc")
    if any(shutil.which(name) for name in (wanted, *_OTHER_COMPILERS[device.type])):
        headers = Path(sysconfig.get_path("include")) / "Python.h"
        return "" if headers.exists() else f"no {headers}; install Python's headers (python3-dev)"
    return f"no compiler {wanted!r} on this machine; install one to use launch.compile"


_OTHER_COMPILERS: Mapping[str, tuple[str, ...]] = {"cpu": (), "cuda": ("gcc", "clang")}


def _check(folder: RunFolder, execution: Mapping[str, Any]) -> None:
    good = {
        "threads": _is_count(execution.get("threads"), 1),
        "micro_batch": _is_count(execution.get("micro_batch"), 0),
        "device": execution.get("device") in ("cpu", "cuda"),
        "dtype": execution.get("dtype") in ("float32", "bfloat16"),
        "compile": isinstance(execution.get("compile"), bool),
        "checkpoint_seconds": isinstance(execution.get("checkpoint_seconds"), int | float),
        "processes": _is_count(execution.get("processes", 1), 1),
    }
    remedy = "Restore the file, or delete the run folder to train it again."
    for key, fine in good.items():
        if not fine:
            raise RunError(
                f"{folder.path / 'execution.json'}: {key} = {execution.get(key)!r} cannot be "
                f"obeyed. {remedy}"
            )
    if execution["device"] == "cuda" and not torch.cuda.is_available():
        raise RunError(
            f"{folder.path / 'execution.json'}: device = 'cuda', with which the run was begun, is "
            "not usable here. Go on where it is, or delete the run folder to train it again."
        )


def _is_count(value: object, least: int) -> bool:
    return type(value) is int and value >= least
