"""A short measured trial before the first step: micro-batch, threads, compiled, in which type?

Every candidate takes a few steps on throwaway weights and random tokens; the random state is left
as it was. Nothing is tried that the training is too short to repay.
"""

import logging
import statistics
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from isoflop.specs import RunConfig
from isoflop.training.compiling import is_compile_error, why
from isoflop.training.engine import Engine
from isoflop.training.memory import free_memory, is_out_of_memory

_log = logging.getLogger("isoflop.training")

CHOSEN = ("threads", "micro_batch", "compile", "dtype")
_MEASURE_S = 0.4
_MEASURE_COMPILED_S = 1.2  # little beside the compilation, and the fastest is taken
_MIN_STEPS = 3
# Below this the eager trial (about a second and a half) is not repaid; compilation on a CPU takes
# 15 to 50 s (LOG.md) and gains a third at best.
_WORTH_S = 60.0
_WORTH_COMPILING_S = 240.0
_WORTH_SEARCHING_S = 1800.0
# A candidate must be this much faster than the plainer one: timings of a busy machine vary.
_CLEARLY = 1.05
_MOST_HALVINGS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to compute a step, and how fast it was."""

    threads: int
    micro_batch: int
    compile: bool
    dtype: str
    tokens_per_s: float | None = None
    first_step_s: float | None = None
    """Its first step, compilation included."""
    fault: str = ""
    """Why there is no speed."""

    @property
    def speed(self) -> float:
        """Tokens a second; 0 where it failed."""
        return self.tokens_per_s or 0.0


def hold_trial(
    config: RunConfig,
    execution: Mapping[str, Any],
    *,
    free: Collection[str],
    n_sequences: int,
    n_tokens: int,
) -> dict[str, Any]:
    """What was chosen (threads, micro_batch, compile, dtype) and `trial`, the record of it.

    Args:
        config: the training.
        execution: the plainest way that is allowed; nothing is chosen that is slower.
        free: which of the four may be chosen; `threads` only downwards.
        n_sequences: sequences of a step in this process.
        n_tokens: tokens that the training still has to see in this process, its branches included.
    """
    threads = torch.get_num_threads()
    try:
        tried, word = _search(_Bench(config, execution, n_sequences), free, n_tokens)
    finally:
        torch.set_num_threads(threads)
        if "compile" in free:
            torch._dynamo.reset()  # the training compiles as a resume of it will
    best = _best(tried)
    _log.info("trial: %s, %d candidates%s", best, len(tried), f"; {word}" if word else "")
    record: dict[str, Any] = {"candidates": [asdict(candidate) for candidate in tried]}
    if word:
        record["word"] = word
    return {**{name: getattr(best, name) for name in CHOSEN}, "trial": record}


def _best(tried: list[Candidate]) -> Candidate:
    """The plainest that none is clearly faster than; of compiled ones the fastest."""
    best = tried[0]
    for candidate in tried[1:]:
        margin = 1.0 if (candidate.compile and best.compile) or not best.speed else _CLEARLY
        if candidate.speed > best.speed * margin:
            best = candidate
    return best


def _search(bench: "_Bench", free: Collection[str], n_tokens: int) -> tuple[list[Candidate], str]:
    """Candidates in the order tried, plainest first, and a word on what was left out."""
    first = Candidate(**{name: bench.execution[name] for name in CHOSEN})
    tried = [bench.measure(first)]
    seconds = n_tokens / tried[0].speed if tried[0].speed else float("inf")
    if seconds < _WORTH_S:
        return tried, f"{seconds:.0f} s of training do not repay more"
    if "micro_batch" in free:
        for size in _halves(bench.n_sequences):
            tried.append(bench.measure(_with(first, micro_batch=size)))
            if tried[-1].speed and tried[-1].speed < max(one.speed for one in tried) / _CLEARLY:
                break
    best = max(tried, key=lambda one: one.speed)
    if "threads" in free and first.threads > 1:
        tried.append(bench.measure(_with(best, threads=1)))
    if "compile" not in free:
        return tried, ""
    best = max(tried, key=lambda one: one.speed)
    seconds = n_tokens / best.speed if best.speed else float("inf")
    if seconds < _WORTH_COMPILING_S:
        return tried, f"{seconds:.0f} s of training do not repay compilation"
    # Compiled bf16 beats compiled float32 at every size measured here: casts are fused.
    dtype = "bfloat16" if "dtype" in free else first.dtype
    first = _with(best, compile=True, dtype=dtype)
    tried.append(bench.measure(first))
    if "micro_batch" not in free or tried[-1].fault:
        return tried, ""
    # Compiled code has its own best size: where it is, caches decide, and every size is compiled.
    sizes = [0, *_halves(bench.n_sequences)][: 4 if seconds > _WORTH_SEARCHING_S else 1]
    for size in sizes:
        if size != first.micro_batch:
            tried.append(bench.measure(_with(first, micro_batch=size)))
    return tried, ""


def _halves(n_sequences: int) -> Iterator[int]:
    """The batch in 2, 4, … equal parts."""
    for _ in range(_MOST_HALVINGS):
        if n_sequences % 2 or n_sequences < 2:
            return
        n_sequences //= 2
        yield n_sequences


def _with(candidate: Candidate, **changes: Any) -> Candidate:
    """The candidate changed and not measured yet."""
    plain = {name: getattr(candidate, name) for name in CHOSEN}
    return Candidate(**{**plain, **changes})


class _Bench:
    """Measures candidates on throwaway weights and random tokens."""

    def __init__(self, config: RunConfig, execution: Mapping[str, Any], n_sequences: int) -> None:
        self.config, self.execution, self.n_sequences = config, execution, n_sequences
        generator = torch.Generator().manual_seed(0)
        shape = (n_sequences, config.shape.context + 1)
        tokens = torch.randint(0, config.shape.vocab_size, shape, generator=generator)
        self.x, self.y = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

    def measure(self, candidate: Candidate) -> Candidate:
        """The candidate with its speed, or with what kept it from one."""
        torch.set_num_threads(candidate.threads)
        plain = _with(candidate)
        found: dict[str, Any]
        device = torch.device(self.execution["device"])
        devices = [torch.cuda.current_device()] if device.type == "cuda" else []
        try:
            with torch.random.fork_rng(devices=devices):
                found = self._timed(plain, device)
        except RuntimeError as error:
            if is_out_of_memory(error):
                found = {"fault": "out of memory"}
            elif is_compile_error(error):
                found = {"fault": f"cannot be compiled here: {why(error)}"}
            else:
                raise
        free_memory(device)
        return _with(plain, **found)

    def _timed(self, candidate: Candidate, device: torch.device) -> dict[str, Any]:
        chosen = {name: getattr(candidate, name) for name in CHOSEN}
        engine = Engine(self.config, {**self.execution, **chosen})
        first = _seconds(engine, self.x, self.y)
        _seconds(engine, self.x, self.y)
        times: list[float] = []
        at_least = _MEASURE_COMPILED_S if candidate.compile else _MEASURE_S
        while len(times) < _MIN_STEPS or sum(times) < at_least:
            times.append(_seconds(engine, self.x, self.y))
        speed = self.x.numel() / statistics.median(times)
        return {"tokens_per_s": round(speed, 1), "first_step_s": round(first, 3)}


def _seconds(engine: Engine, x: torch.Tensor, y: torch.Tensor) -> float:
    """Seconds of one step, to its end."""
    began = time.perf_counter()
    float(engine.step(x, y, 0.0).loss)
    if engine.device.type == "cuda":
        torch.cuda.synchronize(engine.device)
    return time.perf_counter() - began
