"""What a ladder will cost before it starts: seconds and bytes per run."""

import math
from dataclasses import dataclass, replace

from isoflop.accounting import (
    cost_usd,
    count_params,
    device_hours,
    find_accelerator,
    train_flops,
    training_memory_bytes,
)
from isoflop.ladders.design import Job, Ladder
from isoflop.specs import LaunchSection, ModelShape, RunConfig

# ASSUMPTION: one thread of a 2023 server core with AVX-512, float32. Fitted to 4.75M tokens each
# at N = 41k, 132k, 460k (43k, 30k, 14k tokens/s): t = tokens · (18 µs + 6N/53 GFLOP/s), all three
# within 3 %. The first term is elementwise work, about proportional to width for larger models.
_CPU_FLOPS_PER_THREAD = 53e9
_CPU_OVERHEAD_S = 18e-6
_CPU_OVERHEAD_WIDTH = 64 * 2
# A fused GPU step of a tiny model is bound by kernel launches; large ones reach this share of peak.
_START_SECONDS = 4.0
_DEFAULTS = LaunchSection()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """One run of a ladder before it starts."""

    run_id: str
    kind: str
    """`sweep`, `bracket`, `pilot` or `held-out`, or the `... trunk` of one."""
    width: int
    depth: int
    n_params: int
    n_tokens: int
    flops: float
    """Total under `6nd`: what a law sees. A branch's own share is only its cooldown."""
    lr: float
    seconds: float
    """Estimated time of the run's own work, one process."""
    memory_bytes: int
    trunk: str | None
    device_hours: float | None = None
    """Accelerator-hours of the run's own work at the plan's MFU; None on a CPU."""
    cost_usd: tuple[float, float] | None = None
    """Dated low and high rental price of those hours; None where no price is known."""


def estimate_seconds(shape: ModelShape, n_tokens: int, *, threads: int = 1) -> float:
    """Estimated training seconds of `n_tokens` on one process of a CPU with `threads` threads."""
    n_params = count_params(shape).under()
    size = max(0.5, shape.width * shape.depth / _CPU_OVERHEAD_WIDTH)
    overhead = _CPU_OVERHEAD_S * math.sqrt(size)
    speedup = float(threads**0.6)  # measured: two threads on one tiny training gain 1.5, not 2
    return n_tokens * (overhead + 6 * n_params / _CPU_FLOPS_PER_THREAD) / speedup


def priced(run: PlannedRun, own_flops: float, hardware: str, mfu: float) -> PlannedRun:
    """The run on a named accelerator: hours at `mfu` of its peak, and what they rent for.

    Raises:
        InputError: no such accelerator.
    """
    accelerator = find_accelerator(hardware)
    hours = device_hours(own_flops, accelerator, mfu)
    return replace(
        run,
        seconds=3600.0 * hours,
        device_hours=hours,
        cost_usd=cost_usd(hours, accelerator),
    )


def planned_runs(
    ladder: Ladder, *, threads: int, holdout_threads: int, launch: LaunchSection = _DEFAULTS
) -> list[PlannedRun]:
    """Every run of a ladder with its estimated cost, in the order in which it is trained."""
    return [
        run
        for role, job in ladder.jobs
        for run in _planned(job, role, holdout_threads if role == "held-out" else threads, launch)
    ]


def memory_bytes(run: RunConfig, launch: LaunchSection) -> int:
    """Bytes of a run's training on one device, in the largest type that `launch` may choose.

    `dtype = "auto"` is bfloat16 on a GPU; on a CPU, or a device that is not known yet, it is
    either.
    """
    dtypes: tuple[str, ...] = (launch.dtype,)
    if launch.dtype == "auto":
        dtypes = ("bfloat16",) if launch.device == "cuda" else ("float32", "bfloat16")
    tokens = launch.micro_batch_tokens or run.optimiser.batch_tokens
    return max(training_memory_bytes(run.shape, tokens, dtype) for dtype in dtypes)


def own_tokens(job: Job, run: RunConfig) -> int:
    """Tokens that a run trains itself: a trunk up to its last branch, a branch its cooldown."""
    if run.trunk is None:
        return max(branch.schedule.hold_tokens for branch in job.branches)
    return run.schedule.cooldown_tokens


def _planned(job: Job, role: str, threads: int, launch: LaunchSection) -> list[PlannedRun]:
    planned = []
    for run in job.runs:
        tokens = own_tokens(job, run)
        total = tokens if run.trunk is None else run.n_tokens
        planned.append(
            PlannedRun(
                run_id=run.run_id,
                kind=f"{role} trunk" if run.trunk is None else role,
                width=run.shape.width,
                depth=run.shape.depth,
                n_params=job.n_params,
                n_tokens=total,
                flops=train_flops(run.shape, total),
                lr=run.optimiser.lr,
                seconds=estimate_seconds(run.shape, tokens, threads=threads)
                + (_START_SECONDS if run.trunk is None else 0.0),
                memory_bytes=memory_bytes(run, launch),
                trunk=run.trunk,
            )
        )
    return planned
