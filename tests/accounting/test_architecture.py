"""What an `Architecture` refuses."""

from typing import Any

import pytest

from isoflop._errors import InputError
from isoflop.accounting import Architecture, Experts, LatentAttention, Vectors

SIZES: dict[str, Any] = {
    "name": "x", "n_layers": 4, "width": 64, "n_heads": 4, "n_kv_heads": 2, "head_dim": 16,
    "ff_width": 128, "vocab_size": 100,
}  # fmt: skip
LATENT = {"q_rank": 8, "kv_rank": 8, "nope_dim": 8, "rope_dim": 4, "v_dim": 8}
EXPERTS = {"n_experts": 4, "experts_per_token": 2, "ff_width": 16}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"n_layers": 0}, "`n_layers >= 1` must hold, but got n_layers=0. Give a positive whole"),
        ({"width": 64.5}, "got width=64.5"),
        ({"n_kv_heads": 3}, "got n_heads=4, n_kv_heads=3. Let as many queries share each key"),
        ({"mlp_matrices": 4}, "got mlp_matrices=4. Give 3 for a gated"),
        ({"window": 0}, "`window >= 1` must hold, but got window=0"),
        ({"window": 8, "window_fraction": 1.5}, "got window_fraction=1.5, window=8. Give"),
        ({"window_fraction": 0.5}, "got window_fraction=0.5, window=None. Give the share"),
        ({"window": 8, "window_fraction": float("nan")}, "got window_fraction=nan, window=8"),
        ({"latent": LatentAttention(**LATENT)}, "Give head_dim=12, n_kv_heads=4"),
        ({"experts": Experts(**EXPERTS, n_dense_layers=4)}, "n_dense_layers=4, every=1, n_layers"),
        ({"experts": Experts(**EXPERTS, every=5)}, "Lower them, or give experts=None"),
    ],
)
def test_impossible_architectures(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError) as caught:
        Architecture(**{**SIZES, **changes})
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: LatentAttention(**{**LATENT, "kv_rank": 0}), "got kv_rank=0"),
        (lambda: LatentAttention(**{**LATENT, "q_rank": 0}), "got q_rank=0"),
        (lambda: Experts(**{**EXPERTS, "experts_per_token": 5}), "experts_per_token=5, n_experts"),
        (lambda: Experts(**EXPERTS, n_shared=-1), "got n_shared=-1. Give a count, 0 for none"),
        (lambda: Vectors(learned_positions=-1), "got learned_positions=-1"),
    ],
)
def test_impossible_parts(make: Any, text: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert text in str(caught.value)


def test_windows_and_experts_are_whole_layers() -> None:
    three_quarters = Architecture(**SIZES, window=8, window_fraction=0.75)
    assert (three_quarters.n_windowed_layers, Architecture(**SIZES).n_windowed_layers) == (3, 0)
    every_second = Architecture(**SIZES, experts=Experts(**EXPERTS, every=2))
    assert (every_second.n_moe_layers, Architecture(**SIZES).n_moe_layers) == (2, 0)
