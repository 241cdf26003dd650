"""Causal attention: PyTorch's fused kernels, or plain matrix products where those are faster.

Suffixes: B batch · T positions · N heads · H head size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

# Measured on a CPU with bf16 (two threads, 16 sequences of 256, four heads of 64, forward and
# backward): the fused kernel takes 24 ms, compiled products over all keys 16, over blocks of 128
# queries, each with the keys that it may see, 8. Products keep all weights, so they are for short
# contexts.
_BLOCK = 128
_PRODUCTS_UP_TO = 512


def causal_mask(context: int) -> Tensor:
    """(T, T) added to logits: 0 for a key at or before its query, else -inf.

    A table, since index arithmetic in the innermost loop costs half of a compiled softmax. Of no
    rows where the context is too long for products.
    """
    t = context if context <= _PRODUCTS_UP_TO else 0
    return torch.full((t, t), -torch.inf).triu(1)


def attend(q_BNTH: Tensor, k_BNTH: Tensor, v_BNTH: Tensor, scale: float, mask: Tensor) -> Tensor:
    """softmax(scale · q k' + mask) v, (B, N, T, H); `mask` of `causal_mask`.

    Compiled code on a CPU computes it by products; eager code always by the fused kernel, so that
    its numbers do not depend on which of the two is faster.
    """
    t = q_BNTH.size(-2)
    if not torch.compiler.is_compiling() or q_BNTH.device.type != "cpu" or t > len(mask):
        return F.scaled_dot_product_attention(q_BNTH, k_BNTH, v_BNTH, is_causal=True, scale=scale)
    q_BNTH, parts = q_BNTH * scale, []
    for start in range(0, t, _BLOCK):
        end = min(start + _BLOCK, t)
        seen = k_BNTH[:, :, :end].transpose(-1, -2)
        logits = (q_BNTH[:, :, start:end] @ seen).float() + mask[start:end, :end]
        parts.append(logits.softmax(-1).to(v_BNTH.dtype) @ v_BNTH[:, :, :end])
    return torch.cat(parts, 2)
