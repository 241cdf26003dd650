"""The model: a decoder-only transformer whose tensors `accounting.count_params` counts exactly.

Suffixes: B batch · T positions · D width · V vocabulary.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isoflop.specs import ModelShape, Parametrisation
from isoflop.training.attend import causal_mask
from isoflop.training.attention import Attention, Tables, rotation_table
from isoflop.training.initial import initialise
from isoflop.training.mlp import Experts, Mlp
from isoflop.training.norm import norm, rms_norm

PLAIN = Parametrisation()


class Block(nn.Module):
    """One pre-norm layer: x + s·attention(norm x), then x + s·mlp(norm x), s = 1 but by depth."""

    def __init__(self, shape: ModelShape, parametrisation: Parametrisation) -> None:
        super().__init__()
        self.attention = Attention(shape, parametrisation)
        self.mlp = Experts(shape) if shape.n_experts else Mlp(shape)
        self.centred, self.eps = shape.norm == "layer", shape.norm_eps
        self.scale = parametrisation.residual_scale(shape)
        self.attention_norm = nn.Parameter(torch.empty(shape.width))
        self.mlp_norm = nn.Parameter(torch.empty(shape.width))
        biased = self.centred and shape.bias
        self.attention_norm_bias = nn.Parameter(torch.empty(shape.width)) if biased else None
        self.mlp_norm_bias = nn.Parameter(torch.empty(shape.width)) if biased else None

    def forward(self, x_BTD: Tensor, tables: Tables) -> tuple[Tensor, Tensor | None]:
        """The stream after the layer, and the load-balancing loss of its experts."""
        normed = self._normed(x_BTD, self.attention_norm, self.attention_norm_bias)
        x_BTD = x_BTD + self._scaled(self.attention(normed, tables))
        normed = self._normed(x_BTD, self.mlp_norm, self.mlp_norm_bias)
        if isinstance(self.mlp, Experts):
            y_BTD, balance = self.mlp(normed)
            return x_BTD + self._scaled(y_BTD), balance
        return x_BTD + self._scaled(self.mlp(normed)), None

    def _normed(self, x: Tensor, gain: Tensor, bias: Tensor | None) -> Tensor:
        return norm(x, gain, bias, centred=self.centred, eps=self.eps)

    def _scaled(self, branch: Tensor) -> Tensor:
        return branch if self.scale == 1.0 else branch * self.scale


class Transformer(nn.Module):
    """Decoder-only transformer; `forward` gives the mean cross-entropy [nats/token]."""

    def __init__(self, shape: ModelShape, parametrisation: Parametrisation = PLAIN) -> None:
        super().__init__()
        self.shape, self.parametrisation = shape, parametrisation
        v, d = shape.vocab_size, shape.width
        self.embedding = nn.Parameter(torch.empty(v, d))
        self.positions = None
        if shape.positions == "learned":
            self.positions = nn.Parameter(torch.empty(shape.context, d))
        self.blocks = nn.ModuleList(Block(shape, parametrisation) for _ in range(shape.depth))
        self.final_norm = nn.Parameter(torch.empty(d))
        biased = shape.norm == "layer" and shape.bias
        self.final_norm_bias = nn.Parameter(torch.empty(d)) if biased else None
        self.head = None if shape.tied_head else nn.Parameter(torch.empty(v, d))
        cosine, sine = rotation_table(shape)
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)
        self.register_buffer("mask", causal_mask(shape.context), persistent=False)
        initialise(self, shape, parametrisation)

    def forward(self, x_BT: Tensor, y_BT: Tensor) -> Tensor:
        """Mean cross-entropy; while gradients are recorded, plus what balances the experts."""
        logits, balance = self._run(x_BT)
        loss = F.cross_entropy(logits.float().flatten(0, 1), y_BT.flatten())
        if balance is not None and torch.is_grad_enabled():
            loss = loss + self.shape.balance_coefficient * balance
        return loss

    def logits(self, x_BT: Tensor) -> Tensor:
        """Logits (B, T, V)."""
        return self._run(x_BT)[0]

    def _run(self, x_BT: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits, and the load-balancing loss as a mean over layers."""
        shape, t = self.shape, x_BT.size(1)
        h_BTD = F.embedding(x_BT, self.embedding)
        rotation = None
        if self.positions is not None:
            h_BTD = h_BTD + self.positions[:t]
        else:
            rotation = self.get_buffer("cosine")[:t], self.get_buffer("sine")[:t]
        if shape.embedding_norm:
            h_BTD = rms_norm(h_BTD, eps=shape.norm_eps)
        h_BTD = _times(h_BTD, self.parametrisation.embedding_multiplier)
        tables, balances = Tables(rotation, self.get_buffer("mask")), []
        for block in self.blocks:
            h_BTD, balance = block(h_BTD, tables)
            balances.append(balance)
        centred = shape.norm == "layer"
        h_BTD = norm(
            h_BTD, self.final_norm, self.final_norm_bias, centred=centred, eps=shape.norm_eps
        )
        h_BTD = _times(h_BTD, self.parametrisation.output_scale(shape))
        logits = F.linear(h_BTD, self.embedding if self.head is None else self.head)
        return logits, torch.stack(balances).mean() if shape.n_experts else None


def _times(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1.0 else x * factor
