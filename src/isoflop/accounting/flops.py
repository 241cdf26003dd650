"""FLOPs of a training: one multiply-add counts as two, the backward pass as two forwards."""

from typing import Literal, get_args

from isoflop._errors import InputError
from isoflop.accounting.params import count_params
from isoflop.specs import ModelShape

FlopsConvention = Literal["6nd", "exact_causal", "exact_full"]
FLOPS_CONVENTIONS: tuple[FlopsConvention, ...] = get_args(FlopsConvention)
FLOPS_PER_PARAM_TOKEN = 6.0
"""2 forward and 4 backward: Kaplan et al. 2020, arXiv:2001.08361, section 2.1."""


def flops_6nd(n_params: float, n_tokens: float) -> float:
    """Training FLOPs = 6·N·D.

    Source: Kaplan et al. 2020, arXiv:2001.08361, section 2.1.
    """
    return FLOPS_PER_PARAM_TOKEN * n_params * n_tokens


def flops_per_token(shape: ModelShape, convention: str = "6nd") -> float:
    """Training FLOPs per token: 6·N, plus 12·L·h·H·k̄ of attention in the exact conventions.

    N counts every matrix that multiplies a token, head included (`active`); the embedding is a
    lookup. h·H is the summed width of the query heads, however many keys they share, k̄ the mean
    number of attended positions: (T+1)/2 for `exact_causal`, T for `exact_full` (PaLM's).
    Recomputation is never counted.

    Raises:
        InputError: the convention is unknown.

    Source: Chowdhery et al. 2022, arXiv:2204.02311, appendix B (full attention); its causal
    average agrees with Kaplan et al. 2020, arXiv:2001.08361, table 1.
    """
    if convention not in FLOPS_CONVENTIONS:
        raise InputError(
            f"`convention` must be one of {', '.join(FLOPS_CONVENTIONS)}, "
            f"but got {convention!r}. Use one of these names."
        )
    matrices = FLOPS_PER_PARAM_TOKEN * count_params(shape).under("active")
    if convention == "6nd":
        return matrices
    attended = (shape.context + 1) / 2 if convention == "exact_causal" else float(shape.context)
    return matrices + 12.0 * shape.depth * shape.n_heads * shape.head_dim * attended


def train_flops(shape: ModelShape, n_tokens: float, convention: str = "6nd") -> float:
    """FLOPs of training `shape` on `n_tokens` tokens: flops_per_token · D.

    Raises:
        InputError: the convention is unknown or `n_tokens` is not positive.
    """
    if not n_tokens > 0:
        raise InputError(
            f"`n_tokens > 0` must hold, but got n_tokens={n_tokens}. Give the tokens to train on."
        )
    return flops_per_token(shape, convention) * n_tokens
