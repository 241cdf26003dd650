"""Causal self-attention: rotary or learned positions, grouped keys, normed q and k, token shift.

Suffixes: B batch · T positions · D width · N heads · H head size.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isoflop.specs import ModelShape, Parametrisation
from isoflop.training.attend import attend
from isoflop.training.norm import rms_norm


class Tables(NamedTuple):
    """What attention looks up by position."""

    rotation: tuple[Tensor, Tensor] | None
    """cos and sin (T, H/2) of rotary positions."""
    mask: Tensor


class Attention(nn.Module):
    """Causal self-attention, optionally with a learned one-token shift and normed q, k."""

    def __init__(self, shape: ModelShape, parametrisation: Parametrisation) -> None:
        super().__init__()
        d, inner = shape.width, shape.n_heads * shape.head_dim
        self.n_heads, self.kv_heads, self.head_dim = shape.n_heads, shape.kv_heads, shape.head_dim
        self.eps, self.scale = shape.norm_eps, parametrisation.attention_scale(shape)
        rows = inner + 2 * shape.kv_heads * shape.head_dim
        self.qkv = nn.Parameter(torch.empty(rows, d))
        self.out = nn.Parameter(torch.empty(d, inner))
        self.qkv_bias = nn.Parameter(torch.empty(rows)) if shape.bias else None
        self.out_bias = nn.Parameter(torch.empty(d)) if shape.bias else None
        self.shift = nn.Parameter(torch.empty(d)) if shape.token_shift else None
        # With unit-norm q and k the logits are bounded by sqrt(H)·gain: one scalar learns how
        # sharp attention is.
        self.gain = nn.Parameter(torch.empty(1)) if shape.qk_norm else None

    def forward(self, x_BTD: Tensor, tables: Tables) -> Tensor:
        b, t, _ = x_BTD.shape
        if self.shift is not None:
            previous = F.pad(x_BTD, (0, 0, 1, -1))
            x_BTD = torch.lerp(x_BTD, previous, self.shift)
        heads = self.n_heads + 2 * self.kv_heads
        qkv = F.linear(x_BTD, self.qkv, self.qkv_bias).view(b, t, heads, self.head_dim)
        sizes = [self.n_heads, self.kv_heads, self.kv_heads]
        q_BNTH, k_BNTH, v_BNTH = torch.split(qkv.transpose(1, 2), sizes, 1)
        if self.gain is not None:
            q_BNTH = rms_norm(q_BNTH, eps=self.eps) * self.gain
            k_BNTH = rms_norm(k_BNTH, eps=self.eps)
        if tables.rotation is not None:
            q_BNTH, k_BNTH = (rotate(part, *tables.rotation) for part in (q_BNTH, k_BNTH))
        if self.kv_heads < self.n_heads:
            shared = self.n_heads // self.kv_heads
            k_BNTH, v_BNTH = (part.repeat_interleave(shared, 1) for part in (k_BNTH, v_BNTH))
        y_BNTH = attend(q_BNTH, k_BNTH, v_BNTH, self.scale, tables.mask)
        return F.linear(y_BNTH.transpose(1, 2).flatten(2), self.out, self.out_bias)


def rotation_table(shape: ModelShape) -> tuple[Tensor, Tensor]:
    """cos and sin (T, H/2) of rotary positions: angle t·base^(-2i/H) (arXiv:2104.09864)."""
    half = shape.head_dim // 2
    frequency = torch.exp(-math.log(shape.rope_base) * torch.arange(half) / max(half, 1))
    angle = torch.arange(shape.context)[:, None] * frequency
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """`x` (…, T, H) with its halves turned by the angles (T, H/2)."""
    first, second = x.chunk(2, -1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), -1).to(
        x.dtype
    )
