"""The model's tensors are the ones that accounting counts, and its mathematics is causal."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from isoflop.accounting import count_params
from isoflop.specs import ModelShape, Parametrisation
from isoflop.specs.shape import PRESETS
from isoflop.training import Transformer
from isoflop.training.initial import role_of

GPT2 = ModelShape(
    vocab_size=50_257, width=768, depth=12, n_heads=12, ff_width=3072, context=1024,
    **PRESETS["gpt2"],
)  # fmt: skip
LLAMA2 = ModelShape(
    vocab_size=32_000, width=4096, depth=32, n_heads=32, ff_width=11_008, context=4096,
    **PRESETS["llama"],
)  # fmt: skip
LLAMA3 = replace(
    LLAMA2, vocab_size=128_256, n_kv_heads=8, ff_width=14_336, context=8192, rope_base=500_000.0
)


@st.composite
def shapes(draw: st.DrawFn) -> ModelShape:
    """Any combination of kinds, at any size that accounting may meet."""
    kv, group, half = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 9))
    heads, own = kv * group, draw(st.booleans())
    experts = draw(st.sampled_from((0, 0, 1, 3, 8)))
    mixture = {
        "n_active_experts": draw(st.integers(1, max(1, experts))),
        "n_shared_experts": draw(st.integers(0, 2)),
    }
    return ModelShape(
        vocab_size=draw(st.integers(1, 900)),
        width=draw(st.integers(1, 70)) if own else heads * 2 * half,
        depth=draw(st.integers(1, 3)),
        n_heads=heads,
        n_kv_heads=kv if group > 1 else draw(st.sampled_from((None, kv))),
        head_width=2 * half if own else None,
        ff_width=draw(st.integers(1, 90)),
        context=draw(st.integers(1, 40)),
        mlp=draw(st.sampled_from(("gelu", "relu2", "swiglu"))),
        positions=draw(st.sampled_from(("rope", "learned"))),
        norm=draw(st.sampled_from(("rms", "layer"))),
        n_experts=experts,
        **{
            name: draw(st.booleans())
            for name in ("qk_norm", "token_shift", "tied_head", "bias", "embedding_norm")
        },
        **(mixture if experts else {}),
    )


def numel(model: Transformer, *roles: str) -> int:
    named = model.named_parameters()
    return sum(p.numel() for name, p in named if not roles or role_of(name) in roles)


@given(shape=shapes())
@settings(max_examples=200, deadline=None)
def test_every_group_that_accounting_counts_is_in_the_model(shape: ModelShape) -> None:
    with torch.device("meta"):
        model = Transformer(shape)
    count = count_params(shape)
    assert numel(model) == count.total
    matrices = numel(model, "hidden", "residual", "router", "head")
    # Every matrix that multiplies; a tied head is the embedding itself.
    assert matrices == count.under() - (count.head if shape.tied_head else 0)
    assert numel(model, "vector", "final_vector") == count.other
    tied = count.head if shape.tied_head else 0
    assert numel(model, "embedding", "positions") == count.embedding + tied


@pytest.mark.parametrize(
    ("shape", "total"),
    [
        # Radford et al. 2019: the released 124M model.
        (GPT2, 124_439_808),
        # Touvron et al. 2023, arXiv:2307.09288; Grattafiori et al. 2024, arXiv:2407.21783: as
        # released.
        (LLAMA2, 6_738_415_616),
        (LLAMA3, 8_030_261_248),
    ],
)
def test_published_models_have_their_published_sizes(shape: ModelShape, total: int) -> None:
    with torch.device("meta"):
        model = Transformer(shape)
    assert numel(model) == count_params(shape).total == total


def perturbed(shape: ModelShape, seed: int = 0) -> Transformer:
    """A model none of whose parameters is at its start."""
    torch.manual_seed(seed)
    model = Transformer(shape)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model


CAUSAL: list[dict[str, Any]] = [
    {"positions": "rope"},
    {"positions": "learned", "norm": "layer", "bias": True},
    {"n_heads": 4, "n_kv_heads": 2, "mlp": "swiglu"},
    {"n_experts": 4, "n_shared_experts": 1, "head_width": 6},
]


@pytest.mark.parametrize("kind", CAUSAL, ids=str)
def test_a_token_sees_no_later_one(tiny_shape: ModelShape, kind: dict[str, Any]) -> None:
    model = perturbed(replace(tiny_shape, **kind))
    x = torch.randint(0, 300, (1, 16))
    changed = x.clone()
    changed[0, 9] = (x[0, 9] + 1) % 300
    before, after = model.logits(x), model.logits(changed)
    torch.testing.assert_close(before[0, :9], after[0, :9], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(before[0, 9:], after[0, 9:])


def test_an_untrained_model_is_uniform(tiny_shape: ModelShape) -> None:
    x = torch.randint(0, 300, (2, 17))
    loss = Transformer(tiny_shape)(x[:, :-1], x[:, 1:])
    assert float(loss.detach()) == pytest.approx(math.log(300), rel=1e-6)


def test_tied_head_starts_near_uniform(tiny_shape: ModelShape) -> None:
    torch.manual_seed(0)
    x = torch.randint(0, 300, (4, 17))
    loss = Transformer(replace(tiny_shape, tied_head=True))(x[:, :-1], x[:, 1:])
    assert abs(float(loss.detach()) - math.log(300)) < 1.5


def test_shared_keys_are_repeated_keys(tiny_shape: ModelShape) -> None:
    """Grouped attention equals full attention whose keys and values are copies."""
    grouped = perturbed(replace(tiny_shape, n_heads=4, n_kv_heads=2))
    full = Transformer(replace(tiny_shape, n_heads=4))
    state = dict(grouped.state_dict())
    qkv = state["blocks.0.attention.qkv"]
    q, k, v = qkv.split((16, 8, 8))
    k, v = (part.view(2, 4, 16).repeat_interleave(2, 0).reshape(16, 16) for part in (k, v))
    full.load_state_dict({**state, "blocks.0.attention.qkv": torch.cat((q, k, v))})
    x = torch.randint(0, 300, (2, 16))
    torch.testing.assert_close(grouped.logits(x), full.logits(x), rtol=1e-5, atol=1e-5)


def test_the_untrained_model_of_every_kind_starts_finite_and_learns(tiny_shape: ModelShape) -> None:
    torch.manual_seed(0)
    x = torch.randint(0, 300, (4, 17))
    for kind in ("plain", "standard", "mup", "completep"):
        for preset in PRESETS.values():
            shape = replace(tiny_shape, **preset)
            model = Transformer(shape, Parametrisation(kind=kind))
            loss = model(x[:, :-1], x[:, 1:])
            loss.backward()
            reached = [n for n, p in model.named_parameters() if p.grad is not None]
            assert math.isfinite(float(loss.detach()))
            assert len(reached) == len(list(model.parameters()))
