"""Published compute-optimal size and tokens as powers of compute, in `published.PUBLISHED`.

Each holds for its paper's way of counting parameters and FLOPs only: that, more than the data, is
what makes them differ.
"""

from typing import Any

from isoflop._types import Problem
from isoflop.laws._published import PF_DAY, ROUNDED, Published, published
from isoflop.laws.hyperparameter import product_power

SIZE_ON_FLOPS = product_power(("flops",), "n_params")
TOKENS_ON_FLOPS = product_power(("flops",), "n_tokens")

# ASSUMPTION: optima scatter by some 10 % about such a line; no paper states it.
_SCATTER: dict[str, Any] = {"sigma": 0.1, "spread": 0.1}

_PORIAN_SOURCE = "Porian et al. 2024, arXiv:2406.19146, released fits (bootstrap medians)"
_PORIAN_RANGE = {"flops": (1.25e16, 1.25e16 * 2.0**11)}


def _optima(
    name: str,
    title: str,
    size: tuple[float, float] | None,
    tokens: tuple[float, float] | None,
    source: str,
    note: str,
    *,
    convention: str,
    problems: tuple[Problem, ...] = (),
    ranges: dict[str, tuple[float, float]] | None = None,
) -> tuple[Published, ...]:
    """Size and tokens `c C^a`, C in FLOPs, as two laws."""
    both = ((SIZE_ON_FLOPS, size, "n_params"), (TOKENS_ON_FLOPS, tokens, "n_tokens"))
    return tuple(
        published(
            f"{name}_optimal_{what}",
            f"{title}: optimal {what}",
            law,
            theta,
            source,
            note,
            ranges=ranges,
            convention=convention,
            problems=problems,
            **_SCATTER,
        )
        for law, theta, what in both
        if theta is not None
    )


def _henighan(name: str, title: str, scale: float, exponent: float) -> tuple[Published, ...]:
    """Size `(C/scale)^exponent` with `scale` in PF-days."""
    return _optima(
        f"henighan_{name}",
        f"Henighan, {title}",
        ((scale * PF_DAY) ** -exponent, exponent),
        None,
        "Henighan et al. 2020, arXiv:2010.14701, Table 1",
        "Schedules not matched to the horizon: data would grow as N^0.4, which later work refutes.",
        convention="non_embedding",
        problems=(ROUNDED,),
    )


def _porian(
    name: str, setting: str, size: tuple[float, float], tokens: tuple[float, float]
) -> tuple[Published, ...]:
    kaplan = "kaplan" in name
    return _optima(
        f"porian_{name}",
        f"Porian, {setting}",
        size,
        tokens,
        _PORIAN_SOURCE,
        "Size and tokens are separate regressions: 6 N D is C only nearly.",
        convention="non_embedding" if kaplan else "non_embedding_with_head",
        ranges=_PORIAN_RANGE,
    )


def _chinchilla(name: str, title: str, size: tuple[float, float]) -> tuple[Published, ...]:
    """Size as the paper tabulates it, and the tokens that 6·N·D leaves."""
    c, a = size
    return _optima(
        f"hoffmann_{name}",
        f"Chinchilla, {title}",
        size,
        (1 / (6.0 * c), 1 - a),
        "Hoffmann et al. 2022, arXiv:2203.15556, Tables 3 and A3",
        # The row of 67 B lies 1.4 and 3.5 % below the line through the others.
        "Not printed: the line in logs through the table, its row of 67 B left out (within 0.3 %).",
        convention="total",
        problems=(ROUNDED,),
        ranges={"flops": (6e18, 3e21)},
    )


OPTIMA = (
    *_optima(
        "kaplan",
        "Kaplan",
        (1.3e9 * PF_DAY**-0.73, 0.73),
        (2e10 * PF_DAY**-0.27, 0.27),
        "Kaplan et al. 2020, arXiv:2001.08361, Table 6",
        "C is C_min; embeddings and head are not counted, schedules not matched to the horizon.",
        convention="non_embedding",
        problems=(ROUNDED,),
    ),
    *_chinchilla("approach1", "approach 1", (0.09935, 0.4981)),
    *_chinchilla("approach2", "approach 2", (0.1456, 0.4899)),
    *_porian(
        "refinedweb_kaplan",
        "RefinedWeb, head not counted",
        (4.232e-8, 0.8353),
        (4.153e6, 0.1634),
    ),
    *_porian("refinedweb_head", "RefinedWeb, head counted", (1.270e-5, 0.7065), (1.312e4, 0.2935)),
    *_porian(
        "refinedweb_warmup", "RefinedWeb, and short warm-up", (1.431e-3, 0.6020), (113.9, 0.3985)
    ),
    *_porian(
        "refinedweb_cosine", "RefinedWeb, and cosine decay", (4.769e-3, 0.5715), (35.04, 0.4284)
    ),
    *_porian("refinedweb_tuned", "RefinedWeb, tuned", (0.1189, 0.4969), (1.401, 0.5031)),
    *_porian(
        "refinedweb_attention",
        "RefinedWeb, tuned, attention counted as parameters",
        (0.09235, 0.5053),
        (1.805, 0.4947),
    ),
    *_porian(
        "refinedweb_tuned_kaplan",
        "RefinedWeb, tuned, but head not counted and long warm-up",
        (8.952e-6, 0.7115),
        (1.862e4, 0.2885),
    ),
    *_porian("openwebtext2_head", "OpenWebText2, head", (1.733e-5, 0.6985), (9946.0, 0.3006)),
    *_porian("openwebtext2_cosine", "OpenWebText2, cosine", (4.366e-3, 0.5743), (37.95, 0.4259)),
    *_porian("openwebtext2_tuned", "OpenWebText2, tuned", (0.04694, 0.5185), (3.357, 0.4829)),
    *_henighan("text", "language", 3.3e-13, 0.73),
    *_henighan("image8", "images 8x8", 5.3e-14, 0.64),
    *_henighan("image16", "images 16x16", 4.8e-12, 0.75),
    *_henighan("image32", "images 32x32", 1.6e-13, 0.65),
    *_henighan("image_vq16", "images VQ 16x16", 6.2e-14, 0.64),
    *_henighan("image_vq32", "images VQ 32x32", 9.4e-13, 0.7),
    *_henighan("text_to_image", "text to image", 9.4e-13, 0.7),
    *_henighan("image_to_text", "image to text", 3.3e-12, 0.72),
    *_henighan("video", "video VQ 16x16x16", 1.13e-12, 0.71),
    *_henighan("maths", "mathematics", 2.3e-12, 0.69),
    *_optima(
        "deepseek",
        "DeepSeek",
        None,
        (5.8316, 0.4757),
        "DeepSeek LLM 2024, arXiv:2401.02954, sec. 3",
        "C = M D with M = 72 L d^2 + 12 L d s FLOPs a token; the optimal M is 0.1715 C^0.5243.",
        convention="non_embedding",
        ranges={"flops": (1e17, 3e20)},
    ),
    *_optima(
        "llama3",
        "Llama 3",
        None,
        (0.299, 0.537),
        "Llama 3 2024, arXiv:2407.21783, sec. 3.2.1, legend of the figure",
        "The text rounds to 0.29 C^0.53, which is a third less at 3.8e25 FLOPs.",
        convention="unknown",
        problems=(ROUNDED,),
        ranges={"flops": (6e18, 1e22)},
    ),
)
