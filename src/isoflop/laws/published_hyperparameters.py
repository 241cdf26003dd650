"""Published laws of learning rate and batch, as estimates; listed in `published.PUBLISHED`.

The learning rate holds only together with its paper's batch rule: Step Law's rate rises with
tokens because its batch does; at a fixed batch others find that it falls.
"""

from typing import Any

import numpy as np

from isoflop.laws._published import ROUNDED, published
from isoflop.laws.hyperparameter import (
    BATCH_ON_FLOPS,
    BATCH_ON_LOSS,
    BATCH_ON_SIZE,
    BATCH_ON_TOKENS,
    LR_ON_FLOPS,
    LR_ON_SIZE,
    LR_ON_SIZE_TOKENS,
)

# ASSUMPTION: no paper states how its optima scatter. Settings within 0.25 % of the best loss,
# which Step Law and DeepSeek fitted, span a factor of two or so either way.
_SCATTER: dict[str, Any] = {"sigma": 0.25, "spread": 0.1}

_STEP = {
    "n_params": (6e7, 1.1e9),
    "n_tokens": (2e9, 1e11),
}
_STEP_SOURCE = "Li et al. 2025 (Step Law), arXiv:2503.04715; exponents +- .030, .019, .019"
_DEEPSEEK_SOURCE = "DeepSeek LLM 2024, arXiv:2401.02954, sec. 3"
_DEEPSEEK_NOTE = "C is 72 L d^2 + 12 L d s FLOPs a token: attention counted, vocabulary not."
_PORIAN_SOURCE = (
    "Porian et al. 2024, arXiv:2406.19146, rounded, as in the released code of OLMo-ladder, "
    "arXiv:2412.04403"
)
_PORIAN_BASE = 1.08e8
"""Size [parameters] at which the rounded rules are written down."""

HYPERPARAMETERS = (
    published(
        "step_law_lr",
        "Step Law: peak learning rate",
        LR_ON_SIZE_TOKENS,
        (1.79, -0.713, 0.307),
        _STEP_SOURCE,
        "Together with step_law_batch only.",
        ranges=_STEP,
        convention="non_embedding",
        problems=(ROUNDED,),
        **_SCATTER,
    ),
    published(
        "step_law_batch",
        "Step Law: batch [tokens]",
        BATCH_ON_TOKENS,
        (0.58, 0.571),
        _STEP_SOURCE,
        ranges={"n_tokens": _STEP["n_tokens"]},
        convention="non_embedding",
        problems=(ROUNDED,),
        **_SCATTER,
    ),
    published(
        "deepseek_lr",
        "DeepSeek: peak learning rate",
        LR_ON_FLOPS,
        (0.3118, -0.1250),
        _DEEPSEEK_SOURCE,
        _DEEPSEEK_NOTE,
        ranges={"flops": (1e17, 2e19)},
        convention="non_embedding",
        flops_convention="exact_full",
        **_SCATTER,
    ),
    published(
        "deepseek_batch",
        "DeepSeek: batch [tokens]",
        BATCH_ON_FLOPS,
        (0.2920, 0.3271),
        _DEEPSEEK_SOURCE,
        _DEEPSEEK_NOTE,
        ranges={"flops": (1e17, 2e19)},
        convention="non_embedding",
        flops_convention="exact_full",
        **_SCATTER,
    ),
    published(
        "porian_lr",
        "Porian, rounded: peak learning rate",
        LR_ON_SIZE,
        (0.0047 * _PORIAN_BASE ** (1 / 3), -1 / 3),
        _PORIAN_SOURCE,
        "At about 20 tokens per parameter.",
        ranges={"n_params": (5e6, 9.01e8)},
        convention="non_embedding_with_head",
        problems=(ROUNDED,),
        **_SCATTER,
    ),
    published(
        "porian_batch",
        "Porian, rounded: batch [tokens]",
        BATCH_ON_SIZE,
        (160 * 2048 * _PORIAN_BASE ** (-2 / 3), 2 / 3),
        _PORIAN_SOURCE,
        "160 sequences of 2048 tokens at 108 M parameters; about 20 tokens per parameter.",
        ranges={"n_params": (5e6, 9.01e8)},
        convention="non_embedding_with_head",
        problems=(ROUNDED,),
        **_SCATTER,
    ),
    published(
        "kaplan_batch",
        "Kaplan: critical batch [tokens]",
        BATCH_ON_LOSS,
        (2.1e8, -1 / 0.21),
        "Kaplan et al. 2020, arXiv:2001.08361, eq. 1.4, Table 5",
        "A batch of this size needs twice the fewest steps; its authors do not trust it far out.",
        convention="non_embedding",
        problems=(ROUNDED,),
        **_SCATTER,
    ),
    published(
        "minicpm_batch",
        "MiniCPM: batch [tokens]",
        BATCH_ON_LOSS,
        (1.21e9, -6.24),
        "Hu et al. 2024 (MiniCPM), arXiv:2404.06395",
        "Fitted at 9 M, 30 M and 170 M parameters.",
        convention="non_embedding",
        problems=(ROUNDED,),
        **_SCATTER,
    ),
    published(
        "mm1_lr",
        "MM1: peak learning rate",
        LR_ON_SIZE,
        (float(np.exp(-0.5535)), -0.4214),
        "McKinzie et al. 2024 (MM1), arXiv:2403.09611",
        "Does not know the tokens.",
        convention="unknown",
        problems=(ROUNDED,),
        **_SCATTER,
    ),
)
