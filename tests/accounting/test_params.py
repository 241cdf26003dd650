"""Parameter counts against hand counts and published models."""

from dataclasses import replace

import pytest

from isoflop._errors import InputError
from isoflop.accounting import PARAM_CONVENTIONS, count_params
from isoflop.specs import ModelShape
from isoflop.specs.shape import PRESETS

SMALL = ModelShape(vocab_size=512, width=64, depth=2, n_heads=4, ff_width=256, context=128)


def llama(vocab: int, width: int, depth: int, heads: int, ff: int, context: int) -> ModelShape:
    return ModelShape(
        vocab_size=vocab,
        width=width,
        depth=depth,
        n_heads=heads,
        ff_width=ff,
        context=context,
        mlp="swiglu",
        qk_norm=False,
        token_shift=False,
    )


def test_small_shape_by_hand() -> None:
    count = count_params(SMALL)
    assert count.embedding == 512 * 64 == 32_768
    assert count.head == 32_768
    assert count.attention == 2 * 4 * 64 * 64 == 32_768
    assert count.mlp == 2 * 2 * 64 * 256 == 65_536
    # two norms and the token shift of 64 each and one query gain a layer, then the final norm
    assert count.other == 2 * (3 * 64 + 1) + 64 == 450
    assert count.total == 164_290
    assert count.under() == 131_072
    assert count.under("non_embedding") == 98_754


@pytest.mark.parametrize(
    ("shape", "total"),
    [
        # Touvron et al. 2023, arXiv:2307.09288: every tensor of the released Llama-2-7B
        (llama(32_000, 4096, 32, 32, 11_008, 4096), 6_738_415_616),
        # Touvron et al. 2023, arXiv:2302.13971, table 2: 65.2B
        (llama(32_000, 8192, 80, 64, 22_016, 2048), 65_285_660_672),
    ],
)
def test_published_totals(shape: ModelShape, total: int) -> None:
    assert count_params(shape).total == total


def test_gpt2_with_its_biases() -> None:
    gpt2 = ModelShape(
        vocab_size=50_257, width=768, depth=12, n_heads=12, ff_width=3072, context=1024,
        **PRESETS["gpt2"],
    )  # fmt: skip
    assert count_params(gpt2).total == 124_439_808  # GPT-2 124M as released
    bare = count_params(replace(gpt2, bias=False))
    biases = 12 * (4 * 768 + 3072 + 768 + 2 * 768) + 768  # linear layers and layer norms
    assert count_params(gpt2).other - bare.other == biases
    assert count_params(gpt2).under() == bare.under()


def test_llama_3_shares_keys() -> None:
    """Grattafiori et al. 2024, arXiv:2407.21783, table 3; the released 8B."""
    shape = replace(llama(128_256, 4096, 32, 32, 14_336, 8192), n_kv_heads=8)
    assert count_params(shape).total == 8_030_261_248


def test_mixtral_has_13_of_47_billion_active() -> None:
    """Jiang et al. 2024, arXiv:2401.04088: "47B parameters", of which a token uses 13B."""
    shape = replace(
        llama(32_000, 4096, 32, 32, 14_336, 4096), n_kv_heads=8, n_experts=8, n_active_experts=2
    )
    count = count_params(shape)
    assert count.total == 46_702_792_704  # every tensor as released
    # 12.9B with the embedding, which is a lookup and not among those that multiply.
    assert count.under("active") + count.embedding == pytest.approx(12.9e9, rel=3e-3)
    assert count.under() - count.under("active") == 32 * 6 * 3 * 4096 * 14_336


def test_deepseek_moe_counts_its_shared_experts() -> None:
    """Dai et al. 2024, arXiv:2401.06066, section 5.1.2: 16.4B in all, 2.8B active.

    28 layers of 2 shared and 64 routed experts, 6 of them active, each 1408 wide; its first layer
    is dense, 10944 wide, which ours is not.
    """
    shape = replace(
        llama(102_400, 2048, 28, 16, 1408, 4096), n_experts=64, n_active_experts=6,
        n_shared_experts=2,
    )  # fmt: skip
    count = count_params(shape)
    expert = 3 * 2048 * 1408
    dense = 3 * 2048 * 10_944 - 66 * expert - 64 * 2048
    assert count.total + dense == pytest.approx(16.4e9, rel=5e-3)
    active = count.under("active") + count.embedding + 3 * 2048 * 10_944 - 8 * expert
    assert active == pytest.approx(2.8e9, rel=0.02)


def test_tying_removes_one_table_and_keeps_what_multiplies() -> None:
    free, tied = count_params(SMALL), count_params(replace(SMALL, tied_head=True))
    assert free.total - tied.total == 512 * 64
    assert free.under() == tied.under()
    assert free.under("non_embedding") == tied.under("non_embedding")


def test_learned_positions_are_embedding() -> None:
    learned = count_params(replace(SMALL, positions="learned"))
    assert learned.embedding - count_params(SMALL).embedding == 128 * 64


def test_groups_sum_to_total_and_conventions_are_ordered() -> None:
    count = count_params(SMALL)
    assert {count.under(name) for name in PARAM_CONVENTIONS} == {131_072, 164_290, 98_754}
    assert count.under("total") == count.total


def test_unknown_convention_is_refused() -> None:
    with pytest.raises(InputError, match="'trainable'"):
        count_params(SMALL).under("trainable")
