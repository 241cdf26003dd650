"""Weights of an `Architecture`: the counts of our own shapes, papers' formulas and tables."""

from dataclasses import replace

import pytest

from isoflop._errors import InputError
from isoflop.accounting import (
    PARAM_CONVENTIONS,
    Architecture,
    Experts,
    LatentAttention,
    Vectors,
    count_params,
    count_weights,
)
from isoflop.specs import ModelShape
from isoflop.specs.shape import PRESETS

BASE = {"vocab_size": 512, "width": 64, "depth": 3, "n_heads": 4, "ff_width": 192, "context": 128}
EXPERTS = {"n_experts": 8, "n_active_experts": 2, "n_shared_experts": 1}
SHAPES = [
    {},
    {"tied_head": True, "n_kv_heads": 2, "head_width": 24},
    PRESETS["gpt2"],
    {**PRESETS["llama"], "n_kv_heads": 1},
    {**PRESETS["gpt2"], **EXPERTS},
    {**PRESETS["llama"], "bias": True, **EXPERTS},
    {"mlp": "swiglu", "bias": True, "norm": "layer", **EXPERTS, "n_shared_experts": 0},
]


@pytest.mark.parametrize("changes", SHAPES)
def test_counts_of_own_shapes_agree(changes: dict[str, object]) -> None:
    shape = ModelShape(**{**BASE, **changes})
    count, groups = count_weights(Architecture.of(shape)), count_params(shape)
    for convention in PARAM_CONVENTIONS:
        assert count.under(convention) == groups.under(convention)
    assert count.groups == groups
    assert count.total == groups.total
    assert count.matmul_per_token == groups.under("active")
    assert count.non_embedding == groups.under("non_embedding")


# Narayanan et al. 2021, arXiv:2104.04473, table 1: parameters [1e9], heads, width, layers.
TABLE_1 = [
    (1.7, 24, 2304, 24), (3.6, 32, 3072, 30), (7.5, 32, 4096, 36), (18.4, 48, 6144, 40),
    (39.1, 64, 8192, 48), (76.1, 80, 10_240, 60), (145.6, 96, 12_288, 80),
    (310.1, 128, 16_384, 96), (529.6, 128, 20_480, 105), (1008.0, 160, 25_600, 128),
]  # fmt: skip


def megatron(heads: int, width: int, layers: int) -> Architecture:
    """GPT as Narayanan et al. train it: vocabulary 51,200, context 2,048, all biases."""
    return Architecture(
        name="Megatron",
        n_layers=layers,
        width=width,
        n_heads=heads,
        n_kv_heads=heads,
        head_dim=width // heads,
        ff_width=4 * width,
        vocab_size=51_200,
        mlp_matrices=2,
        tied_head=True,
        vectors=Vectors(
            vectors_per_norm=2, attention_bias="all", mlp_bias=True, learned_positions=2048
        ),
    )


@pytest.mark.parametrize(("billions", "heads", "width", "layers"), TABLE_1)
def test_sizes_of_narayanan(billions: float, heads: int, width: int, layers: int) -> None:
    total = count_weights(megatron(heads, width, layers)).total
    # eq. 2: 12·l·h²·(1 + 13/(12·h) + (V + s)/(12·l·h)); it leaves out the last norm, 2·h
    formula = 12 * layers * width**2 + 13 * layers * width + (51_200 + 2048) * width
    assert total == formula + 2 * width
    # one digit printed, 18.4 and 76.0 for 18.45 and 76.03
    assert total / 1e9 == pytest.approx(billions, abs=0.08)


LATENT = LatentAttention(q_rank=24, kv_rank=16, nope_dim=12, rope_dim=4, v_dim=10)
MIXED = Architecture(
    name="mixed",
    n_layers=7,
    width=32,
    n_heads=4,
    n_kv_heads=4,
    head_dim=16,
    ff_width=80,
    vocab_size=100,
    latent=LATENT,
    experts=Experts(
        n_experts=6, experts_per_token=2, ff_width=20, n_shared=1, n_dense_layers=1, every=2,
        shared_gate=True, router_bias=True,
    ),
)  # fmt: skip


def test_every_matrix_of_a_mixture_with_latent_attention() -> None:
    count = count_weights(MIXED)
    # by hand: q down and up, kv down with the shared key, kv up to key and value, output
    attention = 32 * 24 + 24 * 4 * 16 + 32 * (16 + 4) + 16 * 4 * (12 + 10) + 4 * 10 * 32
    assert count.attention == 7 * attention
    assert (MIXED.n_moe_layers, count.dense_mlp) == (3, 4 * 3 * 32 * 80)
    expert = 3 * 32 * 20
    assert (count.routed_experts, count.idle_experts) == (18 * expert, 12 * expert)
    assert (count.shared_experts, count.router) == (3 * expert, 3 * 32 * 7)
    # norms of 7 layers and their latents, the last one, and the routers' biases
    assert count.vectors == 7 * (2 * 32 + 24 + 16) + 32 + 3 * 6
    assert count.total - count.matrices == count.vectors
    assert count.total - count.total_active == count.idle_experts
    assert count.matmul_per_token == count.total_active - count.vectors - count.embedding
    straight = replace(MIXED, latent=replace(LATENT, q_rank=None))
    assert count.attention - count_weights(straight).attention == 7 * (32 * 24 + 24 * 64 - 32 * 64)


def test_a_tied_head_saves_memory_and_no_multiplication() -> None:
    tied, untied = (count_weights(replace(MIXED, tied_head=flag)) for flag in (True, False))
    assert untied.total - tied.total == 100 * 32
    assert untied.matmul_per_token == tied.matmul_per_token
    assert untied.non_embedding == tied.non_embedding


def test_relative_positions_are_stored_and_multiply_no_token() -> None:
    """Gopher, arXiv:2112.11446, table 1: "280B", of which 21.5e9 are for relative positions."""
    gopher = Architecture(
        name="Gopher", n_layers=80, width=16_384, n_heads=128, n_kv_heads=128, head_dim=128,
        ff_width=65_536, vocab_size=32_000, mlp_matrices=2, tied_head=True,
        relative_position_matrix=True,
    )  # fmt: skip
    with_them = count_weights(gopher)
    without = count_weights(replace(gopher, relative_position_matrix=False))
    assert round(with_them.total / 1e9) == 280
    assert with_them.total - without.total == 80 * 16_384**2
    assert with_them.matmul_per_token == without.matmul_per_token


def test_an_unknown_convention_is_refused() -> None:
    with pytest.raises(InputError, match="'kaplan'"):
        count_weights(MIXED).under("kaplan")
