"""Norms of a vector over its last axis."""

import torch
import torch.nn.functional as F
from torch import Tensor

_EPS = torch.finfo(torch.float32).eps


def rms_norm(x: Tensor, gain: Tensor | None = None, *, eps: float | None) -> Tensor:
    """x / sqrt(mean x² + eps) · gain (arXiv:1910.07467)."""
    return F.rms_norm(x, (x.size(-1),), gain, eps)


def norm(
    x: Tensor, gain: Tensor, bias: Tensor | None, *, centred: bool, eps: float | None
) -> Tensor:
    """RMS norm, or with `centred` layer norm: (x - mean)/sqrt(var + eps) · gain + bias."""
    if not centred:
        return rms_norm(x, gain, eps=eps)
    return F.layer_norm(x, (x.size(-1),), gain, bias, _EPS if eps is None else eps)
