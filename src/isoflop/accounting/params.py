"""`ParamCount`: the parameters of a model in groups, so that "parameters" is never ambiguous."""

from dataclasses import dataclass
from typing import Literal, get_args

from isoflop._errors import InputError
from isoflop.specs import ModelShape

ParamConvention = Literal["non_embedding_with_head", "total", "non_embedding", "active"]
PARAM_CONVENTIONS: tuple[ParamConvention, ...] = get_args(ParamConvention)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamCount:
    """Parameters by group; a tied head is counted once, as `head`."""

    embedding: int
    """Token embedding (0 if tied to the head) and learned positions."""
    head: int
    attention: int
    mlp: int
    other: int
    """Gains, biases and token-shifts: vectors that enter no matrix product."""
    mlp_inactive: int = 0
    """Those of `mlp` in experts that a token does not pass through."""

    @property
    def total(self) -> int:
        """Every stored parameter once."""
        return self.embedding + self.head + self.attention + self.mlp + self.other

    def under(self, convention: str = "non_embedding_with_head") -> int:
        """`n_params` under a named convention.

        `non_embedding_with_head` (default) = attention + mlp + head: every matrix that
        multiplies. `active` = those that multiply one token, hence what 6·N·D counts: the same
        for a dense model, less the experts that it does not pass through for a mixture.
        `non_embedding` = attention + mlp + other, Kaplan's. `total` = everything.

        Raises:
            InputError: the convention is unknown.

        Source: Porian et al. 2024, arXiv:2406.19146 (the head counts); Kaplan et al. 2020,
        arXiv:2001.08361, eq. 2.1 (non-embedding).
        """
        matrices = self.attention + self.mlp
        match convention:
            case "non_embedding_with_head":
                return matrices + self.head
            case "active":
                return matrices + self.head - self.mlp_inactive
            case "non_embedding":
                return matrices + self.other
            case "total":
                return self.total
        raise InputError(
            f"`convention` must be one of {', '.join(PARAM_CONVENTIONS)}, "
            f"but got {convention!r}. Use one of these names."
        )


def count_params(shape: ModelShape) -> ParamCount:
    """The exact number of parameters of `shape` in groups, H the width of a head.

    Per layer: attention 2·d·H·(heads + key heads); MLP m·d·f with m = 2 (3 for `swiglu`), times
    routed and shared experts, and a router d·experts; two norms of d gains, one token-shift
    vector of d and one query gain where those are on. With `bias`, one for every row of a matrix
    but head and router, and for every gain of a layer norm.
    """
    d, kv = shape.width, shape.kv_heads * shape.head_dim
    inner = shape.n_heads * shape.head_dim
    expert = (3 if shape.mlp == "swiglu" else 2) * d * shape.ff_width
    router = d * shape.n_experts
    copies = max(1, shape.n_experts) + shape.n_shared_experts
    inactive = expert * (shape.n_experts - shape.n_active_experts) if shape.n_experts else 0
    norm = d * (2 if shape.norm == "layer" and shape.bias else 1)
    vectors = 2 * norm + (d if shape.token_shift else 0) + (1 if shape.qk_norm else 0)
    if shape.bias:
        vectors += inner + 2 * kv + d + _mlp_biases(shape)
    table = shape.vocab_size * d
    positions = shape.context * d if shape.positions == "learned" else 0
    return ParamCount(
        embedding=positions + (0 if shape.tied_head else table),
        head=table,
        attention=shape.depth * 2 * d * (inner + kv),
        mlp=shape.depth * (copies * expert + router),
        other=shape.depth * vectors + norm,
        mlp_inactive=shape.depth * inactive,
    )


def _mlp_biases(shape: ModelShape) -> int:
    """Biases of a layer's MLP; shared experts add up to one MLP, with one output."""
    rows = shape.ff_width * (2 if shape.mlp == "swiglu" else 1)
    dense = max(1, shape.n_experts) * (rows + shape.width)
    n_shared = shape.n_shared_experts
    return dense + (n_shared * rows + shape.width if n_shared else 0)
