"""FLOPs of one token through an `Architecture`: matrices, attention under its mask, recompute."""

from typing import Literal, get_args

from isoflop._errors import InputError
from isoflop.accounting.architecture import Architecture
from isoflop.accounting.flops import FLOPS_CONVENTIONS, FLOPS_PER_PARAM_TOKEN
from isoflop.accounting.weights import count_weights

Recompute = Literal["none", "selective", "full"]
RECOMPUTES: tuple[Recompute, ...] = get_args(Recompute)


def mean_attended(context: int, window: int | None = None) -> float:
    """Mean number of positions that a token attends, its own included, in a causal layer.

    (T+1)/2 for context T; with a window w < T, (w/T)·(w+1)/2 + w·(1 − w/T): the first w tokens
    see all before them, the others w.

    Raises:
        InputError: `context < 1` or `window < 1`.
    """
    for name, value in (("context", context), ("window", window)):
        if value is not None and not value >= 1:
            raise InputError(
                f"`{name} >= 1` must hold, but got {name}={value}. Give a number of tokens."
            )
    if window is None or window >= context:
        return (context + 1) / 2
    return window - window * (window - 1) / (2 * context)


def token_flops(
    architecture: Architecture, context: int, convention: str = "exact_causal"
) -> float:
    """Training FLOPs per token = 6·P_mm + 6·heads·(d_qk + d_v)·Σ k̄ over layers.

    P_mm is `matmul_per_token`; k̄ the mean number of attended positions (`mean_attended`) for
    `exact_causal`, T in every layer for `exact_full` (PaLM's: neither mask nor window), none for
    `6nd`. The same as `flops_per_token` for one of isoflop's own shapes. Recomputation is not
    counted: see `hardware_flops`.

    Args:
        architecture: the model.
        context: T, tokens of one training sequence.
        convention: one of `FLOPS_CONVENTIONS`.

    Raises:
        InputError: the convention is unknown or `context < 1`.

    Source: Chowdhery et al. 2022, arXiv:2204.02311, appendix B (full); Kaplan et al. 2020,
    arXiv:2001.08361, table 1 (the causal average).
    """
    matrices = FLOPS_PER_PARAM_TOKEN * count_weights(architecture).matmul_per_token
    return matrices + attention_flops(architecture, context, convention)


def attention_flops(
    architecture: Architecture, context: int, convention: str = "exact_causal"
) -> float:
    """The part of `token_flops` that scores and weighs other positions [FLOPs/token].

    Raises:
        InputError: the convention is unknown or `context < 1`.
    """
    if convention not in FLOPS_CONVENTIONS:
        raise InputError(
            f"`convention` must be one of {', '.join(FLOPS_CONVENTIONS)}, "
            f"but got {convention!r}. Use one of these names."
        )
    a, full = architecture, mean_attended(context)
    if convention == "6nd":
        return 0.0
    windowed = a.n_windowed_layers
    attended = (a.n_layers - windowed) * full + windowed * mean_attended(context, a.window)
    if convention == "exact_full":
        attended = float(a.n_layers * context)
    return FLOPS_PER_PARAM_TOKEN * a.n_heads * (a.head_dim + a.v_dim) * attended


def hardware_flops(
    architecture: Architecture,
    context: int,
    recompute: str,
    convention: str = "exact_causal",
) -> float:
    """FLOPs per token that the device does = `token_flops` + the forward pass done again.

    `full`: every layer's forward is done twice, a third of its training FLOPs more, the head's
    once. `selective`: only scores and weighing of attention are done twice. Utilisation by this
    count is HFU, not MFU: OPT's and BLOOM's published figures are.

    Raises:
        InputError: `recompute` or the convention is unknown, or `context < 1`.

    Source: Narayanan et al. 2021, arXiv:2104.04473, eq. 3 (full); what `selective` does again:
    Korthikanti et al. 2022, arXiv:2205.05198, section 5.
    """
    if recompute not in RECOMPUTES:
        raise InputError(
            f"`recompute` must be one of {', '.join(RECOMPUTES)}, but got {recompute!r}. "
            "Use one of these names."
        )
    model = token_flops(architecture, context, convention)
    if recompute == "none":
        return model
    if recompute == "selective":
        return model + attention_flops(architecture, context, convention) / 3
    head = FLOPS_PER_PARAM_TOKEN * count_weights(architecture).head
    return model + (model - head) / 3
