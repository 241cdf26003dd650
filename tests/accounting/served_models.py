"""Architectures as published, from the config.json of each model."""

from isoflop.accounting.architecture import Architecture, Experts, LatentAttention


def llama(name: str, layers: int, width: int, heads: tuple[int, int], ff: int, vocab: int):
    return Architecture(
        name=name, n_layers=layers, width=width, n_heads=heads[0], n_kv_heads=heads[1],
        head_dim=128, ff_width=ff, vocab_size=vocab,
    )  # fmt: skip


LLAMA_2_7B = llama("Llama-2-7B", 32, 4096, (32, 32), 11008, 32_000)
LLAMA_8B = llama("Llama-3.1-8B", 32, 4096, (32, 8), 14336, 128_256)
LLAMA_70B = llama("Llama-3.1-70B", 80, 8192, (64, 8), 28672, 128_256)
LLAMA_405B = llama("Llama-3.1-405B", 126, 16384, (128, 8), 53248, 128_256)
MIXTRAL = Architecture(
    name="Mixtral-8x7B", n_layers=32, width=4096, n_heads=32, n_kv_heads=8, head_dim=128,
    ff_width=14336, vocab_size=32_000,
    experts=Experts(n_experts=8, experts_per_token=2, ff_width=14336),
)  # fmt: skip
DEEPSEEK_V3 = Architecture(
    name="DeepSeek-V3", n_layers=61, width=7168, n_heads=128, n_kv_heads=128, head_dim=192,
    ff_width=18432, vocab_size=129_280,
    latent=LatentAttention(q_rank=1536, kv_rank=512, nope_dim=128, rope_dim=64, v_dim=128),
    experts=Experts(
        n_experts=256, experts_per_token=8, ff_width=2048, n_shared=1, n_dense_layers=3
    ),
)  # fmt: skip
