"""The model's tensors are the ones that accounting counts, and its mathematics is causal."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from isoflop.accounting import count_params
from isoflop.specs import ModelShape
from isoflop.training import Transformer

VARIANTS = list(
    itertools.product(
        ("gelu", "relu2", "swiglu"), ("rope", "learned"), (True, False), (True, False)
    )
)


@pytest.mark.parametrize(("mlp", "positions", "extras", "tied"), VARIANTS)
def test_counts_equal_accounting(
    tiny_shape: ModelShape, mlp: str, positions: str, extras: bool, tied: bool
) -> None:
    shape = replace(
        tiny_shape, mlp=mlp, positions=positions, qk_norm=extras, token_shift=extras,
        tied_head=tied, depth=2,
    )  # fmt: skip
    model = Transformer(shape)
    count = count_params(shape)
    assert sum(p.numel() for p in model.parameters()) == count.total
    matrices = sum(p.numel() for p in model.parameter_groups()["matrices"])
    # Every matrix that multiplies; a tied head is the embedding itself.
    expected = count.under("non_embedding_with_head") - (count.head if tied else 0)
    assert matrices == expected


@pytest.mark.parametrize("positions", ["rope", "learned"])
def test_a_token_sees_no_later_one(tiny_shape: ModelShape, positions: str) -> None:
    torch.manual_seed(0)
    model = Transformer(replace(tiny_shape, positions=positions))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randint(0, 300, (1, 16))
    changed = x.clone()
    changed[0, 9] = (x[0, 9] + 1) % 300
    before, after = model.logits(x), model.logits(changed)
    assert torch.equal(before[0, :9], after[0, :9])
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
