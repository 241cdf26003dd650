"""A model's tensors with every multiplier folded into weights: plain matrices and gains are left.

Embedding norm and multiplier go into the embedding's rows, the output's into the last gain, the
attention's into the queries or their gain, a residual branch's into its last matrix.

Suffixes: D width · H head size · V vocabulary · E experts.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from isoflop.training.mlp import Experts, Mlp
from isoflop.training.model import Block, Transformer
from isoflop.training.norm import rms_norm

EPS = torch.finfo(torch.float32).eps
"""Norms' epsilon where a shape names none and float32 computes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """y = weight · x + bias; a stack of them for experts."""

    weight: Tensor
    bias: Tensor | None = None

    def times(self, factor: float) -> "Linear":
        """The map times a factor."""
        if factor == 1.0:
            return self
        bias = None if self.bias is None else self.bias * factor
        return Linear(weight=self.weight * factor, bias=bias)

    def split(self, *sizes: int) -> tuple["Linear", ...]:
        """The map cut into groups of rows."""
        weights = torch.split(self.weight, list(sizes), -2)
        biases = (
            [None] * len(sizes) if self.bias is None else torch.split(self.bias, list(sizes), -1)
        )
        return tuple(Linear(weight=w, bias=b) for w, b in zip(weights, biases, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer, for attention logits of q·k/sqrt(H)."""

    attention_norm: Linear
    mlp_norm: Linear
    q: Linear
    k: Linear
    v: Linear
    out: Linear
    q_gain: Tensor | None
    """(H,) gain of the normed queries; keys have gain 1."""
    up: Linear
    down: Linear
    router: Tensor | None = None
    shared_up: Linear | None = None
    shared_down: Linear | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """A model without multipliers."""

    embedding: Tensor
    positions: Tensor | None
    layers: tuple[Layer, ...]
    final_norm: Linear
    head: Tensor | None
    """None where it is the embedding."""


@torch.no_grad()
def fold(model: Transformer) -> Folded:
    """The tensors of a model, float32, that give its logits without any multiplier."""
    shape, own = model.shape, model.parametrisation
    raw = model.embedding.detach().float()
    embedding, positions = raw, None
    if model.positions is not None:
        # A norm of the sum of embedding and position is in no row of either: not asked for.
        assert not shape.embedding_norm
        positions = model.positions.detach().float() * own.embedding_multiplier
    if shape.embedding_norm:
        embedding = rms_norm(raw, eps=shape.norm_eps)
    embedding = embedding * own.embedding_multiplier
    head = model.head
    if head is None and not torch.equal(embedding, raw):
        head = model.embedding
    final = Linear(weight=model.final_norm.detach(), bias=_tensor(model.final_norm_bias))
    return Folded(
        embedding=embedding,
        positions=positions,
        layers=tuple(_layer(block, model) for block in model.blocks if isinstance(block, Block)),
        final_norm=final.times(own.output_scale(shape)),
        head=_tensor(head),
    )


def _layer(block: Block, model: Transformer) -> Layer:
    shape, attention, mlp = model.shape, block.attention, block.mlp
    inner, kv = shape.n_heads * shape.head_dim, shape.kv_heads * shape.head_dim
    q, k, v = _linear(attention.qkv, attention.qkv_bias).split(inner, kv, kv)
    ratio, q_gain = attention.scale * shape.head_dim**0.5, None
    if attention.gain is not None:
        q_gain = attention.gain.detach().float().expand(shape.head_dim) * ratio
    else:
        q = q.times(ratio)
    assert isinstance(mlp, Experts | Mlp)
    layer = Layer(
        attention_norm=_linear(block.attention_norm, block.attention_norm_bias),
        mlp_norm=_linear(block.mlp_norm, block.mlp_norm_bias),
        q=q,
        k=k,
        v=v,
        out=_linear(attention.out, attention.out_bias).times(block.scale),
        q_gain=q_gain,
        up=_linear(mlp.up, mlp.up_bias),
        down=_linear(mlp.down, mlp.down_bias).times(block.scale),
    )
    if not isinstance(mlp, Experts):
        return layer
    layer = replace(layer, router=mlp.router.detach().float())
    if mlp.shared is None:
        return layer
    up, down = mlp.shared.up, mlp.shared.down
    return replace(
        layer,
        shared_up=_linear(up, mlp.shared.up_bias),
        shared_down=_linear(down, mlp.shared.down_bias).times(block.scale),
    )


def _linear(weight: Tensor, bias: Tensor | None) -> Linear:
    return Linear(weight=weight.detach().float(), bias=_tensor(bias))


def _tensor(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().float()
