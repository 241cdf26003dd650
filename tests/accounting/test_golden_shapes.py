"""Shapes of papers: their parameters and FLOPs as printed, from ours and what sets them apart."""

import pytest

from isoflop.accounting import count_params, flops_per_token
from isoflop.specs import ModelShape

# Hoffmann et al. 2022, arXiv:2203.15556, Table A9: millions of parameters, width, MLP width, size
# of a head, heads, layers. Left out: the six whose heads are not as wide as the model.
TABLE_A9 = [
    (44, 512, 2048, 64, 8, 8), (57, 576, 2304, 64, 9, 9), (74, 640, 2560, 64, 10, 10),
    (90, 640, 2560, 64, 10, 13), (106, 640, 2560, 64, 10, 16), (117, 768, 3072, 64, 12, 12),
    (140, 768, 3072, 64, 12, 15), (163, 768, 3072, 64, 12, 18), (175, 896, 3584, 64, 14, 14),
    (196, 896, 3584, 64, 14, 16), (217, 896, 3584, 64, 14, 18), (251, 1024, 4096, 64, 16, 16),
    (278, 1024, 4096, 64, 16, 18), (306, 1024, 4096, 64, 16, 20), (425, 1280, 5120, 128, 10, 18),
    (489, 1280, 5120, 128, 10, 21), (509, 1408, 5632, 128, 11, 18), (552, 1280, 5120, 128, 10, 24),
    (587, 1408, 5632, 128, 11, 21), (632, 1536, 6144, 128, 12, 19), (664, 1408, 5632, 128, 11, 24),
    (724, 1536, 6144, 128, 12, 22), (816, 1536, 6144, 128, 12, 25), (893, 1792, 7168, 128, 14, 20),
    (1018, 1792, 7168, 128, 14, 23), (1143, 1792, 7168, 128, 14, 26),
    (1266, 2048, 8192, 128, 16, 22), (1424, 2176, 8704, 128, 17, 22),
    (1429, 2048, 8192, 128, 16, 25), (1593, 2048, 8192, 128, 16, 28),
    (1609, 2176, 8704, 128, 17, 25), (1731, 2304, 9216, 128, 18, 24),
    (1794, 2176, 8704, 128, 17, 28), (2007, 2304, 9216, 128, 18, 28),
    (2283, 2304, 9216, 128, 18, 32), (2298, 2560, 10240, 128, 20, 26),
    (2639, 2560, 10240, 128, 20, 30), (2980, 2560, 10240, 128, 20, 34),
    (3802, 2816, 11264, 128, 22, 36), (4516, 3072, 12288, 128, 24, 36),
    (6796, 3584, 14336, 128, 28, 40), (9293, 4096, 16384, 128, 32, 42),
    (12295, 4608, 18432, 128, 36, 44), (16183, 5120, 20480, 128, 40, 47),
]  # fmt: skip


def chinchilla(width: int, ff_width: int, heads: int, depth: int) -> ModelShape:
    return ModelShape(
        vocab_size=32_000, width=width, depth=depth, n_heads=heads, ff_width=ff_width,
        context=2048, mlp="gelu", qk_norm=False, token_shift=False, tied_head=True,
    )  # fmt: skip


def reported(shape: ModelShape) -> float:
    """What the paper calls its size: one matrix a layer more, for relative positions."""
    return count_params(shape).under() + shape.depth * shape.width**2


@pytest.mark.parametrize("row", TABLE_A9, ids=lambda row: f"{row[0]}M")
def test_sizes_of_hoffmann_hold_a_fifth_matrix(row: tuple[int, ...]) -> None:
    millions, width, ff_width, head, heads, depth = row
    assert head * heads == width
    shape = chinchilla(width, ff_width, heads, depth)
    # 0.8 % for the smallest, which is printed with two digits.
    assert reported(shape) == pytest.approx(millions * 1e6, rel=8.1e-3)
    # Without the fifth matrix of attention every size is 4 to 8 % low.
    assert -0.08 < count_params(shape).under() / (millions * 1e6) - 1 < -0.04


@pytest.mark.parametrize(
    ("width", "ff_width", "heads", "depth", "printed", "literal"),
    [
        # Table A4: FLOPs of appendix F over 6 N D; and with the embedding and the head, as that
        # appendix says they are counted.
        (640, 2560, 10, 10, 1.03, 1.58),
        (1024, 4096, 16, 20, 1.10, 1.32),
        (1280, 5120, 10, 24, 1.08, 1.23),
        (1792, 7168, 14, 26, 1.04, 1.15),
        (2048, 8192, 16, 28, 1.03, 1.12),
        (3584, 14336, 28, 40, 0.99, 1.03),
    ],
)
def test_flops_of_hoffmann_leave_embedding_and_head_out(
    width: int, ff_width: int, heads: int, depth: int, printed: float, literal: float
) -> None:
    shape = chinchilla(width, ff_width, heads, depth)
    head = 6.0 * count_params(shape).head
    softmax = 3 * 3 * heads * depth * shape.context  # 3 h s^2 a layer and sequence, times 3
    blocks = flops_per_token(shape, "exact_full") - head + softmax
    assert round(blocks / (6 * reported(shape)), 2) == printed
    # The embedding counted as a multiplication of 2 s V d, like the head.
    assert round((blocks + 2 * head) / (6 * reported(shape)), 2) == literal


@pytest.mark.parametrize(
    ("depth", "width", "without", "with_head", "flops", "low", "high"),
    [
        # DeepSeek LLM, arXiv:2401.02954, Table 3: N1, N2, M [FLOPs/token], 6 N1/M, 6 N2/M.
        (8, 512, 25.2e6, 77.6e6, 352e6, 0.43, 1.32),
        (12, 768, 84.9e6, 164e6, 963e6, 0.53, 1.02),
        (24, 1024, 302e6, 407e6, 3.02e9, 0.60, 0.81),
        (24, 2048, 1.21e9, 1.42e9, 9.66e9, 0.75, 0.88),
        (32, 4096, 6.44e9, 6.86e9, 45.1e9, 0.85, 0.91),
        (40, 5120, 12.6e9, 13.1e9, 85.6e9, 0.88, 0.92),
        (80, 8192, 64.4e9, 65.3e9, 419e9, 0.92, 0.94),
    ],
)
def test_deepseek_model_scales(
    depth: int, width: int, without: float, with_head: float, flops: float, low: float, high: float
) -> None:
    shape = ModelShape(
        vocab_size=102_400, width=width, depth=depth, n_heads=8, ff_width=4 * width, context=4096,
        mlp="gelu", qk_norm=False, token_shift=False, tied_head=True,
    )  # fmt: skip
    count = count_params(shape)
    scale = flops_per_token(shape, "exact_full") - 6 * count.head  # M leaves the vocabulary out
    # Three printed digits each.
    assert count.attention + count.mlp == pytest.approx(without, rel=5e-3)
    assert count.under() == pytest.approx(with_head, rel=5e-3)
    assert scale == pytest.approx(flops, rel=5e-3)
    # The fifth row prints 0.85 for 0.857: cut off, not rounded.
    assert 6 * (count.attention + count.mlp) / scale == pytest.approx(low, abs=7.5e-3)
    assert 6 * count.under() / scale == pytest.approx(high, abs=5.1e-3)
