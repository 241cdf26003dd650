"""`ModelShape`: the sizes of a decoder-only transformer."""

from dataclasses import dataclass
from typing import Literal

from isoflop._errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """Shape of a decoder-only transformer; `accounting.count_params` counts exactly these tensors.

    Per layer: attention 4·width² (no bias), MLP 2·width·ff_width (3· for `swiglu`), two norms.
    """

    vocab_size: int
    width: int
    depth: int
    n_heads: int
    ff_width: int
    context: int
    mlp: Literal["gelu", "relu2", "swiglu"] = "relu2"
    positions: Literal["rope", "learned"] = "rope"
    qk_norm: bool = True
    token_shift: bool = True
    """Learned one-token shift before attention: copying circuits form earlier at tiny scale."""
    tied_head: bool = False

    def __post_init__(self) -> None:
        for name in ("vocab_size", "width", "depth", "n_heads", "ff_width", "context"):
            value = getattr(self, name)
            if value < 1:
                raise InputError(
                    f"`{name} >= 1` must hold, but got {name}={value}. Give a positive count."
                )
        if self.width % self.n_heads:
            raise InputError(
                f"`width % n_heads == 0` must hold, but got width={self.width}, "
                f"n_heads={self.n_heads}. Choose a width divisible by the number of heads."
            )
        if self.positions == "rope" and self.head_dim % 2:
            raise InputError(
                f"rotary positions need an even head size, but got width/n_heads={self.head_dim}. "
                "Choose another width or positions = 'learned'."
            )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.width // self.n_heads
