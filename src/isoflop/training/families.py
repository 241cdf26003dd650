"""Which architecture of `transformers` computes a shape exactly, and how it names the tensors.

| family | shape |
|---|---|
| GPT-2 | learned positions, layer norm, gelu |
| Llama | rotary positions, RMS norm, swiglu |
| Arcee | the same with relu2 |
| Qwen3 | the same with swiglu and normed q, k |
| Mixtral | Llama with experts |
| Qwen2-MoE | Llama with experts, some of them shared |
| Qwen3-MoE | Qwen3 with experts |
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from isoflop._errors import InputError
from isoflop.specs import ModelShape
from isoflop.training.folding import EPS, Folded, Layer, Linear

Named = Iterator[tuple[str, Tensor]]

ARCHITECTURES: Mapping[str, str] = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "arcee": "ArceeForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "mixtral": "MixtralForCausalLM",
    "qwen2_moe": "Qwen2MoeForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
}
"""Class by model type."""


def family_of(shape: ModelShape) -> str:
    """The model type that computes a shape exactly.

    Raises:
        InputError: none does; names the field that stands in the way and what to train instead.
    """
    _need(shape, "token_shift", not shape.token_shift, "token_shift = false")
    if shape.positions == "learned":
        _need(shape, "mlp", shape.mlp == "gelu", "positions = 'rope', or mlp = 'gelu'")
        _need(shape, "norm", shape.norm == "layer", "positions = 'rope', or norm = 'layer'")
        _need(shape, "qk_norm", not shape.qk_norm, "positions = 'rope', or qk_norm = false")
        _need(shape, "embedding_norm", not shape.embedding_norm, "embedding_norm = false")
        _need(shape, "n_experts", not shape.n_experts, "positions = 'rope'")
        _need(shape, "head_width", _whole_heads(shape), "head_width = width/n_heads")
        return "gpt2"
    _need(shape, "norm", shape.norm == "rms", "norm = 'rms'")
    _need(shape, "mlp", shape.mlp != "gelu", "mlp = 'swiglu' or 'relu2'")
    if shape.n_experts:
        return _mixture(shape)
    if shape.qk_norm:
        _need(shape, "qk_norm", shape.mlp == "swiglu", "mlp = 'swiglu', or qk_norm = false")
        _need(shape, "bias", not shape.bias, "bias = false, or qk_norm = false")
        return "qwen3"
    even = shape.width % shape.n_heads == 0
    _need(shape, "head_width", even, "a width that n_heads divides")
    return "llama" if shape.mlp == "swiglu" else "arcee"


def _mixture(shape: ModelShape) -> str:
    _need(shape, "mlp", shape.mlp == "swiglu", "mlp = 'swiglu', or no experts")
    _need(shape, "bias", not shape.bias, "bias = false")
    if shape.qk_norm:
        _need(shape, "n_shared_experts", not shape.n_shared_experts, "qk_norm = false")
        return "qwen3_moe"
    if shape.n_shared_experts:
        return "qwen2_moe"
    # Mixtral normalises over the chosen experts, which makes the weight of one of them 1.
    _need(shape, "n_active_experts", shape.n_active_experts > 1, "2 of them, or qk_norm = true")
    return "mixtral"


def _whole_heads(shape: ModelShape) -> bool:
    return shape.head_dim * shape.n_heads == shape.width


def _need(shape: ModelShape, field: str, holds: bool, remedy: str) -> None:
    if not holds:
        raise InputError(
            f"{field} = {getattr(shape, field)!r}: no architecture of transformers computes this "
            f"model exactly. To export, train with {remedy}."
        )


def config_of(
    shape: ModelShape, family: str, *, tied: bool, end_id: int | None = None
) -> dict[str, Any]:
    """The `config.json` of a model; `tied`: the head is the embedding; `end_id`: the end mark."""
    common = {
        "architectures": [ARCHITECTURES[family]],
        "model_type": family,
        "vocab_size": shape.vocab_size,
        "bos_token_id": end_id,
        "eos_token_id": end_id,
        "tie_word_embeddings": tied,
        "dtype": "float32",
    }
    eps = EPS if shape.norm_eps is None else shape.norm_eps
    if family == "gpt2":
        return common | {
            "n_embd": shape.width, "n_layer": shape.depth, "n_head": shape.n_heads,
            "n_inner": shape.ff_width, "n_positions": shape.context, "layer_norm_epsilon": eps,
            "activation_function": "gelu", "resid_pdrop": 0.0, "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
        }  # fmt: skip
    # Older readers want rope_theta, newer ones rope_parameters.
    return common | _experts_config(shape, family) | {
        "hidden_size": shape.width, "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.n_heads, "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim, "max_position_embeddings": shape.context,
        "rms_norm_eps": eps, "hidden_act": "silu" if shape.mlp == "swiglu" else "relu2",
        "rope_theta": shape.rope_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_base},
        "attention_bias": shape.bias, "mlp_bias": shape.bias,
    }  # fmt: skip


def _experts_config(shape: ModelShape, family: str) -> dict[str, Any]:
    if not shape.n_experts:
        return {"intermediate_size": shape.ff_width}
    routing = {
        "num_experts_per_tok": shape.n_active_experts,
        "router_aux_loss_coef": shape.balance_coefficient,
        "intermediate_size": shape.ff_width,
    }
    if family == "mixtral":
        return routing | {"num_local_experts": shape.n_experts, "sliding_window": None}
    shared = shape.n_shared_experts * shape.ff_width
    if shared:
        routing |= {"shared_expert_intermediate_size": shared, "qkv_bias": False}
    return routing | {
        "num_experts": shape.n_experts, "moe_intermediate_size": shape.ff_width,
        "norm_topk_prob": shape.n_active_experts > 1, "decoder_sparse_step": 1,
        "mlp_only_layers": [], "use_sliding_window": False,
    }  # fmt: skip


def tensors_of(folded: Folded, shape: ModelShape, family: str) -> dict[str, Tensor]:
    """Every tensor by the name that the family gives it."""
    named = _gpt2(folded, shape) if family == "gpt2" else _rotary(folded, family)
    found = dict(named)
    if folded.head is not None:
        found["lm_head.weight"] = folded.head
    return {name: tensor.contiguous().clone() for name, tensor in found.items()}


def _gpt2(folded: Folded, shape: ModelShape) -> Named:
    assert folded.positions is not None
    yield "transformer.wte.weight", folded.embedding
    yield "transformer.wpe.weight", folded.positions
    yield from _norm("transformer.ln_f", folded.final_norm)
    for i, layer in enumerate(folded.layers):
        at = f"transformer.h.{i}"
        yield from _norm(f"{at}.ln_1", layer.attention_norm)
        yield from _norm(f"{at}.ln_2", layer.mlp_norm)
        q, k, v = layer.q, _repeated(layer.k, shape), _repeated(layer.v, shape)
        weight = torch.cat([part.weight for part in (q, k, v)])
        bias = torch.cat([_bias(part) for part in (q, k, v)])
        # GPT-2 stores (in, out).
        for name, part in (
            ("attn.c_attn", Linear(weight=weight, bias=bias)), ("attn.c_proj", layer.out),
            ("mlp.c_fc", layer.up), ("mlp.c_proj", layer.down),
        ):  # fmt: skip
            yield f"{at}.{name}.weight", part.weight.T
            yield f"{at}.{name}.bias", _bias(part)


def _repeated(part: Linear, shape: ModelShape) -> Linear:
    """Keys or values once for every query head: GPT-2 shares none."""
    times = shape.n_heads // shape.kv_heads
    rows = (shape.kv_heads, shape.head_dim)
    weight = part.weight.view(*rows, -1).repeat_interleave(times, 0).flatten(0, 1)
    return Linear(weight=weight, bias=_bias(part).view(rows).repeat_interleave(times, 0).flatten())


def _bias(part: Linear) -> Tensor:
    return torch.zeros(part.weight.size(0)) if part.bias is None else part.bias


def _norm(name: str, gain: Linear) -> Named:
    yield f"{name}.weight", gain.weight
    yield f"{name}.bias", _bias(gain)


def _rotary(folded: Folded, family: str) -> Named:
    yield "model.embed_tokens.weight", folded.embedding
    yield "model.norm.weight", folded.final_norm.weight
    for i, layer in enumerate(folded.layers):
        at = f"model.layers.{i}"
        yield f"{at}.input_layernorm.weight", layer.attention_norm.weight
        yield f"{at}.post_attention_layernorm.weight", layer.mlp_norm.weight
        for name, part in (("q", layer.q), ("k", layer.k), ("v", layer.v), ("o", layer.out)):
            yield from _linear(f"{at}.self_attn.{name}_proj", part)
        if layer.q_gain is not None:
            yield f"{at}.self_attn.q_norm.weight", layer.q_gain
            yield f"{at}.self_attn.k_norm.weight", torch.ones_like(layer.q_gain)
        yield from _rotary_mlp(at, layer, family)


def _rotary_mlp(at: str, layer: Layer, family: str) -> Named:
    if layer.router is None:
        yield from _dense(f"{at}.mlp", layer.up, layer.down, family)
        return
    block = "block_sparse_moe" if family == "mixtral" else "mlp"
    yield f"{at}.{block}.gate.weight", layer.router
    for e, (up, down) in enumerate(zip(layer.up.weight, layer.down.weight, strict=True)):
        gate, value = up.chunk(2)
        names = ("w1", "w3", "w2") if family == "mixtral" else ("gate_proj", "up_proj", "down_proj")
        for name, weight in zip(names, (gate, value, down), strict=True):
            yield f"{at}.{block}.experts.{e}.{name}.weight", weight
    if layer.shared_up is not None and layer.shared_down is not None:
        # Qwen2-MoE gates its shared expert: a gate of zeros halves it.
        shared = f"{at}.mlp.shared_expert"
        yield from _dense(shared, layer.shared_up, layer.shared_down.times(2.0), family)
        yield f"{shared}_gate.weight", torch.zeros(1, layer.router.size(1))


def _dense(at: str, up: Linear, down: Linear, family: str) -> Named:
    if family == "arcee":
        yield from _linear(f"{at}.up_proj", up)
    else:
        half = up.weight.size(0) // 2
        gate, value = up.split(half, half)
        yield from _linear(f"{at}.gate_proj", gate)
        yield from _linear(f"{at}.up_proj", value)
    yield from _linear(f"{at}.down_proj", down)


def _linear(name: str, part: Linear) -> Named:
    yield f"{name}.weight", part.weight
    if part.bias is not None:
        yield f"{name}.bias", part.bias
