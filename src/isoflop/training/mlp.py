"""Position-wise MLP, dense or a mixture of experts.

Suffixes: B batch · T positions · D width · F hidden width · E experts · K active experts ·
R rows (tokens) of a batch.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isoflop.specs import ModelShape


def activated(hidden: Tensor, kind: str) -> Tensor:
    """gelu, relu squared (arXiv:2109.08668), or SwiGLU of gate and value (arXiv:2002.05202)."""
    if kind == "swiglu":
        gate, value = hidden.chunk(2, -1)
        return F.silu(gate) * value
    return F.gelu(hidden) if kind == "gelu" else F.relu(hidden).square()


def up_rows(shape: ModelShape) -> int:
    """Rows of one expert's up matrix: gate and value under SwiGLU."""
    return shape.ff_width * (2 if shape.mlp == "swiglu" else 1)


class Mlp(nn.Module):
    """Dense MLP: down · activation(up · x)."""

    def __init__(self, shape: ModelShape, *, copies: int = 1) -> None:
        super().__init__()
        self.kind = shape.mlp
        rows, f = copies * up_rows(shape), copies * shape.ff_width
        self.up = nn.Parameter(torch.empty(rows, shape.width))
        self.down = nn.Parameter(torch.empty(shape.width, f))
        self.up_bias = nn.Parameter(torch.empty(rows)) if shape.bias else None
        self.down_bias = nn.Parameter(torch.empty(shape.width)) if shape.bias else None

    def forward(self, x_BTD: Tensor) -> Tensor:
        hidden = activated(F.linear(x_BTD, self.up, self.up_bias), self.kind)
        return F.linear(hidden, self.down, self.down_bias)


_outside: Callable[[Callable[..., Tensor]], Callable[..., Tensor]] = torch.compiler.disable
"""Leaves a function to the interpreter: how many tokens an expert gets differs from step to step,
and a compiler would make it anew for each number."""


class Experts(nn.Module):
    """Routed experts without a capacity, so that no token is dropped, and shared ones.

    y = shared(x) + Σ over the K most probable experts e of w_e · expert_e(x), w the softmax of
    the router over all experts in float32, normalised over the K chosen. With K = 1 that would
    be 1 and teach the router nothing: then w is the probability itself.

    Source: Shazeer et al. 2017, arXiv:1701.06538; Fedus et al. 2021, arXiv:2101.03961 (K = 1);
    Dai et al. 2024, arXiv:2401.06066 (shared experts).
    """

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.kind, self.n_active = shape.mlp, shape.n_active_experts
        e, d = shape.n_experts, shape.width
        self.router = nn.Parameter(torch.empty(e, d))
        self.up = nn.Parameter(torch.empty(e, up_rows(shape), d))
        self.down = nn.Parameter(torch.empty(e, d, shape.ff_width))
        self.up_bias = nn.Parameter(torch.empty(e, up_rows(shape))) if shape.bias else None
        self.down_bias = nn.Parameter(torch.empty(e, d)) if shape.bias else None
        # Several shared experts are one of their summed width: nothing tells them apart.
        n_shared = shape.n_shared_experts
        self.shared = Mlp(shape, copies=n_shared) if n_shared else None

    def forward(self, x_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """The layer's output and its load-balancing loss, which is 1 under an even load."""
        x_RD = x_BTD.flatten(0, -2)
        with torch.autocast(x_RD.device.type, enabled=False):
            p_RE = F.linear(x_RD.float(), self.router.float()).softmax(-1)
        weight_RK, chosen_RK = p_RE.topk(self.n_active, -1)
        if self.n_active > 1:
            weight_RK = weight_RK / weight_RK.sum(-1, keepdim=True)
        counts = torch.bincount(chosen_RK.flatten(), minlength=p_RE.size(-1))
        # Fedus et al. 2021, eq. 4: only the probabilities carry a gradient.
        share_E = counts / chosen_RK.numel()
        balance = p_RE.size(-1) * (share_E * p_RE.mean(0)).sum()
        y_RD = self._routed(x_RD, weight_RK, chosen_RK, counts).view_as(x_BTD)
        return (y_RD if self.shared is None else y_RD + self.shared(x_BTD)), balance

    @_outside
    def _routed(self, x_RD: Tensor, weight_RK: Tensor, chosen_RK: Tensor, counts: Tensor) -> Tensor:
        """Rows sorted by expert, each expert over its own stretch, and back in place."""
        # Indices are permutations, whose backward adds nothing twice: the same bits every time.
        order = chosen_RK.flatten().argsort(stable=True)
        rows = x_RD.repeat_interleave(chosen_RK.size(1), 0)[order]
        out = [self._expert(e, part) for e, part in enumerate(torch.split(rows, counts.tolist()))]
        y_RKD = torch.cat(out)[order.argsort()].view(*chosen_RK.shape, -1)
        return (y_RKD * weight_RK[..., None]).sum(1).to(x_RD.dtype)

    def _expert(self, e: int, x_RD: Tensor) -> Tensor:
        up_bias = None if self.up_bias is None else self.up_bias[e]
        down_bias = None if self.down_bias is None else self.down_bias[e]
        hidden = activated(F.linear(x_RD, self.up[e], up_bias), self.kind)
        return F.linear(hidden, self.down[e], down_bias)
