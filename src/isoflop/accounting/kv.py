"""Bytes of keys and values that serving keeps of every token."""

from isoflop._errors import InputError
from isoflop.accounting.architecture import Architecture


def kv_bytes_per_token(architecture: Architecture, value_bytes: float = 2.0) -> float:
    """Bytes of cache a token adds = 2·L·k·H·b for k key heads of width H; L·(c + r)·b for MLA.

    Every layer counts, as long as the context is within its window.

    Args:
        architecture: the model.
        value_bytes: bytes of a cached value, 2 for bf16, 1 for fp8.

    Raises:
        InputError: `value_bytes` is not positive.

    Source: Ainslie et al. 2023, arXiv:2305.13245 (shared keys); DeepSeek-V2, arXiv:2405.04434,
    table 1 (latent of rank c and a rotary key of width r).
    """
    if not value_bytes > 0:
        raise InputError(
            f"`value_bytes > 0` must hold, but got value_bytes={value_bytes}. "
            "Give bytes of a cached value, 2 for bf16."
        )
    return architecture.n_layers * _values_per_layer(architecture) * value_bytes


def kv_bytes(architecture: Architecture, context: float, value_bytes: float = 2.0) -> float:
    """Bytes of cache of one sequence of `context` tokens; a layer with a window w keeps min(T, w).

    Raises:
        InputError: `value_bytes` or `context` is not positive.
    """
    if not context > 0:
        raise InputError(
            f"`context > 0` must hold, but got context={context}. Give the tokens of a sequence."
        )
    per_layer = kv_bytes_per_token(architecture, value_bytes) / architecture.n_layers
    return per_layer * attended_positions(architecture, context)


def attended_positions(architecture: Architecture, context: float) -> float:
    """Positions that the token at `context` attends, summed over the layers."""
    windowed = architecture.n_windowed_layers
    near = min(context, architecture.window) if architecture.window is not None else context
    return (architecture.n_layers - windowed) * context + windowed * near


def _values_per_layer(architecture: Architecture) -> int:
    latent = architecture.latent
    if latent is not None:
        return latent.kv_rank + latent.rope_dim
    return 2 * architecture.n_kv_heads * architecture.head_dim
