"""Published ladders: the shapes that were trained, and the tokens.

A rung takes width, depth, heads and MLP width from here; what else a model has (MLP kind,
positions, tied head) stays with `[model]`, and the vocabulary with the corpus: N is counted anew.
"""

from collections.abc import Callable
from dataclasses import dataclass

from isoflop.specs.ladder import Family


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedShape:
    """One published model; `published` is its size as its authors count it."""

    width: int
    depth: int
    n_heads: int
    ff_width: int
    published: float
    tokens: tuple[float, ...] = ()
    """Published horizons; none where the ladder was made by budgets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedLadder:
    """A ladder's shapes, and either their tokens or the budgets that gave them."""

    shapes: tuple[PublishedShape, ...]
    source: str
    budgets: tuple[float, ...] = ()
    """[FLOPs] of isoFLOP profiles."""


def _shape(
    width: int,
    depth: int,
    n_heads: int,
    published: float,
    *,
    ff_ratio: int = 4,
    tokens: tuple[float, ...] = (),
) -> PublishedShape:
    return PublishedShape(
        width=width,
        depth=depth,
        n_heads=n_heads,
        ff_width=ff_ratio * width,
        published=float(published),
        tokens=tokens,
    )


def _baichuan2() -> PublishedLadder:
    """Seven sizes, each up to 1T tokens, MLP three times the width (SwiGLU)."""
    rows = (
        (384, 6, 6, 11.51e6),
        (704, 8, 8, 51.56e6),
        (832, 12, 8, 108.01e6),
        (1216, 16, 8, 307.60e6),
        (1792, 20, 14, 835.00e6),
        (2240, 24, 14, 1565.60e6),
        (2880, 28, 20, 3019.33e6),
    )
    shapes = tuple(_shape(*row, ff_ratio=3, tokens=(1e12,)) for row in rows)
    return PublishedLadder(shapes=shapes, source="Yang et al. 2023, arXiv:2309.10305, Table 5")


# (width, size of a head, depth and published millions of parameters): MLP four times the width.
_CHINCHILLA = (
    (512, 64, ((8, 44),)),
    (576, 64, ((9, 57),)),
    (640, 64, ((10, 74), (13, 90), (16, 106))),
    (768, 64, ((12, 117), (15, 140), (18, 163))),
    (896, 64, ((14, 175), (16, 196), (18, 217))),
    (1024, 64, ((16, 251), (18, 278), (20, 306))),
    (1280, 128, ((18, 425), (21, 489), (24, 552))),
    (1408, 128, ((18, 509), (21, 587), (24, 664))),
    (1536, 128, ((19, 632), (22, 724), (25, 816))),
    (1792, 128, ((20, 893), (23, 1018), (26, 1143))),
    (2048, 128, ((22, 1266), (25, 1429), (28, 1593))),
    (2176, 128, ((22, 1424), (25, 1609), (28, 1794))),
    (2304, 128, ((24, 1731), (28, 2007), (32, 2283))),
    (2560, 128, ((26, 2298), (30, 2639), (34, 2980))),
    (2688, 128, ((36, 3530),)),
    (2816, 128, ((36, 3802),)),
    (2944, 128, ((36, 4084),)),
    (3072, 128, ((36, 4516),)),
    (3584, 128, ((40, 6796),)),
    (4096, 128, ((42, 9293),)),
    (4352, 128, ((47, 11452),)),
    (4608, 128, ((44, 12295), (47, 12569))),
    (4864, 128, ((47, 13735),)),
    (4992, 128, ((49, 14940),)),
    (5120, 128, ((47, 16183),)),
)


def _chinchilla() -> PublishedLadder:
    """Fifty shapes at nine budgets.

    Where the published heads times their size are not the width (2688, 2944 and most above 4096),
    heads of 128 that fill the width stand in: our attention has no other.
    """
    shapes = tuple(
        _shape(d, layers, d // head, 1e6 * millions)
        for d, head, models in _CHINCHILLA
        for layers, millions in models
    )
    return PublishedLadder(
        shapes=shapes,
        budgets=(6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21, 3e21),
        source="Hoffmann et al. 2022, arXiv:2203.15556, Table A9 and section 3.2",
    )


def _pythia() -> PublishedLadder:
    """Eight sizes, one horizon of 143,000 steps of 2,097,152 tokens; MLP four times the width."""
    rows = (
        (512, 6, 8, 18_915_328),
        (768, 12, 12, 85_056_000),
        (1024, 24, 16, 302_311_424),
        (2048, 16, 8, 805_736_448),
        (2048, 24, 16, 1_208_602_624),
        (2560, 32, 32, 2_517_652_480),
        (4096, 32, 32, 6_444_163_072),
        (5120, 36, 40, 11_327_027_200),
    )
    shapes = tuple(_shape(*row, tokens=(143_000 * 2_097_152.0,)) for row in rows)
    return PublishedLadder(shapes=shapes, source="Biderman et al. 2023, arXiv:2304.01373, Table 1")


def _cerebras_gpt() -> PublishedLadder:
    """Seven sizes on one ray of 20 tokens a parameter; MLP four times the width."""
    rows = (
        (768, 10, 12, 111e6, 2.22e9),
        (1088, 14, 17, 256e6, 5.12e9),
        (1536, 18, 12, 590e6, 11.8e9),
        (2048, 24, 16, 1.3e9, 26.3e9),
        (2560, 32, 32, 2.7e9, 53.0e9),
        (4096, 32, 32, 6.7e9, 133e9),
        (5120, 40, 40, 13e9, 257e9),
    )
    shapes = tuple(_shape(d, layers, h, n, tokens=(t,)) for d, layers, h, n, t in rows)
    return PublishedLadder(shapes=shapes, source="Dey et al. 2023, arXiv:2304.03208, Table 1")


def _olmo() -> PublishedLadder:
    """Four sizes at 1, 2, 5 and 10 times 20 tokens a parameter; SwiGLU of four widths."""
    rows = (
        (768, 12, 12, 190_354_176),
        (1024, 16, 16, 371_262_464),
        (1536, 16, 16, 758_220_288),
        (2048, 16, 16, 1_279_395_840),
    )
    shapes = tuple(
        _shape(*row, tokens=tuple(20.0 * row[-1] * times for times in (1, 2, 5, 10)))
        for row in rows
    )
    return PublishedLadder(shapes=shapes, source="Bhagia et al. 2024, arXiv:2412.04403, section 2")


FAMILIES: dict[Family, Callable[[], PublishedLadder]] = {
    "baichuan2": _baichuan2,
    "chinchilla": _chinchilla,
    "pythia": _pythia,
    "cerebras_gpt": _cerebras_gpt,
    "olmo": _olmo,
}
"""Every published ladder by the name that `ladder.family` gives it."""
