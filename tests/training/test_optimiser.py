"""Groups of the optimiser: every parameter once, decay as meant, muP the standard at its base."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from isoflop.specs import ModelShape, Optimiser, Parametrisation, RunConfig
from isoflop.specs.shape import PRESETS
from isoflop.training import Transformer
from isoflop.training.optimiser import make_optimiser, parameter_groups

SHAPE = ModelShape(
    vocab_size=60, width=32, depth=4, n_heads=2, ff_width=64, context=16, mlp="swiglu",
    positions="learned", norm="layer", bias=True, n_experts=3, n_shared_experts=1,
)  # fmt: skip
SETTINGS = Optimiser(lr=0.01, batch_tokens=64, weight_decay=0.5, embedding_lr_factor=3.0)
KINDS = {
    "plain": Parametrisation(),
    "standard": Parametrisation(kind="standard"),
    "mup": Parametrisation(kind="mup", base_width=8),
    "completep": Parametrisation(kind="completep", base_width=8, depth_exponent=0.5),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [True, False])
def test_every_parameter_is_in_one_group(kind: str, tied: bool) -> None:
    model = Transformer(replace(SHAPE, tied_head=tied), KINDS[kind])
    groups = parameter_groups(model.named_parameters(), model.shape, SETTINGS, KINDS[kind])
    ids = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(ids) == sorted(id(parameter) for parameter in model.parameters())
    assert len(groups) >= 3


def shrunk(kind: str, tiny_trunk: RunConfig, width: int) -> dict[str, float]:
    """The factor of every parameter in one step without a gradient: what decay alone does."""
    config = replace(
        tiny_trunk, shape=replace(SHAPE, width=width), optimiser=SETTINGS,
        parametrisation=KINDS[kind],
    )  # fmt: skip
    model = Transformer(config.shape, config.parametrisation)
    for parameter in model.parameters():
        torch.nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    optimiser = make_optimiser(model, config)
    for group in optimiser.param_groups:
        group["lr"] = SETTINGS.lr * group["lr_factor"]
    optimiser.step()
    return {name: float(p.detach().flatten()[0]) for name, p in model.named_parameters()}


@pytest.mark.parametrize("width", [8, 32, 64])
def test_decay_is_the_same_at_every_width_under_mup(tiny_trunk: RunConfig, width: int) -> None:
    decayed = 1 - 0.01 * 0.5
    factors = shrunk("mup", tiny_trunk, width)
    for name in ("blocks.0.attention.qkv", "blocks.3.mlp.down", "blocks.1.mlp.router", "head"):
        assert factors[name] == pytest.approx(decayed, rel=1e-6)
    assert factors["embedding"] == pytest.approx(1 - 3 * 0.01 * 0.5, rel=1e-6)
    for name in (
        "blocks.0.attention_norm",
        "blocks.0.mlp.up_bias",
        "final_norm",
        "final_norm_bias",
    ):
        assert factors[name] == 1.0


def test_plain_decays_matrices_alone(tiny_trunk: RunConfig) -> None:
    factors = shrunk("plain", tiny_trunk, 32)
    kept = {name for name, factor in factors.items() if factor == 1.0}
    assert {"embedding", "positions"} < kept
    assert all(f == pytest.approx(0.995, rel=1e-6) for n, f in factors.items() if n not in kept)
    assert {"head", "blocks.0.mlp.router", "blocks.0.mlp.up", "blocks.0.attention.out"} == {
        n for n in factors if n not in kept and n.startswith(("head", "blocks.0"))
    } - {"blocks.0.attention.qkv", "blocks.0.mlp.down", "blocks.0.mlp.shared.up",
         "blocks.0.mlp.shared.down"}  # fmt: skip


def trained(own: Parametrisation, tiny_trunk: RunConfig, **fields: Any) -> dict[str, torch.Tensor]:
    shape = replace(tiny_trunk.shape, width=32, depth=2, n_heads=2, **fields)
    config = replace(tiny_trunk, shape=shape, parametrisation=own)
    torch.manual_seed(0)
    model = Transformer(shape, own)
    optimiser = make_optimiser(model, config)
    x = torch.randint(0, 300, (4, 17))
    for _ in range(3):
        for group in optimiser.param_groups:
            group["lr"] = 0.01 * group["lr_factor"]
        model(x[:, :-1], x[:, 1:]).backward()
        optimiser.step()
        optimiser.zero_grad()
    return model.state_dict()


@pytest.mark.parametrize("preset", PRESETS)
def test_mup_at_its_base_is_the_standard_training_bit_for_bit(
    tiny_trunk: RunConfig, preset: str
) -> None:
    mup = Parametrisation(kind="mup", base_width=32, base_head_width=16)
    first = trained(mup, tiny_trunk, **PRESETS[preset])
    second = trained(Parametrisation(kind="standard"), tiny_trunk, **PRESETS[preset])
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", ["embedding", "attention", "output"])
def test_a_multiplier_acts_where_it_says(tiny_shape: ModelShape, name: str) -> None:
    """Times c in the model equals times c in the weights before it."""
    shape = replace(tiny_shape, **PRESETS["llama"])
    torch.manual_seed(0)
    own = Parametrisation(kind="standard", zero_head=False)
    plain = Transformer(shape, own)
    torch.manual_seed(0)
    scaled = Transformer(shape, replace(own, **{f"{name}_multiplier": 3.0}))
    x = torch.randint(0, 300, (2, 16))
    with torch.no_grad():
        assert not torch.allclose(plain.logits(x), scaled.logits(x), rtol=1e-3)
        if name == "attention":
            plain.get_parameter("blocks.0.attention.qkv")[:16] *= 3
        else:
            plain.get_parameter({"embedding": "embedding", "output": "head"}[name]).mul_(3)
        torch.testing.assert_close(plain.logits(x), scaled.logits(x), rtol=1e-5, atol=1e-6)
