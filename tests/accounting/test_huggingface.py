"""`read_architecture`: facts of published models as config files -> their published sizes."""

import json
from pathlib import Path
from typing import Any

import pytest

from isoflop._errors import InputError
from isoflop.accounting import MODEL_TYPES, count_weights, read_architecture

Facts = dict[str, Any]


def facts(kind: str, sizes: tuple[int, ...], **more: Any) -> Facts:
    """Layers, width, heads, key heads, MLP width, vocabulary: the keys that most families share."""
    keys = (
        "num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads",
        "intermediate_size", "vocab_size",
    )  # fmt: skip
    return {"model_type": kind, **dict(zip(keys, sizes, strict=True)), **more}


def gpt2(layers: int, width: int, heads: int) -> Facts:
    return {
        "model_type": "gpt2", "n_layer": layers, "n_embd": width, "n_head": heads,
        "n_positions": 1024, "vocab_size": 50_257, "n_inner": None,
    }  # fmt: skip


LATENT = {"kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}
LLAMA_2_7B = facts("llama", (32, 4096, 32, 32, 11_008, 32_000), tie_word_embeddings=False)
MISTRAL = facts("mistral", (32, 4096, 32, 8, 14_336, 32_000), sliding_window=4096)
QWEN2_7B = facts(
    "qwen2", (28, 3584, 28, 4, 18_944, 152_064),
    use_sliding_window=False, sliding_window=131_072, max_window_layers=28,
)  # fmt: skip
OLMO_3 = facts("olmo3", (32, 4096, 32, 32, 11_008, 100_278), sliding_window=4096)
DEEPSEEK_V3 = facts(
    "deepseek_v3", (61, 7168, 128, 128, 18_432, 129_280),
    q_lora_rank=1536, n_routed_experts=256, num_experts_per_tok=8, moe_intermediate_size=2048,
    n_shared_experts=1, first_k_dense_replace=3, moe_layer_freq=1, num_nextn_predict_layers=1,
    **LATENT,
)  # fmt: skip

# Stored weights, biases, gains and positions included: the number of parameters in the safetensors
# metadata on each model's Hugging Face page; DeepSeek-V3's without its layer of multi-token
# prediction ("671B", arXiv:2412.19437, section 1).
PUBLISHED: dict[str, tuple[Facts, int]] = {
    "gpt2": (gpt2(12, 768, 12), 124_439_808),
    "gpt2-medium": (gpt2(24, 1024, 16), 354_823_168),
    "gpt2-large": (gpt2(36, 1280, 20), 774_030_080),
    "gpt2-xl": (gpt2(48, 1600, 25), 1_557_611_200),
    "gpt-neox-20b": (
        {**facts("gpt_neox", (44, 6144, 64, 64, 24_576, 50_432)), "tie_word_embeddings": False},
        20_554_567_680,
    ),
    "LLaMA-65B": (facts("llama", (80, 8192, 64, 64, 22_016, 32_000)), 65_285_660_672),
    "Llama-2-7b": (LLAMA_2_7B, 6_738_415_616),
    "Llama-2-13b": (facts("llama", (40, 5120, 40, 40, 13_824, 32_000)), 13_015_864_320),
    "Llama-2-70b": (facts("llama", (80, 8192, 64, 8, 28_672, 32_000)), 68_976_648_192),
    "Llama-3.1-8B": (facts("llama", (32, 4096, 32, 8, 14_336, 128_256)), 8_030_261_248),
    "Llama-3.1-70B": (facts("llama", (80, 8192, 64, 8, 28_672, 128_256)), 70_553_706_496),
    "Llama-3.1-405B": (facts("llama", (126, 16_384, 128, 8, 53_248, 128_256)), 405_853_388_800),
    "SmolLM3-3B": (
        facts("smollm3", (36, 2048, 16, 4, 11_008, 128_256), tie_word_embeddings=True),
        3_075_098_624,
    ),
    "granite-3.0-8b": (
        facts("granite", (40, 4096, 32, 8, 12_800, 49_155), tie_word_embeddings=True),
        8_170_848_256,
    ),
    "Mistral-7B-v0.1": (MISTRAL, 7_241_732_096),
    "Mixtral-8x7B": (
        facts(
            "mixtral", (32, 4096, 32, 8, 14_336, 32_000),
            num_local_experts=8, num_experts_per_tok=2, sliding_window=None,
        ),
        46_702_792_704,
    ),
    "Qwen2-7B": (QWEN2_7B, 7_615_616_512),
    "Qwen2-0.5B": (
        facts("qwen2", (24, 896, 14, 2, 4864, 151_936), tie_word_embeddings=True),
        494_032_768,
    ),
    "Qwen1.5-MoE-A2.7B": (
        facts(
            "qwen2_moe", (24, 2048, 16, 16, 5632, 151_936),
            num_experts=60, num_experts_per_tok=4, moe_intermediate_size=1408,
            shared_expert_intermediate_size=5632, decoder_sparse_step=1,
        ),
        14_315_784_192,
    ),
    "Qwen3-8B": (
        facts("qwen3", (36, 4096, 32, 8, 12_288, 151_936), head_dim=128), 8_190_735_360
    ),
    "Qwen3-30B-A3B": (
        facts(
            "qwen3_moe", (48, 2048, 32, 4, 6144, 151_936), head_dim=128, mlp_only_layers=[],
            num_experts=128, num_experts_per_tok=8, moe_intermediate_size=768,
        ),
        30_532_122_624,
    ),
    "OLMo-7B": (facts("olmo", (32, 4096, 32, 32, 11_008, 50_304)), 6_888_095_744),
    "OLMo-2-7B": (facts("olmo2", (32, 4096, 32, 32, 11_008, 100_352)), 7_298_617_344),
    "OLMo-3-7B": (OLMO_3, 7_298_011_136),
    "OLMoE-1B-7B": (
        facts("olmoe", (16, 2048, 16, 16, 1024, 50_304), num_experts=64, num_experts_per_tok=8),
        6_919_161_856,
    ),
    "DeepSeek-V2-Lite": (
        facts(
            "deepseek_v2", (27, 2048, 16, 16, 10_944, 102_400),
            q_lora_rank=None, n_routed_experts=64, num_experts_per_tok=6, n_shared_experts=2,
            moe_intermediate_size=1408, first_k_dense_replace=1, **LATENT,
        ),
        15_706_484_224,
    ),
    "DeepSeek-V3": (DEEPSEEK_V3, 671_026_419_200),
    "gemma-7b": (facts("gemma", (28, 3072, 16, 16, 24_576, 256_000), head_dim=256), 8_537_680_896),
    "gemma-2-9b": (
        facts("gemma2", (42, 3584, 16, 8, 14_336, 256_000), head_dim=256, sliding_window=4096),
        9_241_705_984,
    ),
    "gemma-3-1b": (
        facts("gemma3_text", (26, 1152, 4, 1, 6912, 262_144), head_dim=256, sliding_window=512),
        999_885_952,
    ),
}  # fmt: skip


def write(folder: Path, values: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


@pytest.mark.parametrize("model", PUBLISHED)
def test_stored_weights_are_the_published_ones(model: str, tmp_path: Path) -> None:
    values, total = PUBLISHED[model]
    assert count_weights(read_architecture(write(tmp_path, values))).total == total


def test_active_weights_of_mixtures(tmp_path: Path) -> None:
    active = {
        model: count_weights(read_architecture(write(tmp_path, PUBLISHED[model][0]))).total_active
        for model in ("Mixtral-8x7B", "DeepSeek-V3", "OLMoE-1B-7B", "Qwen3-30B-A3B")
    }
    # 12.9B: arXiv:2401.04088, section 2; 1.3B: arXiv:2409.02060; 3.3B: Qwen3's model card. 37B of
    # arXiv:2412.19437 is 36.6B without and 37.55B with the embedding.
    assert {m: round(n / 1e9, 2) for m, n in active.items()} == {
        "Mixtral-8x7B": 12.88,
        "DeepSeek-V3": 37.55,
        "OLMoE-1B-7B": 1.28,
        "Qwen3-30B-A3B": 3.35,
    }


def test_every_known_kind_is_tested() -> None:
    assert set(MODEL_TYPES) == {values["model_type"] for values, _ in PUBLISHED.values()}


def test_a_folder_does_as_well_and_gives_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "Llama-2-7b"
    folder.mkdir()
    path = write(folder, LLAMA_2_7B)
    assert read_architecture(folder) == read_architecture(path)
    assert read_architecture(folder).name == "Llama-2-7b"


KINDS = [*["sliding_attention"] * 3, "full_attention"] * 8
WINDOWED_QWEN = {**QWEN2_7B, "use_sliding_window": True, "max_window_layers": 21}


@pytest.mark.parametrize(
    ("values", "window", "layers"),
    [
        (MISTRAL, 4096, 32),
        ({**MISTRAL, "sliding_window": None}, None, 0),  # from v0.2 on
        (QWEN2_7B, None, 0),  # a width that is not in use
        (WINDOWED_QWEN, 131_072, 7),
        ({**WINDOWED_QWEN, "max_window_layers": 0}, 131_072, 28),
        (OLMO_3, 4096, 24),
        ({**OLMO_3, "layer_types": KINDS[1:] + KINDS[:1]}, 4096, 24),
        ({**OLMO_3, "layer_types": ["full_attention"] * 32}, None, 0),
        (PUBLISHED["gemma-2-9b"][0], 4096, 21),
        (PUBLISHED["gemma-3-1b"][0], 512, 22),
    ],
)
def test_windows(values: Facts, window: int | None, layers: int, tmp_path: Path) -> None:
    found = read_architecture(write(tmp_path, values))
    assert (found.window, found.n_windowed_layers) == (window, layers)


def test_dense_layers_of_qwens_mixtures(tmp_path: Path) -> None:
    base = PUBLISHED["Qwen3-30B-A3B"][0]
    some = {**base, "decoder_sparse_step": 2, "mlp_only_layers": [1, 2]}
    # layers 1, 3, ..., 47 have experts but for layer 1; layer 2 had none
    assert read_architecture(write(tmp_path, base)).n_moe_layers == 48
    assert read_architecture(write(tmp_path, some)).n_moe_layers == 23


def without(values: Facts, key: str) -> Facts:
    return {name: value for name, value in values.items() if name != key}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({**LLAMA_2_7B, "model_type": "lama"}, "'lama' is not known. Known: llama"),
        (without(LLAMA_2_7B, "model_type"), "'' is not known. Known: deepseek_v2, deepseek_v3"),
        (without(LLAMA_2_7B, "hidden_size"), "no key 'hidden_size'"),
        (without(DEEPSEEK_V3, "kv_lora_rank"), "no key 'kv_lora_rank'"),
        (without(DEEPSEEK_V3, "first_k_dense_replace"), "no key 'first_k_dense_replace'"),
        ({**LLAMA_2_7B, "num_hidden_layers": "32"}, "`num_hidden_layers` must be a positive whole"),
        ({**LLAMA_2_7B, "num_hidden_layers": True}, "`num_hidden_layers` must be a positive whole"),
        ({**LLAMA_2_7B, "vocab_size": -1}, "`vocab_size` must be a positive whole number, but"),
        ({**LLAMA_2_7B, "tie_word_embeddings": "no"}, "must be true or false, but got 'no'"),
        ({**LLAMA_2_7B, "num_attention_heads": 33}, "divisible by the heads"),
        ({**LLAMA_2_7B, "num_key_value_heads": 7}, "n_heads % n_kv_heads == 0"),
        ({**OLMO_3, "layer_types": ["linear_attention"] * 32}, "32 of full_attention or sliding"),
        ({**OLMO_3, "layer_types": [[]] * 32}, "32 of full_attention or sliding"),
        ({**OLMO_3, "layer_types": "full_attention"}, "must be a list, but"),
        ({**DEEPSEEK_V3, "num_experts_per_tok": 257}, "experts_per_token <= n_experts"),
        ({**DEEPSEEK_V3, "moe_layer_freq": 2}, "`moe_layer_freq` must be 1, but got 2"),
        ({**DEEPSEEK_V3, "attention_bias": True}, "attention_bias == 'none'"),
        ([1, 2], "holds list, not an object"),
    ],
)
def test_bad_files_are_named_with_place_and_remedy(
    values: object, named: str, tmp_path: Path
) -> None:
    path = write(tmp_path, values)
    with pytest.raises(InputError) as caught:
        read_architecture(path)
    text = str(caught.value)
    assert named in text
    assert text.count(str(path)) == 1
    assert "\n" not in text


def test_files_that_are_no_config(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*No such file.*config\.json"):
        read_architecture(tmp_path)
    path = tmp_path / "config.json"
    for content in (b"{", b"\xff\xfe", b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(InputError, match="is not JSON"):
            read_architecture(path)
