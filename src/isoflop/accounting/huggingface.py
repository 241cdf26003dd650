"""Hugging Face `config.json` -> `Architecture`, from the keys alone: no code of the model runs.

Defaults of keys that a file may leave out are those of `transformers`' configuration classes.
"""

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from isoflop._errors import InputError
from isoflop.accounting.architecture import Architecture, Experts, LatentAttention, Vectors
from isoflop.accounting.hf_values import HfValues, read_hf_values
from isoflop.accounting.hf_windows import (
    Windowed,
    every_layer,
    every_second,
    five_of_six,
    three_of_four,
    upper_layers,
    window_of,
)


def read_architecture(path: str | Path) -> Architecture:
    """The architecture that a Hugging Face `config.json` describes.

    Layers that predict further tokens (DeepSeek-V3's MTP) are left out.

    Args:
        path: the file, or the folder that holds it.

    Raises:
        InputError: no such file, no JSON, `model_type` unknown (`MODEL_TYPES` lists those known),
            a key missing or impossible.
    """
    return _architecture(read_hf_values(path))


def architecture_of(values: Mapping[str, Any], *, place: str) -> Architecture:
    """The architecture of the values of a Hugging Face `config.json`, wherever they were kept.

    Args:
        values: its keys; those that it does not have are ignored.
        place: where they are from, for errors.

    Raises:
        InputError: as `read_architecture`.
    """
    return _architecture(HfValues(place=Path(place), values=values))


def _architecture(values: HfValues) -> Architecture:
    reader = _READERS.get(values.model_type)
    if reader is None:
        close = difflib.get_close_matches(values.model_type, MODEL_TYPES, n=3) or MODEL_TYPES
        raise InputError(
            f"{values.place}: `model_type` = {values.model_type!r} is not known. "
            f"Known: {', '.join(close)}. For another kind build an `Architecture` by hand."
        )
    try:
        return reader(values)
    except InputError as error:
        text = str(error)
        if str(values.place) in text:
            raise
        raise InputError(f"{values.place}: {text}") from error


def _gpt2(c: HfValues) -> Architecture:
    width, heads = c.count("n_embd"), c.count("n_head")
    return Architecture(
        name=_name(c),
        n_layers=c.count("n_layer"),
        width=width,
        n_heads=heads,
        n_kv_heads=heads,
        head_dim=_head_dim(c, width, heads),
        ff_width=c.count("n_inner", 4 * width),
        vocab_size=c.count("vocab_size"),
        mlp_matrices=2,
        tied_head=c.flag("tie_word_embeddings", True),
        vectors=Vectors(
            vectors_per_norm=2,
            attention_bias="all",
            mlp_bias=True,
            learned_positions=c.count("n_positions"),
        ),
    )


def _gpt_neox(c: HfValues) -> Architecture:
    biased = c.flag("attention_bias", True)
    vectors = Vectors(vectors_per_norm=2, attention_bias="all" if biased else "none", mlp_bias=True)
    return _decoder(c, vectors, mlp_matrices=2)


def _llama(c: HfValues) -> Architecture:
    return _decoder(c, Vectors(attention_bias=_bias(c), mlp_bias=c.flag("mlp_bias", False)))


def _mistral(c: HfValues) -> Architecture:
    return _decoder(c, Vectors(), windowed=every_layer)


def _mixtral(c: HfValues) -> Architecture:
    experts = Experts(
        n_experts=c.count("num_local_experts"),
        experts_per_token=c.count("num_experts_per_tok"),
        ff_width=c.count("intermediate_size"),
    )
    return _decoder(c, Vectors(), experts=experts, windowed=every_layer)


def _qwen2(c: HfValues) -> Architecture:
    return _decoder(c, Vectors(attention_bias="qkv"), windowed=upper_layers)


def _qwen2_moe(c: HfValues) -> Architecture:
    expert, shared = c.count("moe_intermediate_size"), c.count("shared_expert_intermediate_size")
    if shared % expert:
        raise c.wrong("shared_expert_intermediate_size", f"a multiple of {expert}, an expert's")
    experts = Experts(
        n_experts=c.count("num_experts"),
        experts_per_token=c.count("num_experts_per_tok"),
        ff_width=expert,
        n_shared=shared // expert,
        n_dense_layers=_n_dense(c),
        shared_gate=True,
    )
    vectors = Vectors(attention_bias="qkv" if c.flag("qkv_bias", True) else "none")
    return _decoder(c, vectors, experts=experts, windowed=upper_layers)


def _qwen3(c: HfValues) -> Architecture:
    vectors = Vectors(attention_bias=_bias(c), qk_norm="head")
    return _decoder(c, vectors, windowed=upper_layers, head_dim=128)


def _qwen3_moe(c: HfValues) -> Architecture:
    experts = Experts(
        n_experts=c.count("num_experts"),
        experts_per_token=c.count("num_experts_per_tok"),
        ff_width=c.count("moe_intermediate_size"),
        n_dense_layers=_n_dense(c),
    )
    vectors = Vectors(attention_bias=_bias(c), qk_norm="head")
    return _decoder(c, vectors, experts=experts, windowed=upper_layers)


def _olmo(c: HfValues) -> Architecture:
    return _decoder(c, Vectors(vectors_per_norm=0, attention_bias=_bias(c)))


def _olmo2(c: HfValues) -> Architecture:
    return _decoder(c, Vectors(attention_bias=_bias(c), qk_norm="width"))


def _olmo3(c: HfValues) -> Architecture:
    vectors = Vectors(attention_bias=_bias(c), qk_norm="width")
    return _decoder(c, vectors, windowed=three_of_four)


def _olmoe(c: HfValues) -> Architecture:
    experts = Experts(
        n_experts=c.count("num_experts"),
        experts_per_token=c.count("num_experts_per_tok"),
        ff_width=c.count("intermediate_size"),
    )
    return _decoder(c, Vectors(attention_bias=_bias(c), qk_norm="width"), experts=experts)


def _deepseek(c: HfValues) -> Architecture:
    latent = LatentAttention(
        q_rank=c.optional_count("q_lora_rank"),
        kv_rank=c.count("kv_lora_rank"),
        nope_dim=c.count("qk_nope_head_dim"),
        rope_dim=c.count("qk_rope_head_dim"),
        v_dim=c.count("v_head_dim"),
    )
    if c.count("moe_layer_freq", 1) != 1:
        raise c.wrong("moe_layer_freq", "1")
    experts = Experts(
        n_experts=c.count("n_routed_experts"),
        experts_per_token=c.count("num_experts_per_tok"),
        ff_width=c.count("moe_intermediate_size"),
        n_shared=c.number("n_shared_experts", 0),
        n_dense_layers=c.number("first_k_dense_replace"),
        router_bias=c.model_type == "deepseek_v3",
    )
    return _decoder(c, Vectors(attention_bias=_bias(c)), experts=experts, latent=latent)


def _gemma(c: HfValues) -> Architecture:
    return _decoder(c, Vectors(attention_bias=_bias(c)), tied=True, head_dim=256)


def _gemma2(c: HfValues) -> Architecture:
    vectors = Vectors(norms_per_layer=4, attention_bias=_bias(c))
    return _decoder(c, vectors, tied=True, head_dim=256, windowed=every_second)


def _gemma3(c: HfValues) -> Architecture:
    vectors = Vectors(norms_per_layer=4, attention_bias=_bias(c), qk_norm="head")
    return _decoder(c, vectors, tied=True, head_dim=256, windowed=five_of_six)


_READERS: Mapping[str, Callable[[HfValues], Architecture]] = {
    "deepseek_v2": _deepseek,
    "deepseek_v3": _deepseek,
    "gemma": _gemma,
    "gemma2": _gemma2,
    "gemma3_text": _gemma3,
    "gpt2": _gpt2,
    "gpt_neox": _gpt_neox,
    "granite": _llama,
    "llama": _llama,
    "mistral": _mistral,
    "mixtral": _mixtral,
    "olmo": _olmo,
    "olmo2": _olmo2,
    "olmo3": _olmo3,
    "olmoe": _olmoe,
    "qwen2": _qwen2,
    "qwen2_moe": _qwen2_moe,
    "qwen3": _qwen3,
    "qwen3_moe": _qwen3_moe,
    "smollm3": _llama,
}
MODEL_TYPES = tuple(_READERS)
"""Values of `model_type` that `read_architecture` knows."""


def _decoder(
    c: HfValues,
    vectors: Vectors,
    *,
    mlp_matrices: int = 3,
    tied: bool = False,
    head_dim: int | None = None,
    windowed: Windowed | None = None,
    experts: Experts | None = None,
    latent: LatentAttention | None = None,
) -> Architecture:
    """What all families but GPT-2 share; `tied` and `head_dim` hold where the file is silent."""
    width, heads = c.count("hidden_size"), c.count("num_attention_heads")
    if latent is not None:
        kv_heads, head = heads, latent.nope_dim + latent.rope_dim
    else:
        kv_heads = c.count("num_key_value_heads", heads)
        head = _head_dim(c, width, heads, head_dim)
    window, fraction = window_of(c, windowed)
    return Architecture(
        name=_name(c),
        n_layers=c.count("num_hidden_layers"),
        width=width,
        n_heads=heads,
        n_kv_heads=kv_heads,
        head_dim=head,
        ff_width=c.count("intermediate_size"),
        vocab_size=c.count("vocab_size"),
        mlp_matrices=mlp_matrices,
        tied_head=c.flag("tie_word_embeddings", tied),
        latent=latent,
        experts=experts,
        window=window,
        window_fraction=fraction,
        vectors=vectors,
    )


def _name(c: HfValues) -> str:
    return str(c.values.get("_name_or_path") or c.place.resolve().parent.name or c.model_type)


def _bias(c: HfValues) -> Literal["none", "all"]:
    return "all" if c.flag("attention_bias", False) else "none"


def _head_dim(c: HfValues, width: int, heads: int, default: int | None = None) -> int:
    given = c.optional_count("head_dim") or default
    if given is None and width % heads:
        raise InputError(
            f"the width must be divisible by the heads where `head_dim` is missing, but got "
            f"{width} and {heads}. Give `head_dim`."
        )
    return width // heads if given is None else given


def _n_dense(c: HfValues) -> int:
    """Layers without experts among those of Qwen's mixtures."""
    step, dense = c.count("decoder_sparse_step", 1), c.items("mlp_only_layers") or []
    layers = range(c.count("num_hidden_layers"))
    return sum(layer in dense or (layer + 1) % step != 0 for layer in layers)
