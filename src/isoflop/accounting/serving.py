"""`Serving`: a model on devices of one kind, with what a request asks; its seconds and bytes."""

import math
from dataclasses import dataclass

from isoflop._errors import InputError
from isoflop.accounting.architecture import Architecture
from isoflop.accounting.checks import fields_of, given, require_counts, require_positive
from isoflop.accounting.hardware import Accelerator
from isoflop.accounting.kv import attended_positions, kv_bytes
from isoflop.accounting.token_flops import attention_flops
from isoflop.accounting.training_memory import BYTES_PER_GB, PROCESS_BYTES
from isoflop.accounting.weights import count_weights

# ASSUMPTION: shares of the peaks that kernels reach, and seconds a layer costs beside them. Chosen
# with TensorRT-LLM 0.9.0 on A100 in fp16 (tests/accounting/test_measured_serving.py) and with
# Llama-3.1-8B in bf16 on vLLM, one request: A100-40GB 13.3 ms a token
# (johnmusgrave.com/p/vllm-throughput-latency-sweep-on), H100 6.48 ms
# (yobitelcomm.github.io/bench/recipes/concurrency-sweep).
_BANDWIDTH_SHARE = 0.75
_COMPUTE_SHARE = 0.6
_LAYER_SECONDS = 10e-6
_ALL_REDUCE_SECONDS = 10e-6

_MEMORY_SHARE = 0.9  # vLLM's default of what a server may take
_PROMPT_TOKENS = 8192
"""Tokens of prompts that one pass takes together, where prompts are shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A model, the devices that serve it, its requests and how busy it is kept."""

    architecture: Architecture
    accelerator: Accelerator
    input_tokens: int
    """Tokens of a request's prompt."""
    output_tokens: int
    """Tokens of its answer."""
    n_devices: int | None = None
    """Tensor (or expert) parallel devices of a replica; None: whichever power of two up to a node
    makes a token cheapest."""
    devices_per_node: int = 8
    link_gbps: float | None = None
    """Between devices of a node, one direction [GB/s]; None: the accelerator's."""
    max_token_s: float | None = None
    """Longest time a user waits for each next token [s]; None: any."""
    weight_bytes: float = 2.0
    """Bytes of a stored weight; products run at the bf16 peak all the same."""
    kv_value_bytes: float = 2.0
    utilisation: float = 0.5
    """Share of the paid hours' full throughput that is used, over day and night."""
    input_share: float | None = None
    """Share of prompts' tokens in the blended price; None: that of a request."""
    price_usd_per_hour: tuple[float, float] | None = None
    """Lowest and highest rent of a device; None: the accelerator's."""

    def __post_init__(self) -> None:
        counts = ("input_tokens", "output_tokens", "n_devices", "devices_per_node")
        require_counts(given(fields_of(self, *counts)))
        sizes = ("max_token_s", "link_gbps", "weight_bytes", "kv_value_bytes")
        require_positive(given(fields_of(self, *sizes)))
        self._check_money()

    def _check_money(self) -> None:
        if not 0 < self.utilisation <= 1:
            raise InputError(
                f"`0 < utilisation <= 1` must hold, but got utilisation={self.utilisation}. "
                "Give the share of the paid time that serves, 0.5 if unknown."
            )
        if self.input_share is not None and not 0 <= self.input_share <= 1:
            raise InputError(
                f"`0 <= input_share <= 1` must hold, but got input_share={self.input_share}. "
                "Give the share of prompts' tokens among all."
            )
        if self.price_usd_per_hour is not None:
            low, high = self.price_usd_per_hour
            if not 0 < low <= high:
                raise InputError(
                    "`0 < low <= high` must hold for `price_usd_per_hour`, but got "
                    f"{self.price_usd_per_hour}. Give the lowest and the highest rent."
                )


def prefill_seconds(serving: Serving, n_devices: int, n_prompts: int = 1) -> float:
    """Seconds to take in `n_prompts` prompts = FLOPs + weights read + launches + all-reduces.

    Memory and arithmetic are added, as kernels overlap them badly: the larger of the two alone
    errs by 26 % (rms) on the 20 throughputs of TensorRT-LLM, the sum by 22 %.

    Source: reference of the planner, section 5.5; FLOPs as `token_flops`, a third of training's,
    the head for the last token only.
    """
    model, length = serving.architecture, serving.input_tokens
    count = count_weights(model)
    flops = 2.0 * ((count.matmul_per_token - count.head) * length + count.head)
    flops += attention_flops(model, length) / 3 * length
    compute = n_prompts * flops / _flops_per_second(serving, n_devices)
    read = read_bytes(serving, n_devices, n_prompts * length) / _bytes_per_second(serving)
    return compute + read + _beside(serving, n_devices, n_prompts * length)


def decode_seconds(serving: Serving, n_devices: int, batch: int) -> float:
    """Seconds of one token for each of `batch` requests, halfway through their answers.

    (weights read + caches) / bandwidth + FLOPs / peak + launches + all-reduces. A latent cache is
    attended as it is, all heads on its c + r numbers (DeepSeek-V2, arXiv:2405.04434, section
    2.1.2).

    Source: reference of the planner, section 5.5; Pope et al. 2022, arXiv:2211.05102.
    """
    model = serving.architecture
    context = serving.input_tokens + serving.output_tokens / 2
    cache = batch * _cache_bytes(serving, context, n_devices)
    read = (read_bytes(serving, n_devices, batch) + cache) / _bytes_per_second(serving)
    latent = model.latent
    widths = model.head_dim + model.v_dim
    if latent is not None:
        widths = 2 * latent.kv_rank + latent.rope_dim
    flops = 2.0 * count_weights(model).matmul_per_token
    flops += 2.0 * model.n_heads * widths * attended_positions(model, context)
    compute = batch * flops / _flops_per_second(serving, n_devices)
    return read + compute + _beside(serving, n_devices, batch)


def read_bytes(serving: Serving, n_devices: int, n_tokens: int) -> float:
    """Bytes of weights that a device reads in a pass of `n_tokens`: dense + experts that are hit.

    Of E experts, k a token, a pass hits E·(1 - (1 - k/E)^tokens); the embedding is a lookup.
    """
    count = count_weights(serving.architecture)
    experts = serving.architecture.experts
    hit = 0.0
    if experts is not None:
        missed = 1 - experts.experts_per_token / experts.n_experts
        hit = count.routed_experts * (1 - missed**n_tokens)
    dense = count.total - count.embedding - count.routed_experts
    return _on_device(serving, dense, n_devices) + hit * serving.weight_bytes / n_devices


def largest_batch(serving: Serving, n_devices: int) -> int:
    """Requests of full length whose caches fit beside the weights; 0 where none does."""
    weights = _on_device(serving, count_weights(serving.architecture).total, n_devices)
    memory = serving.accelerator.memory_gb * BYTES_PER_GB * _MEMORY_SHARE
    free = memory - weights - PROCESS_BYTES
    length = serving.input_tokens + serving.output_tokens
    return max(0, math.floor(free / _cache_bytes(serving, length, n_devices)))


def _on_device(serving: Serving, n_weights: float, n_devices: int) -> float:
    """Bytes of `n_weights` on each device; attention over a latent is copied to all of them.

    One latent serves all heads, so devices share requests, not heads (DeepSeek-V3,
    arXiv:2412.19437, section 3.4.2).
    """
    copied = 0
    if serving.architecture.latent is not None:
        copied = count_weights(serving.architecture).attention
    return serving.weight_bytes * ((n_weights - copied) / n_devices + copied)


def _cache_bytes(serving: Serving, context: float, n_devices: int) -> float:
    """Bytes of a request's cache on each device; more devices than key heads hold copies."""
    model = serving.architecture
    shares = n_devices if model.latent is not None else min(n_devices, model.n_kv_heads)
    return kv_bytes(model, context, serving.kv_value_bytes) / shares


def _flops_per_second(serving: Serving, n_devices: int) -> float:
    return n_devices * serving.accelerator.bf16_tflops * 1e12 * _COMPUTE_SHARE


def _bytes_per_second(serving: Serving) -> float:
    return serving.accelerator.bandwidth_gbps * 1e9 * _BANDWIDTH_SHARE


def _beside(serving: Serving, n_devices: int, n_tokens: int) -> float:
    """Seconds that no product hides: kernels' launches, and two all-reduces a layer over a ring.

    Exchanges between experts move about as much.
    """
    model = serving.architecture
    if n_devices == 1:
        return model.n_layers * _LAYER_SECONDS
    moved = 2 * (n_devices - 1) / n_devices * n_tokens * model.width * 2.0
    reduce = _ALL_REDUCE_SECONDS + moved / (_link(serving) * 1e9)
    return model.n_layers * (_LAYER_SECONDS + 2 * reduce)


def _link(serving: Serving) -> float:
    """GB/s between devices of a node; raises InputError where it is not known."""
    speed = serving.link_gbps or serving.accelerator.scale_up_gbps
    if speed is None:
        raise InputError(
            f"no link between several {serving.accelerator.name} is known. "
            "Give `link_gbps`, or n_devices=1."
        )
    return speed


def prompts_at_once(serving: Serving) -> int:
    """Prompts that one pass reads together under load: as many as make 8192 tokens."""
    return max(1, _PROMPT_TOKENS // serving.input_tokens)
