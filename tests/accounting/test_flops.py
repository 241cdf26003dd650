"""FLOPs against identities and published trainings."""

from dataclasses import replace

import pytest

from isoflop._errors import InputError
from isoflop.accounting import count_params, flops_6nd, flops_per_token, train_flops
from isoflop.specs import ModelShape

LLAMA_65B = ModelShape(
    vocab_size=32_000,
    width=8192,
    depth=80,
    n_heads=64,
    ff_width=22_016,
    context=2048,
    mlp="swiglu",
    qk_norm=False,
    token_shift=False,
)


@pytest.mark.parametrize(
    ("n_params", "n_tokens", "published"),
    [
        (174.6e9, 300e9, 3.14e23),  # GPT-3: arXiv:2005.14165, table D.1
        (405e9, 15.6e12, 3.8e25),  # Llama 3.1: arXiv:2407.21783, section 3
        (540.35e9, 780e9, 2.527e24),  # PaLM: arXiv:2204.02311
        (179.5e9, 3.5e12, 3.76e24),  # Falcon-180B: arXiv:2311.16867
        (65.29e9, 1.4e12, 5.5e23),  # LLaMA: arXiv:2302.13971
    ],
)
def test_published_trainings_under_6nd(n_params: float, n_tokens: float, published: float) -> None:
    # 0.3 %: the published figures are rounded to two to four digits
    assert flops_6nd(n_params, n_tokens) == pytest.approx(published, rel=3e-3)


def test_6nd_counts_every_matrix_that_multiplies() -> None:
    n_params = count_params(LLAMA_65B).under("non_embedding_with_head")
    assert train_flops(LLAMA_65B, 1.4e12) == pytest.approx(flops_6nd(n_params, 1.4e12))


def test_exact_counts_of_llama_65b() -> None:
    # by hand: 6·65.0222e9 + 12·80·8192·(1024.5 | 2048) a token, 1.4e12 tokens
    assert train_flops(LLAMA_65B, 1.4e12, "exact_causal") == pytest.approx(5.5747e23, rel=1e-4)
    assert train_flops(LLAMA_65B, 1.4e12, "exact_full") == pytest.approx(5.6874e23, rel=1e-4)


def test_causal_attention_is_the_mean_over_positions() -> None:
    shape = LLAMA_65B
    attention = flops_per_token(shape, "exact_causal") - flops_per_token(shape)
    # position t attends t positions; QKᵀ and AV are 2·d multiply-adds each, times 3 for training
    total = sum(3 * 2 * 2 * shape.width * t for t in range(1, shape.context + 1))
    assert attention == pytest.approx(shape.depth * total / shape.context, rel=1e-9)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="'8nd'"):
        flops_per_token(LLAMA_65B, "8nd")
    with pytest.raises(InputError, match="n_tokens > 0"):
        train_flops(LLAMA_65B, float("nan"))


def test_a_mixture_costs_what_is_active_and_shared_keys_cost_no_less_attention() -> None:
    dense = ModelShape(vocab_size=512, width=64, depth=2, n_heads=4, ff_width=256, context=128)
    mixed = replace(dense, n_experts=8, n_active_experts=2, n_shared_experts=1)
    expert, router = 2 * 64 * 256, 64 * 8
    extra = 6 * 2 * (2 * expert + router)  # two more experts a layer, and the choice
    assert flops_per_token(mixed) - flops_per_token(dense) == extra
    shared = replace(dense, n_kv_heads=1)
    attention = [flops_per_token(s, "exact_full") - flops_per_token(s) for s in (dense, shared)]
    assert attention == [12.0 * 2 * 64 * 128] * 2
    wide = replace(dense, head_width=32)
    assert flops_per_token(wide, "exact_full") - flops_per_token(wide) == 2 * attention[0]
