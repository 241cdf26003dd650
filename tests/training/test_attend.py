"""Causal products over blocks are causal attention, forward and backward, compiled or not."""

import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from isoflop.training.attend import attend, causal_mask


@pytest.fixture(scope="module", autouse=True)
def _compiler() -> Iterator[None]:
    """PyTorch's own import of its compiler warns of PyTorch's own use of what it has deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import torch._dynamo
    yield
    torch._dynamo.reset()


def _by_definition(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    t = q.size(-2)
    logits = scale * q @ k.transpose(-1, -2)
    later = torch.arange(t)[:, None] < torch.arange(t)
    return logits.masked_fill(later, -torch.inf).softmax(-1) @ v


# Shorter than a block, one block, a block and a rest, the longest by products, by the fused kernel.
@pytest.mark.parametrize("t", [5, 128, 200, 512, 513])
def test_compiled_attention_is_causal_attention(t: int) -> None:
    generator = torch.Generator().manual_seed(t)
    q, k, v, up = torch.randn(4, 2, 3, t, 8, generator=generator, dtype=torch.float64)
    inputs = [part.clone().requires_grad_() for part in (q, k, v)]
    told = _by_definition(*inputs, 0.3)
    told.backward(up)
    wanted = [told, *(part.grad for part in inputs)]

    mask = causal_mask(t)
    calls: list[int] = []

    def backend(graph: torch.fx.GraphModule, _example: object) -> object:
        calls.append(sum("matmul" in str(node.target) for node in graph.graph.nodes))
        return graph.forward

    compiled = torch.compile(attend, backend=backend, dynamic=False)
    inputs = [part.clone().float().requires_grad_() for part in (q, k, v)]
    given = compiled(*inputs, 0.3, mask)
    given.backward(up.float())
    torch._dynamo.reset()
    assert calls == [2 * -(-t // 128) if t <= 512 else 0]
    for got, want in zip([given, *(part.grad for part in inputs)], wanted, strict=True):
        torch.testing.assert_close(got, want.float(), rtol=1e-5, atol=1e-5)


def test_a_later_token_changes_nothing_before_it() -> None:
    x = torch.randn(1, 2, 150, 8, generator=torch.Generator().manual_seed(0))
    other = x.clone()
    other[:, :, 140] += 1.0
    compiled = torch.compile(attend, backend="eager", dynamic=False)
    first, second = (compiled(part, part, part, 0.3, causal_mask(150)) for part in (x, other))
    torch._dynamo.reset()
    assert torch.equal(first[:, :, :140], second[:, :, :140])
    assert not torch.equal(first[:, :, 140:], second[:, :, 140:])
