"""What a ladder will cost before it starts: seconds and bytes per run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from isoflop.accounting import (
    Accelerator,
    cost_usd,
    count_params,
    device_hours,
    train_flops,
    training_memory_bytes,
)
from isoflop.ladders.design import Job, Ladder
from isoflop.ladders.profiling import Key, StepProfile, key_of
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
# ASSUMPTION: within 3 % on the machine that it was fitted to, a factor two off on others.
_FORMULA_RANGE = 2.0
# Published runs' MFU: a factor 1.3 to 1.4 either way is common (see `accounting.training_days`).
_MFU_RANGE = 1.4
# ASSUMPTION: what timed steps leave out: evaluation, checkpoints, other processes on the machine.
_OVERHEAD = 1.25


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
    """Estimated time of the run's own work, in all its processes at once."""
    memory_bytes: int
    """On one device by the formula; measured: highest of the process, or of the GPU."""
    trunk: str | None
    seconds_low: float
    seconds_high: float
    """Range of the estimate: of the steps that were timed, or the formula's usual error."""
    measured: bool = False
    """Whether steps were timed on this machine."""
    device_hours: float | None = None
    """Accelerator-hours of the run's own work at the plan's MFU; None on a CPU."""
    cost_usd: tuple[float, float] | None = None
    """Low rent of the low time, high rent of the high time; None where no price is known."""


def estimate_seconds(shape: ModelShape, n_tokens: int, *, threads: int = 1) -> float:
    """Estimated training seconds of `n_tokens` on one process of a CPU with `threads` threads."""
    n_params = count_params(shape).under("active")
    size = max(0.5, shape.width * shape.depth / _CPU_OVERHEAD_WIDTH)
    overhead = _CPU_OVERHEAD_S * math.sqrt(size)
    speedup = float(threads**0.6)  # measured: two threads on one tiny training gain 1.5, not 2
    return n_tokens * (overhead + 6 * n_params / _CPU_FLOPS_PER_THREAD) / speedup


def priced(
    run: PlannedRun, own_flops: float, accelerator: Accelerator, mfu: float, *, n_devices: int = 1
) -> PlannedRun:
    """The run on named accelerators: hours at `mfu` of their peak, and what they rent for.

    A run whose steps were timed keeps its time. The price range is that of the hours and of the
    dated rents together.
    """
    seconds, low, high = run.seconds, run.seconds_low, run.seconds_high
    if not run.measured:
        seconds = 3600.0 * device_hours(own_flops, accelerator, mfu) / n_devices
        low, high = seconds / _MFU_RANGE, seconds * _MFU_RANGE
    hours = n_devices / 3600.0
    price = cost_usd(hours * low, accelerator), cost_usd(hours * high, accelerator)
    return replace(
        run,
        seconds=seconds,
        seconds_low=low,
        seconds_high=high,
        device_hours=hours * seconds,
        cost_usd=None if price[0] is None or price[1] is None else (price[0][0], price[1][1]),
    )


def planned_runs(
    ladder: Ladder,
    *,
    threads: int,
    holdout_threads: int,
    launch: LaunchSection = _DEFAULTS,
    profile: Mapping[Key, StepProfile] | None = None,
) -> list[PlannedRun]:
    """Every run of a ladder with its estimated cost, in the order in which it is trained.

    Args:
        ladder: the ladder.
        threads: of each process.
        holdout_threads: of the held-out run's.
        launch: how runs are executed.
        profile: timed steps by shape and batch; the formula stands in for those that are missing.
    """
    known = profile or {}
    return [
        _timed(run, job, config, known[key_of(config)]) if key_of(config) in known else run
        for role, job in ladder.jobs
        for config, run in zip(
            job.runs,
            _planned(job, role, holdout_threads if role == "held-out" else threads, launch),
            strict=True,
        )
    ]


def _timed(run: PlannedRun, job: Job, config: RunConfig, step: StepProfile) -> PlannedRun:
    """The run at the time of its measured steps."""
    steps = own_tokens(job, config) / config.optimiser.batch_tokens
    start = _START_SECONDS if run.trunk is None else 0.0
    return replace(
        run,
        seconds=steps * step.seconds + start,
        seconds_low=steps * step.low + start,
        seconds_high=steps * step.high * _OVERHEAD + start,
        memory_bytes=step.memory_bytes,
        measured=True,
    )


def memory_bytes(run: RunConfig, launch: LaunchSection) -> int:
    """Bytes of a run's training on one device, in the largest type that `launch` may choose.

    `dtype = "auto"` is bfloat16 on a GPU; on a CPU, or a device that is not known yet, it is
    either.
    """
    dtypes: tuple[str, ...] = (launch.dtype,)
    if launch.dtype == "auto":
        dtypes = ("bfloat16",) if launch.device == "cuda" else ("float32", "bfloat16")
    micro = launch.micro_batch_tokens  # `auto` never takes more than the whole batch
    whole = run.optimiser.batch_tokens // launch.total_processes
    tokens = min(micro, whole) if micro != "auto" and micro > 0 else whole
    return max(training_memory_bytes(run.shape, tokens, dtype) for dtype in dtypes)


def own_tokens(job: Job, run: RunConfig) -> int:
    """Tokens that a run trains itself: a trunk up to its last branch, a branch its cooldown."""
    if run.is_trunk:
        return max(branch.schedule.hold_tokens for branch in job.branches)
    return run.schedule.cooldown_tokens if run.trunk else run.n_tokens


def _planned(job: Job, role: str, threads: int, launch: LaunchSection) -> list[PlannedRun]:
    planned = []
    for run in job.runs:
        tokens = own_tokens(job, run)
        total = tokens if run.is_trunk else run.n_tokens
        start = _START_SECONDS if run.trunk is None else 0.0
        seconds = start + estimate_seconds(
            run.shape, tokens, threads=threads * launch.total_processes
        )
        planned.append(
            PlannedRun(
                run_id=run.run_id,
                kind=f"{role} trunk" if run.is_trunk else role,
                width=run.shape.width,
                depth=run.shape.depth,
                n_params=job.n_params,
                n_tokens=total,
                flops=train_flops(run.shape, total),
                lr=run.optimiser.lr,
                seconds=seconds,
                seconds_low=seconds / _FORMULA_RANGE,
                seconds_high=seconds * _FORMULA_RANGE,
                memory_bytes=memory_bytes(run, launch),
                trunk=run.trunk,
            )
        )
    return planned
