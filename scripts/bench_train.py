"""The trainer's speed: a share of this machine's GEMM rate, and beside `transformers`.

`make bench-train` takes steps of three Llama shapes on random tokens. MFU is 6·N·tokens/s (N
without the input embedding) over the best rate of a square bf16 product, measured in the same run
with the same threads. The peer is `transformers`' LlamaForCausalLM of the same shape in the fastest
of its settings, with fused AdamW, gradient clipping and the same batch; the two take turns.
"""

import argparse
import contextlib
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from isoflop.accounting import count_params
from isoflop.specs import DataSpec, ModelShape, Optimiser, RunConfig, Schedule
from isoflop.specs.shape import PRESETS
from isoflop.training import Engine
from isoflop.training.execution import cpu_has_bf16
from isoflop.training.trial import hold_trial

# (name, width, layers, vocabulary, context); heads of size 64.
SHAPES = (
    ("100k", 64, 2, 512, 128),
    ("1m", 128, 4, 1024, 256),
    ("7m", 256, 6, 4096, 256),
)
BATCH_TOKENS = 4096
GEMM_SIZES = (512, 1024, 1536, 2048, 3072)
PAIRS = 9
TURN_S = 1.0
LONG = 10**12  # tokens: a training that repays any trial
Step = Callable[[], None]


@dataclass(frozen=True)
class Result:
    """Of one shape."""

    mfu: float
    vs_hf: float


def gemm_rate(device: torch.device, sizes: Sequence[int] = GEMM_SIZES) -> float:
    """FLOP/s of the fastest square bf16 product among several sizes."""
    best = 0.0
    for size in sizes:
        a = torch.randn(size, size, dtype=torch.bfloat16, device=device)
        times = []
        for _ in range(10):
            began = time.perf_counter()
            torch.mm(a, a)
            _finish(device)
            times.append(time.perf_counter() - began)
        best = max(best, 2 * size**3 / min(times))
    return best


def config_of(width: int, layers: int, vocab: int, context: int) -> RunConfig:
    """A Llama of this shape: SwiGLU of 8/3 widths, rotary positions, heads of 64."""
    shape = ModelShape(
        vocab_size=vocab,
        width=width,
        depth=layers,
        n_heads=width // 64,
        ff_width=8 * width // 3 // 8 * 8,
        context=context,
        **PRESETS["llama"],
    )
    return RunConfig(
        shape=shape,
        data=DataSpec(corpus_hash="none", weights=(("random", 1.0),)),
        schedule=Schedule(kind="trunk", warmup_tokens=1),
        optimiser=Optimiser(lr=1e-3, batch_tokens=BATCH_TOKENS),
        seed=0,
    )


def own_step(config: RunConfig, tokens: torch.Tensor, device: torch.device) -> tuple[Step, str]:
    """A step of ours, as the trainer's own trial chooses it, and that choice in words."""
    execution: dict[str, Any] = {
        "device": device.type,
        "threads": torch.get_num_threads(),
        "micro_batch": 0,
        "compile": False,
        "dtype": "bfloat16" if device.type == "cuda" else "float32",
    }
    free = {"micro_batch", "compile", "threads"}
    if device.type == "cpu" and cpu_has_bf16():
        free.add("dtype")
    chosen = hold_trial(config, execution, free=free, n_sequences=len(tokens), n_tokens=LONG)
    trial = chosen.pop("trial")
    for one in trial["candidates"]:
        _say(f"    {one}")
    engine = Engine(config, {**execution, **chosen})
    x, y = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    threads = int(chosen["threads"])

    def step() -> None:
        torch.set_num_threads(threads)
        float(engine.step(x, y, 1.0).loss)

    return step, ", ".join(f"{name}={value}" for name, value in chosen.items())


def peer_steps(
    config: RunConfig, tokens: torch.Tensor, device: torch.device
) -> Iterator[tuple[str, Step]]:
    """Steps of `transformers`' Llama in each setting, by its name."""
    settings = [
        (attention, bf16, compiled)
        for attention in ("sdpa", "eager")
        for bf16 in (True, False)
        for compiled in (True, False)
    ]
    for attention, bf16, compiled in settings:
        name = f"{attention}, {'bf16' if bf16 else 'float32'}, compiled={compiled}"
        yield name, peer_step(config, tokens, device, attention, bf16=bf16, compiled=compiled)


def peer_step(
    config: RunConfig,
    tokens: torch.Tensor,
    device: torch.device,
    attention: str,
    *,
    bf16: bool,
    compiled: bool,
    micro: int = 0,
) -> Step:
    """One setting's step: forward with labels, backward, clipping, fused AdamW.

    `micro`: sequences at once; 0: all.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = config.shape
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=shape.vocab_size,
            hidden_size=shape.width,
            intermediate_size=shape.ff_width,
            num_hidden_layers=shape.depth,
            num_attention_heads=shape.n_heads,
            max_position_embeddings=shape.context,
            tie_word_embeddings=False,
            use_cache=False,
            attn_implementation=attention,
        )
    ).to(device)
    assert sum(p.numel() for p in model.parameters()) == count_params(shape).total
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, fused=True)
    forward = torch.compile(model, dynamic=False) if compiled else model
    x = tokens[:, :-1].to(device)
    threads = torch.get_num_threads()

    def step() -> None:
        torch.set_num_threads(threads)
        for part in torch.split(x, micro or len(x)):
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss = forward(input_ids=part, labels=part).loss * (len(part) / len(x))
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        float(loss.detach())

    return step


def best_peer(config: RunConfig, tokens: torch.Tensor, device: torch.device) -> tuple[Step, str]:
    """The fastest setting of the peer."""
    speeds: dict[str, tuple[float, Step]] = {}
    for name, step in peer_steps(config, tokens, device):
        torch._dynamo.reset()
        with contextlib.suppress(torch._dynamo.exc.TorchDynamoException):
            for _ in range(2):
                step()
            speeds[name] = (seconds(step, 0.6), step)
            _say(f"    transformers {name}: {BATCH_TOKENS / speeds[name][0]:.0f} tokens/s")
    name = min(speeds, key=lambda one: speeds[one][0])
    return speeds[name][1], name


def seconds(step: Step, at_least: float) -> float:
    """Median seconds of a step."""
    times: list[float] = []
    while sum(times) < at_least or len(times) < 3:
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def bench(name: str, config: RunConfig, device: torch.device) -> Result:
    """One shape: choose, then take turns with the peer and with the GEMM."""
    n_params = count_params(config.shape).under("non_embedding_with_head")
    rows = BATCH_TOKENS // config.shape.context
    tokens = torch.randint(0, config.shape.vocab_size, (rows, config.shape.context + 1))
    _say(f"{name}: N = {n_params:,} without the input embedding, {rows} sequences a step")
    own, chosen = own_step(config, tokens, device)
    peer, setting = best_peer(config, tokens, device)
    torch._dynamo.reset()  # the peer's graphs of other settings would count against the limit
    for step in (own, peer) * 3:
        step()
    rates, ratios, speeds = [], [], []
    for _ in range(PAIRS):
        rates.append(gemm_rate(device))
        mine, other = seconds(own, TURN_S), seconds(peer, TURN_S)
        speeds.append(BATCH_TOKENS / mine)
        ratios.append(other / mine)
    speed = statistics.median(speeds)
    mfu = 6 * n_params * speed / max(rates)
    ratio = statistics.median(ratios)
    _say(
        f"  ours ({chosen}): {speed:,.0f} tokens/s; transformers ({setting}): "
        f"{speed / ratio:,.0f}; bf16 GEMM {max(rates) / 1e9:.0f} GFLOP/s; ratio "
        f"{min(ratios):.2f} to {max(ratios):.2f}"
    )
    return Result(mfu, ratio)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Bench every shape and print the line of figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", choices=[shape[0] for shape in SHAPES])
    options = parser.parse_args()
    warnings.filterwarnings("ignore")  # of the peer and of the compiler, on stderr
    torch.set_num_threads(options.threads)
    device = torch.device("cpu")
    _say(f"{options.threads} threads, torch {torch.__version__}")
    results = {}
    for name, *sizes in SHAPES:
        if options.only in (None, name):
            results[name] = bench(name, config_of(*sizes), device)
    mfu = " ".join(f"mfu_{name}={one.mfu:.3f}" for name, one in results.items())
    _say(f"{mfu} " + " ".join(f"vs_hf_{name}={one.vs_hf:.2f}" for name, one in results.items()))


if __name__ == "__main__":
    main()
