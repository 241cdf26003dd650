"""The model: a decoder-only transformer whose tensors `accounting.count_params` counts exactly.

Suffixes: B batch · T positions · D width · N heads · H head size · V vocabulary.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isoflop.specs import ModelShape
from isoflop.training.attention import attend

# Standard deviation of the embedding. The first RMSNorm removes the scale, so it only sets how
# fast the embedding turns relative to its learning rate.
_EMBEDDING_STD = 0.5


def _rms_norm(x: Tensor, gain: Tensor | None = None) -> Tensor:
    return F.rms_norm(x, (x.size(-1),), gain)


class Attention(nn.Module):
    """Causal self-attention, optionally with a learned one-token shift and normed q, k."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        d = shape.width
        self.n_heads, self.head_dim = shape.n_heads, shape.head_dim
        self.qkv = nn.Parameter(torch.empty(3 * d, d))
        self.out = nn.Parameter(torch.zeros(d, d))  # a block starts as the identity
        nn.init.normal_(self.qkv, std=d**-0.5)
        self.shift = nn.Parameter(torch.full((d,), 0.5)) if shape.token_shift else None
        # With unit-norm q and k the logits are bounded by sqrt(H)·gain: one scalar learns how
        # sharp attention is.
        self.gain = nn.Parameter(torch.ones(1)) if shape.qk_norm else None

    def forward(self, x_BTD: Tensor, rotation: tuple[Tensor, Tensor] | None) -> Tensor:
        b, t, d = x_BTD.shape
        if self.shift is not None:
            previous = F.pad(x_BTD, (0, 0, 1, -1))
            x_BTD = torch.lerp(x_BTD, previous, self.shift)
        qkv = F.linear(x_BTD, self.qkv).view(b, t, 3, self.n_heads, self.head_dim)
        q_BNTH, k_BNTH, v_BNTH = qkv.permute(2, 0, 3, 1, 4)
        scale = self.head_dim**-0.5
        if self.gain is not None:
            q_BNTH, k_BNTH = _rms_norm(q_BNTH) * self.gain, _rms_norm(k_BNTH)
            scale = 1.0  # as tuned here: logits up to H·gain, sharp enough to copy
        if rotation is not None:
            q_BNTH, k_BNTH = _rotate(q_BNTH, *rotation), _rotate(k_BNTH, *rotation)
        y_BNTH = attend(q_BNTH, k_BNTH, v_BNTH, scale)
        return F.linear(y_BNTH.transpose(1, 2).reshape(b, t, d), self.out)


class Mlp(nn.Module):
    """Position-wise MLP: gelu, relu squared (arXiv:2109.08668) or SwiGLU (arXiv:2002.05202)."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.kind = shape.mlp
        fan = shape.ff_width * (2 if shape.mlp == "swiglu" else 1)
        self.up = nn.Parameter(torch.empty(fan, shape.width))
        self.down = nn.Parameter(torch.zeros(shape.width, shape.ff_width))
        nn.init.normal_(self.up, std=shape.width**-0.5)

    def forward(self, x_BTD: Tensor) -> Tensor:
        hidden = F.linear(x_BTD, self.up)
        if self.kind == "swiglu":
            gate, value = hidden.chunk(2, -1)
            hidden = F.silu(gate) * value
        else:
            hidden = F.gelu(hidden) if self.kind == "gelu" else F.relu(hidden).square()
        return F.linear(hidden, self.down)


class Block(nn.Module):
    """One pre-norm layer."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.attention, self.mlp = Attention(shape), Mlp(shape)
        self.attention_norm = nn.Parameter(torch.ones(shape.width))
        self.mlp_norm = nn.Parameter(torch.ones(shape.width))

    def forward(self, x_BTD: Tensor, rotation: tuple[Tensor, Tensor] | None) -> Tensor:
        x_BTD = x_BTD + self.attention(_rms_norm(x_BTD, self.attention_norm), rotation)
        y_BTD: Tensor = x_BTD + self.mlp(_rms_norm(x_BTD, self.mlp_norm))
        return y_BTD


class Transformer(nn.Module):
    """Decoder-only transformer; `forward` gives the mean cross-entropy [nats/token]."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        v, d = shape.vocab_size, shape.width
        self.embedding = nn.Parameter(torch.empty(v, d))
        nn.init.normal_(self.embedding, std=_EMBEDDING_STD)
        self.positions = None
        if shape.positions == "learned":
            self.positions = nn.Parameter(torch.zeros(shape.context, d))
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.depth))
        self.final_norm = nn.Parameter(torch.ones(d))
        # A head of zeros starts every model at the uniform distribution, loss ln V.
        self.head = None if shape.tied_head else nn.Parameter(torch.zeros(v, d))
        cosine, sine = _rotation_table(shape)
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)

    def forward(self, x_BT: Tensor, y_BT: Tensor) -> Tensor:
        logits = self.logits(x_BT).float()
        return F.cross_entropy(logits.flatten(0, 1), y_BT.flatten())

    def logits(self, x_BT: Tensor) -> Tensor:
        """Logits (B, T, V)."""
        h_BTD = F.embedding(x_BT, self.embedding)
        rotation = None
        if self.positions is not None:
            h_BTD = h_BTD + self.positions[: x_BT.size(1)]
        else:
            t = x_BT.size(1)
            rotation = self.get_buffer("cosine")[:t], self.get_buffer("sine")[:t]
        h_BTD = _rms_norm(h_BTD)
        for block in self.blocks:
            h_BTD = block(h_BTD, rotation)
        h_BTD = _rms_norm(h_BTD, self.final_norm)
        if self.head is None:
            # A tied head starts random: 1/sqrt(D) keeps its first logits of order one.
            h_BTD = h_BTD * (self.shape.width**-0.5 / _EMBEDDING_STD)
        return F.linear(h_BTD, self.embedding if self.head is None else self.head)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by how the optimiser treats them: matrices, embeddings, vectors."""
        embeddings = [self.embedding] + ([self.positions] if self.positions is not None else [])
        rest = [p for p in self.parameters() if all(p is not e for e in embeddings)]
        return {
            "matrices": [p for p in rest if p.ndim == 2],
            "embeddings": embeddings,
            "vectors": [p for p in rest if p.ndim < 2],
        }


def _rotation_table(shape: ModelShape) -> tuple[Tensor, Tensor]:
    """cos and sin (T, H/2) of rotary positions, base 10000 (arXiv:2104.09864)."""
    half = shape.head_dim // 2
    frequency = torch.exp(-math.log(10_000.0) * torch.arange(half) / max(half, 1))
    angle = torch.arange(shape.context)[:, None] * frequency
    return angle.cos(), angle.sin()


def _rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), -1).to(
        x.dtype
    )
