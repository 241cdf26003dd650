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
    """Norm gains, token-shift and query gains: vectors that enter no matrix product."""

    @property
    def total(self) -> int:
        """Every stored parameter once."""
        return self.embedding + self.head + self.attention + self.mlp + self.other

    def under(self, convention: str = "non_embedding_with_head") -> int:
        """`n_params` under a named convention.

        `non_embedding_with_head` (default) = attention + mlp + head: every matrix that
        multiplies, hence what 6·N·D counts. `active` equals it for a dense model.
        `non_embedding` = attention + mlp + other, Kaplan's. `total` = everything.

        Raises:
            InputError: the convention is unknown.

        Source: Porian et al. 2024, arXiv:2406.19146 (the head counts); Kaplan et al. 2020,
        arXiv:2001.08361, eq. 2.1 (non-embedding).
        """
        matrices = self.attention + self.mlp
        match convention:
            case "non_embedding_with_head" | "active":
                return matrices + self.head
            case "non_embedding":
                return matrices + self.other
            case "total":
                return self.total
        raise InputError(
            f"`convention` must be one of {', '.join(PARAM_CONVENTIONS)}, "
            f"but got {convention!r}. Use one of these names."
        )


def count_params(shape: ModelShape) -> ParamCount:
    """The exact number of parameters of `shape` in groups.

    Per layer: attention 4·d², MLP 2·d·f (3·d·f for `swiglu`), two norm gains of d, one
    token-shift vector of d and one query gain where those are on. No biases anywhere.
    """
    d = shape.width
    matrices = 3 if shape.mlp == "swiglu" else 2
    vectors_per_layer = 2 * d + (d if shape.token_shift else 0) + (1 if shape.qk_norm else 0)
    table = shape.vocab_size * d
    positions = shape.context * d if shape.positions == "learned" else 0
    return ParamCount(
        embedding=positions + (0 if shape.tied_head else table),
        head=table,
        attention=shape.depth * 4 * d * d,
        mlp=shape.depth * matrices * d * shape.ff_width,
        other=shape.depth * vectors_per_layer + d,
    )
