"""FLOPs per token: masks counted one by one, our own shapes, papers' formulas and measurements."""

from dataclasses import replace

import pytest

from isoflop._errors import InputError
from isoflop.accounting import (
    FLOPS_CONVENTIONS,
    Architecture,
    Experts,
    LatentAttention,
    attention_flops,
    count_weights,
    flops_6nd,
    flops_per_token,
    hardware_flops,
    mean_attended,
    token_flops,
)
from isoflop.specs import ModelShape


def dense(name: str, sizes: tuple[int, ...], **more: object) -> Architecture:
    """Layers, width, heads, key heads, size of a head, MLP width, vocabulary."""
    keys = ("n_layers", "width", "n_heads", "n_kv_heads", "head_dim", "ff_width", "vocab_size")
    return Architecture(name=name, **dict(zip(keys, sizes, strict=True)), **more)


GPT_3 = dense("GPT-3", (96, 12_288, 96, 96, 128, 49_152, 51_200), mlp_matrices=2, tied_head=True)
MT_NLG = dense(
    "MT-NLG", (105, 20_480, 128, 128, 160, 81_920, 51_200), mlp_matrices=2, tied_head=True
)
PALM = dense("PaLM", (118, 18_432, 48, 1, 256, 73_728, 256_000), tied_head=True)
MIXTRAL = dense(
    "Mixtral", (32, 4096, 32, 8, 128, 14_336, 32_000),
    experts=Experts(n_experts=8, experts_per_token=2, ff_width=14_336),
)  # fmt: skip
LLAMA_65B = dense("LLaMA-65B", (80, 8192, 64, 64, 128, 22_016, 32_000))
LLAMA_8B = dense("Llama-3.1-8B", (32, 4096, 32, 8, 128, 14_336, 128_256))
DEEPSEEK_V3 = dense(
    "DeepSeek-V3", (61, 7168, 128, 128, 192, 18_432, 129_280),
    latent=LatentAttention(q_rank=1536, kv_rank=512, nope_dim=128, rope_dim=64, v_dim=128),
    experts=Experts(
        n_experts=256, experts_per_token=8, ff_width=2048, n_shared=1, n_dense_layers=3
    ),
)  # fmt: skip


@pytest.mark.parametrize(("context", "window"), [(1, None), (64, None), (64, 1), (64, 7), (64, 64)])
def test_attended_positions_one_by_one(context: int, window: int | None) -> None:
    seen = [
        sum(key <= query and (window is None or key > query - window) for key in range(context))
        for query in range(context)
    ]
    assert mean_attended(context, window) == pytest.approx(sum(seen) / context, rel=1e-12)
    assert mean_attended(context, context + 5) == mean_attended(context)


@pytest.mark.parametrize("convention", FLOPS_CONVENTIONS)
@pytest.mark.parametrize(
    "changes",
    [{}, {"n_kv_heads": 1, "head_width": 24}, {"n_experts": 8, "mlp": "swiglu", "tied_head": True}],
)
def test_own_shapes_cost_the_same(convention: str, changes: dict[str, object]) -> None:
    sizes = {"vocab_size": 512, "width": 64, "depth": 3, "n_heads": 4, "ff_width": 192}
    shape = ModelShape(**sizes, context=127, **changes)
    found = token_flops(Architecture.of(shape), 127, convention)
    assert found == flops_per_token(shape, convention)


def test_a_window_saves_only_where_it_is() -> None:
    half = replace(LLAMA_8B, window=1024, window_fraction=0.5)
    full, causal = attention_flops(LLAMA_8B, 8192, "exact_full"), attention_flops(LLAMA_8B, 8192)
    windowed = causal * mean_attended(8192, 1024) / mean_attended(8192)
    assert attention_flops(half, 8192) == pytest.approx((causal + windowed) / 2, rel=1e-12)
    assert attention_flops(half, 8192, "exact_full") == full  # PaLM's count knows no mask
    assert attention_flops(half, 8192, "6nd") == 0


@pytest.mark.parametrize("model", [GPT_3, MT_NLG])
def test_formula_of_narayanan(model: Architecture) -> None:
    """Arxiv:2104.04473, eq. 3 per token: 96·l·h²·(1 + s/(6·h) + V/(16·l·h)), layers done twice."""
    layers, h, context, vocabulary = model.n_layers, model.width, 2048, model.vocab_size
    formula = 96 * layers * h**2 * (1 + context / (6 * h) + vocabulary / (16 * layers * h))
    found = hardware_flops(model, context, "full", "exact_full")
    assert found == pytest.approx(formula, rel=1e-12)


@pytest.mark.parametrize(
    ("gpus", "tflops", "seconds"), [(2240, 126, 60.1), (2800, 121, 50.2), (3360, 113, 44.4)]
)
def test_steps_of_mt_nlg(gpus: int, tflops: float, seconds: float) -> None:
    """Arxiv:2201.11990, section 2.4: TFLOP/s a GPU and seconds of steps of 1,920 · 2,048 tokens."""
    step = 1920 * 2048 * hardware_flops(MT_NLG, 2048, "full", "exact_full")
    # TFLOP/s have three digits: 0.45 % each way, seconds 0.1 %
    assert step / (gpus * tflops * 1e12) == pytest.approx(seconds, rel=5.5e-3)


def test_utilisation_of_palm() -> None:
    """Arxiv:2204.02311, table 3 and section 4.1: MFU 46.2 %, 238.3e3 tokens/s on 6,144 TPU v4."""
    mfu = 238.3e3 * token_flops(PALM, 2048, "exact_full") / (6144 * 275e12)
    assert round(100 * mfu, 1) == 46.2


def test_deepseek_v3_from_its_hours() -> None:
    """2.664e6 H800-hours for 14.8e12 tokens (arXiv:2412.19437, table 1) at context 4,096.

    Measured: 385 TFLOP/s a GPU with causal attention, 432 without (arXiv:2505.09343, table 4).
    """
    rate = 14.8e12 / (2.664e6 * 3600 * 1e12)
    causal, full = (
        rate * token_flops(DEEPSEEK_V3, 4096, convention)
        for convention in ("exact_causal", "exact_full")
    )
    assert (round(causal, 1), round(full, 1)) == (386.5, 433.9)
    assert causal == pytest.approx(385, rel=5e-3)
    assert full == pytest.approx(432, rel=5e-3)


@pytest.mark.parametrize(
    ("model", "context", "percent"),
    [
        (LLAMA_65B, 2048, -1.6),
        (LLAMA_8B, 8192, -6.4),
        (DEEPSEEK_V3, 4096, -10),
        (MIXTRAL, 32_768, -24),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_how_much_6nd_leaves_out(model: Architecture, context: int, percent: float) -> None:
    off = flops_6nd(count_weights(model).total_active, 1) / token_flops(model, context) - 1
    assert 100 * off == pytest.approx(percent, abs=0.5 if percent < -9 else 0.05)


def test_recomputation_is_hardware_not_model_flops() -> None:
    model = token_flops(GPT_3, 2048, "exact_full")
    attention = attention_flops(GPT_3, 2048, "exact_full")
    head = 6 * count_weights(GPT_3).head
    none, selective, full = (
        hardware_flops(GPT_3, 2048, how, "exact_full") for how in ("none", "selective", "full")
    )
    assert none == model
    assert selective - model == pytest.approx(attention / 3)
    assert full - model == pytest.approx((model - head) / 3)
    # OPT's "4.3e23" is 8·N·D: three passes and one again, for 300e9 tokens
    assert 300e9 * full == pytest.approx(4.3e23, rel=0.02)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="'8nd'"):
        token_flops(GPT_3, 2048, "8nd")
    with pytest.raises(InputError, match="context=0"):
        token_flops(GPT_3, 0)
    with pytest.raises(InputError, match="window=0"):
        mean_attended(8, 0)
    with pytest.raises(InputError, match="none, selective, full, but got 'some'"):
        hardware_flops(GPT_3, 2048, "some")
