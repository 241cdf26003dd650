"""The trainer's speed on a GPU: MFU at about 350M parameters in bf16, and beside `transformers`.

`make bench-gpu` takes steps of a Llama of width 1024, 24 layers, 32,768 tokens and a context of
2048 on random tokens. `mfu_350m` is 6·N·tokens/s (N without the input embedding) as a share of the
device's dense bf16 peak as its maker states it, `gemm_share` as a share of the best square bf16
product measured in the same run. The peer is `transformers`' LlamaForCausalLM of the same shape in
the fastest of its settings, micro-batch included, with fused AdamW and gradient clipping; the two
take turns.
"""

import argparse
import gc
import re
import statistics
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from bench_train import Step, _say, config_of, gemm_rate, own_step, peer_step, seconds
from isoflop import InputError
from isoflop.accounting import Accelerator, count_params, find_accelerator
from isoflop.specs import RunConfig
from isoflop.training.compiling import is_compile_error
from isoflop.training.memory import is_out_of_memory

WIDTH, LAYERS, VOCAB, CONTEXT = 1024, 24, 32_768, 2048
FF_WIDTH = 2816  # 8/3 widths, rounded up to whole tiles of 128
SEQUENCES = 32
PEER_SEQUENCES = (32, 16, 8, 4, 2, 1)
GEMM_SIZES = (4096, 8192, 12_288, 16_384)
PAIRS = 5
TURN_S = 3.0
# What drivers call a device, and what the table of accelerators does; the first that matches.
NAMES = (
    (r"A100.*PCIe", "A100-PCIe-80GB"),
    (r"A100.*80GB", "A100-SXM-80GB"),
    (r"A100.*40GB", "A100-SXM-40GB"),
    (r"H100 (PCIe|NVL)", "H100-PCIe"),
    (r"H100", "H100-SXM"),
    (r"H800(?! PCIe)", "H800-SXM"),
    (r"H200(?! NVL)", "H200-SXM"),
    (r"GB200", "GB200"),
    (r"B200", "B200-SXM"),
    (r"B300", "B300-SXM"),
    (r"L40S", "L40S"),
    (r"RTX 4090(?! (D|Laptop))", "RTX-4090"),
    (r"RTX 5090(?! (D|Laptop))", "RTX-5090"),
    (r"MI300X", "MI300X"),
    (r"MI355X", "MI355X"),
)


@dataclass(frozen=True)
class Figures:
    """Of one run: medians over turns."""

    tokens_per_s: float
    peer_tokens_per_s: float
    gemm_flops: float
    """Best rate of a square bf16 product [FLOP/s]."""
    peak_flops: float
    n_params: int

    @property
    def flops(self) -> float:
        """6·N·tokens/s."""
        return 6.0 * self.n_params * self.tokens_per_s

    def line(self) -> str:
        """The last line."""
        return (
            f"mfu_350m={self.flops / self.peak_flops:.3f} "
            f"vs_hf_350m={self.tokens_per_s / self.peer_tokens_per_s:.2f} "
            f"gemm_share={self.flops / self.gemm_flops:.3f}"
        )


def config_350m() -> RunConfig:
    """The training: 342M parameters without the input embedding, 65,536 tokens a step."""
    config = config_of(WIDTH, LAYERS, VOCAB, CONTEXT)
    return replace(
        config,
        shape=replace(config.shape, ff_width=FF_WIDTH),
        optimiser=replace(config.optimiser, batch_tokens=SEQUENCES * CONTEXT),
    )


def accelerator_of(device_name: str, wanted: str) -> Accelerator:
    """The row of the table for a device; `wanted` by name where it is not empty.

    Raises:
        InputError: the table has no such device.
    """
    if wanted:
        return find_accelerator(wanted)
    for pattern, name in NAMES:
        if re.search(pattern, device_name):
            return find_accelerator(name)
    raise InputError(
        f"`--hardware` is needed: the peak of {device_name!r} is not known. "
        "Name the accelerator of isoflop.ACCELERATORS that it is."
    )


def peers(
    config: RunConfig, tokens: torch.Tensor, device: torch.device
) -> Iterator[tuple[str, Step]]:
    """Steps of `transformers`' Llama by setting: what a user of a GPU would choose from."""
    for compiled in (True, False):
        for micro in PEER_SEQUENCES:
            name = f"sdpa, bf16, compiled={compiled}, micro_batch={micro}"
            yield (
                name,
                peer_step(
                    config, tokens, device, "sdpa", bf16=True, compiled=compiled, micro=micro
                ),
            )


def best_peer(config: RunConfig, tokens: torch.Tensor, device: torch.device) -> tuple[Step, str]:
    """The fastest setting of the peer, made anew once it is known."""
    speeds: dict[str, float] = {}
    for name, step in peers(config, tokens, device):
        try:
            for _ in range(2):
                step()
            speeds[name] = config.optimiser.batch_tokens / seconds(step, 2.0)
            _say(f"    transformers {name}: {speeds[name]:,.0f} tokens/s")
        except RuntimeError as error:
            if not (is_out_of_memory(error) or is_compile_error(error)):
                raise
            _say(f"    transformers {name}: {type(error).__name__}")
        del step
        free()
    if not speeds:
        raise InputError("no setting of transformers' Llama fits this device. Use a larger one.")
    best = max(speeds, key=lambda name: speeds[name])
    compiled, micro = "compiled=True" in best, int(best.rpartition("=")[2])
    step = peer_step(config, tokens, device, "sdpa", bf16=True, compiled=compiled, micro=micro)
    return step, best


def free() -> None:
    """Give back what the last candidate held: the next one has the device for itself."""
    torch._dynamo.reset()
    gc.collect()
    torch.cuda.empty_cache()


def bench(peak: Accelerator, device: torch.device) -> Figures:
    """Choose, then take turns with the peer and with the GEMM."""
    config = config_350m()
    n_params = count_params(config.shape).under("non_embedding_with_head")
    tokens = torch.randint(0, VOCAB, (SEQUENCES, CONTEXT + 1))
    _say(f"N = {n_params:,} without the input embedding, {SEQUENCES} sequences a step")
    peer, setting = best_peer(config, tokens, device)
    own, chosen = own_step(config, tokens, device)
    speeds, others, rates = [], [], []
    for turn in range(PAIRS + 1):
        for step, kept in ((own, speeds), (peer, others)):
            for _ in range(2):  # the first one of a turn takes memory anew
                step()
            kept.append(config.optimiser.batch_tokens / seconds(step, TURN_S))
        rates.append(gemm_rate(device, GEMM_SIZES))
        torch.cuda.empty_cache()
        if turn == 0:  # both compile in it
            speeds.clear()
            others.clear()
    found = Figures(
        statistics.median(speeds), statistics.median(others), max(rates),
        peak.bf16_tflops * 1e12, n_params,
    )  # fmt: skip
    _say(
        f"  ours ({chosen}): {found.tokens_per_s:,.0f} tokens/s; transformers ({setting}): "
        f"{found.peer_tokens_per_s:,.0f}; bf16 GEMM {found.gemm_flops / 1e12:.0f} TFLOP/s, "
        f"{found.gemm_flops / found.peak_flops:.2f} of the {peak.bf16_tflops:g} of {peak.name}"
    )
    return found


def main() -> int:
    """Bench and print the line of figures; exit code 2 where there is no device for it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hardware", default="", help="the accelerator, where its name is unknown")
    options = parser.parse_args()
    try:
        if not torch.cuda.is_available():
            raise InputError(
                "make bench-gpu: no CUDA device is usable here. "
                "Run it on a machine with a GPU; make bench-train measures the CPU."
            )
        if not torch.cuda.is_bf16_supported(including_emulation=False):
            raise InputError("make bench-gpu: this device has no bf16. Use a newer one.")
        device, name = torch.device("cuda"), torch.cuda.get_device_name()
        peak = accelerator_of(name, options.hardware)
        warnings.filterwarnings("ignore")  # of the peer and of the compiler, on stderr
        _say(f"{name} ({peak.name}), torch {torch.__version__}")
        found = bench(peak, device)
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    _say(found.line())
    return 0


if __name__ == "__main__":
    sys.exit(main())
