"""The mixture of experts against a plain loop, its balance loss against closed forms."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from isoflop._errors import InputError
from isoflop.specs import ModelShape
from isoflop.training import Transformer
from isoflop.training.mlp import Experts

BASE = ModelShape(
    vocab_size=50, width=12, depth=2, n_heads=2, ff_width=10, context=16, mlp="swiglu",
    n_experts=5, n_active_experts=2, n_shared_experts=2, bias=True,
)  # fmt: skip


def layer(shape: ModelShape, seed: int = 0) -> Experts:
    torch.manual_seed(seed)
    experts = Experts(shape)
    for parameter in experts.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return experts


def swiglu(x: Tensor, up: Tensor, up_bias: Tensor, down: Tensor, down_bias: Tensor) -> Tensor:
    gate, value = (up @ x + up_bias).chunk(2)
    return down @ (F.silu(gate) * value) + down_bias


@pytest.mark.parametrize("n_active", [1, 2, 5])
def test_it_equals_a_loop_over_tokens(n_active: int) -> None:
    experts = layer(replace(BASE, n_active_experts=n_active))
    x = torch.randn(3, 7, 12)
    y, _ = experts(x)
    assert experts.up_bias is not None
    assert experts.down_bias is not None
    assert experts.shared is not None
    for place in ((b, t) for b in range(3) for t in range(7)):
        token = x[place]
        p = (experts.router @ token).softmax(0)
        chosen = p.argsort(descending=True)[:n_active]
        total = p[chosen].sum() if n_active > 1 else torch.tensor(1.0)
        expected = experts.shared(token)
        for e in chosen.tolist():
            parts = (experts.up[e], experts.up_bias[e], experts.down[e], experts.down_bias[e])
            expected = expected + p[e] / total * swiglu(token, *parts)
        torch.testing.assert_close(y[place], expected, rtol=1e-4, atol=1e-4)


def test_no_token_is_dropped_when_all_want_one_expert() -> None:
    experts = layer(replace(BASE, n_active_experts=1, n_shared_experts=0))
    with torch.no_grad():
        experts.router.zero_()
        experts.router[3] = 10.0
    x = torch.rand(1, 64, 12) + 0.1  # positive: the third expert wins everywhere
    y, balance = experts(x)
    assert experts.up_bias is not None
    assert experts.down_bias is not None
    expert = (experts.up[3], experts.up_bias[3], experts.down[3], experts.down_bias[3])
    expected = torch.stack([swiglu(token, *expert) for token in x[0]])
    torch.testing.assert_close(y[0], expected, rtol=1e-3, atol=1e-3)
    # All load and all probability on one of E experts: the loss is E.
    assert float(balance.detach()) == pytest.approx(5, rel=1e-3)


def test_an_even_load_costs_one() -> None:
    # f_e = 1/E for every e, whatever P is.
    experts = layer(replace(BASE, n_active_experts=5))
    _, balance = experts(torch.randn(2, 8, 12))
    assert float(balance.detach()) == pytest.approx(1, rel=1e-5)


def test_the_balance_loss_is_in_training_and_in_no_reported_loss() -> None:
    torch.manual_seed(0)
    heavy = Transformer(replace(BASE, balance_coefficient=3.0))
    light = Transformer(replace(BASE, balance_coefficient=0.0))
    light.load_state_dict(heavy.state_dict())
    x = torch.randint(0, 50, (2, 17))
    with torch.no_grad():
        assert float(heavy(x[:, :-1], x[:, 1:])) == float(light(x[:, :-1], x[:, 1:]))
        _, balance = heavy._run(x[:, :-1])
    assert balance is not None
    gap = float((heavy(x[:, :-1], x[:, 1:]) - light(x[:, :-1], x[:, 1:])).detach())
    assert gap == pytest.approx(3 * float(balance), rel=1e-4)


def test_the_balance_loss_evens_the_load() -> None:
    experts = layer(replace(BASE, n_active_experts=1, n_shared_experts=0))
    with torch.no_grad():
        experts.router[3] += 0.5
    x = torch.randn(4, 64, 12) + 0.5  # the third expert wins most tokens
    before = float(experts(x)[1].detach())
    optimiser = torch.optim.SGD([experts.router], lr=0.3)
    for _ in range(200):
        experts(x)[1].backward()
        optimiser.step()
        optimiser.zero_grad()
    after = float(experts(x)[1].detach())
    assert before > 1.5
    assert after < 1 + 0.1 * (before - 1)


def test_the_router_decides_in_float32_under_autocast() -> None:
    experts = layer(BASE)
    x = torch.randn(2, 8, 12)
    seen: list[torch.dtype] = []
    real = Tensor.softmax

    def spied(self: Tensor, *args: int) -> Tensor:
        seen.append(self.dtype)
        return real(self, *args)

    with pytest.MonkeyPatch.context() as patch, torch.autocast("cpu", torch.bfloat16):
        patch.setattr(Tensor, "softmax", spied)
        y, _ = experts(x)
    assert seen == [torch.float32]
    assert torch.isfinite(y).all()


@pytest.mark.parametrize(
    ("field", "value"),
    [("n_active_experts", 6), ("n_active_experts", 0), ("n_shared_experts", -1),
     ("balance_coefficient", -1.0)],
)  # fmt: skip
def test_impossible_mixtures_are_refused(field: str, value: float) -> None:
    with pytest.raises(InputError, match=field):
        replace(BASE, **{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [("n_active_experts", 1), ("n_shared_experts", 1), ("balance_coefficient", 0.1)],
)
def test_a_dense_model_has_no_mixture_options(field: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"{field} == .* without n_experts"):
        replace(
            BASE, **{"n_experts": 0, "n_active_experts": 2, "n_shared_experts": 0, field: value}
        )
