"""Bytes that a training needs on one device."""

from typing import Literal, get_args

from isoflop._errors import InputError
from isoflop.accounting.params import count_params
from isoflop.specs import ModelShape

Dtype = Literal["float32", "bfloat16"]

# Weights, gradients and AdamW's two moments in float32: 4·4 bytes. bfloat16 computes with a
# two-byte copy of the weights beside the float32 master.
_STATE_BYTES = {"float32": 16, "bfloat16": 18}
_ELEMENT_BYTES = {"float32": 4, "bfloat16": 2}
# Logits and their gradient in float32; bfloat16 keeps a two-byte copy as well.
_LOGIT_BYTES = {"float32": 8, "bfloat16": 10}
# What the backward pass reads of an MLP, in multiples of its width.
_KEPT_MLP = {"gelu": 2, "relu2": 3, "swiglu": 4}


def training_memory_bytes(shape: ModelShape, batch_tokens: int, dtype: str = "float32") -> int:
    """Bytes of one AdamW step on one device: states + activations + logits.

    States are 16 bytes a parameter (18 in bfloat16). Activations are kept, not recomputed,
    under fused attention: b·L·(7·d + 4·h·H + m·f) elements, m = 3 (2 for `gelu`, 4 for
    `swiglu`; keys that heads share are repeated for each, h·H is d where no head width is set). A
    mixture keeps f for each of the k routed and the shared experts a token passes through, 3·d
    for each routed one, and the router's probabilities. The allocator's slack and the process
    itself are not in it: allow 10-40 % more.

    Args:
        shape: the model.
        batch_tokens: tokens of one micro-batch, b.
        dtype: `float32` or `bfloat16`, the type that computes.

    Raises:
        InputError: dtype unknown or batch not positive.

    Source: Korthikanti et al. 2022, arXiv:2205.05198, without dropout and attention scores.
    """
    if dtype not in get_args(Dtype):
        raise InputError(
            f"`dtype` must be one of {', '.join(get_args(Dtype))}, but got {dtype!r}. "
            "Use one of these names."
        )
    if batch_tokens < 1:
        raise InputError(
            f"`batch_tokens >= 1` must hold, but got batch_tokens={batch_tokens}. "
            "Give the tokens of one micro-batch."
        )
    kept_mlp = _KEPT_MLP[shape.mlp] * shape.ff_width
    if shape.n_experts:
        routed = shape.n_active_experts
        kept_mlp = kept_mlp * (routed + shape.n_shared_experts) + 3 * routed * shape.width
        kept_mlp += 2 * shape.n_experts
    kept_attention = 7 * shape.width + 4 * shape.n_heads * shape.head_dim
    per_token = shape.depth * (kept_attention + kept_mlp)
    states = _STATE_BYTES[dtype] * count_params(shape).total
    activations = _ELEMENT_BYTES[dtype] * batch_tokens * per_token
    logits = _LOGIT_BYTES[dtype] * batch_tokens * shape.vocab_size
    return states + activations + logits
