"""The trainer's speed: a share of this machine's GEMM rate, and beside `transformers`.

`make bench-train` takes steps of three Llama shapes on random tokens. MFU is 6·N·tokens/s (N
without the input embedding) over the best rate of a square bf16 product, measured in the same run
with the same threads. The peer is `transformers`' LlamaForCausalLM of the same shape in the fastest
of its settings, with fused AdamW, gradient clipping and the same batch, in a process of its own
that runs nothing else, as its user would; the two take turns. A second such process keeps freed
memory as our trainer does (that alone is worth a quarter of a step): that ratio is printed too.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
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
from isoflop.training.memory import keep_freed_memory
from isoflop.training.trial import hold_trial

# Width, layers, vocabulary, context; heads of size 64.
SIZES = {
    "100k": (64, 2, 512, 128),
    "1m": (128, 4, 1024, 256),
    "7m": (256, 6, 4096, 256),
}
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


class Peer:
    """`transformers` in a process of its own, in one setting, asked for one turn at a time."""

    def __init__(self, name: str, setting: str, *, keeps_memory: bool) -> None:
        words = ["--peer", name, "--setting", setting, "--threads", str(torch.get_num_threads())]
        self.process = subprocess.Popen(
            [sys.executable, __file__, *words, *(["--keep-memory"] if keeps_memory else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def seconds(self) -> float:
        """Median seconds of a step over a turn."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("turn\n")
        self.process.stdin.flush()
        if not (line := self.process.stdout.readline()):
            raise SystemExit(f"the peer ended with exit code {self.process.wait()}")
        return float(line)

    def close(self) -> None:
        """End the process."""
        self.process.communicate(timeout=60)


def serve_peer(name: str, setting: str, device: torch.device) -> None:
    """The peer's process: a turn for every line of stdin."""
    config = config_of(*SIZES[name])
    step = dict(peer_steps(config, tokens_of(config), device))[setting]
    for _ in sys.stdin:
        step()
        _say(str(seconds(step, TURN_S)))


def tokens_of(config: RunConfig) -> torch.Tensor:
    """A batch of random sequences, a token longer than the context."""
    rows = BATCH_TOKENS // config.shape.context
    return torch.randint(0, config.shape.vocab_size, (rows, config.shape.context + 1))


def bench(name: str, device: torch.device) -> Result:
    """One shape: choose, then take turns with the peer and with the GEMM."""
    config = config_of(*SIZES[name])
    n_params = count_params(config.shape).under("non_embedding_with_head")
    _say(f"{name}: N = {n_params:,} without the input embedding")
    own, chosen = own_step(config, tokens_of(config), device)
    _, setting = best_peer(config, tokens_of(config), device)
    peer, kept = (Peer(name, setting, keeps_memory=keeps) for keeps in (False, True))
    for other in (peer, kept):
        other.seconds()  # compiles
    torch._dynamo.reset()  # the graphs of the peer's settings would count against the limit
    for _ in range(3):
        own()
    rates, speeds = [], []
    ratios: dict[Peer, list[float]] = {peer: [], kept: []}
    for _ in range(PAIRS):
        rates.append(gemm_rate(device))
        mine = seconds(own, TURN_S)
        speeds.append(BATCH_TOKENS / mine)
        for other, found in ratios.items():
            found.append(other.seconds() / mine)
    speed = statistics.median(speeds)
    mfu = 6 * n_params * speed / max(rates)
    _say(f"  ours ({chosen}): {speed:,.0f} tokens/s; bf16 GEMM {max(rates) / 1e9:.0f} GFLOP/s")
    for other, found in ratios.items():
        other.close()
        how = "keeping freed memory" if other is kept else "as it is"
        _say(
            f"  over transformers {how} ({setting}): {statistics.median(found):.2f}, "
            f"{min(found):.2f} to {max(found):.2f} in {PAIRS} turns"
        )
    return Result(mfu, statistics.median(ratios[peer]))


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
    parser.add_argument("--only", choices=SIZES)
    parser.add_argument("--peer", choices=SIZES, help=argparse.SUPPRESS)
    parser.add_argument("--setting", help=argparse.SUPPRESS)
    parser.add_argument("--keep-memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")  # of the peer and of the compiler, on stderr
    torch.set_num_threads(options.threads)
    device = torch.device("cpu")
    if options.peer is None or options.keep_memory:
        keep_freed_memory()
    if options.peer is not None:
        serve_peer(options.peer, options.setting, device)
        return
    _say(f"{options.threads} threads, torch {torch.__version__}")
    results = {}
    for name in SIZES:
        if options.only in (None, name):
            results[name] = bench(name, device)
    mfu = " ".join(f"mfu_{name}={one.mfu:.3f}" for name, one in results.items())
    _say(f"{mfu} " + " ".join(f"vs_hf_{name}={one.vs_hf:.2f}" for name, one in results.items()))


if __name__ == "__main__":
    main()
