"""`ModelShape`: the sizes and the kind of a decoder-only transformer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from isoflop._errors import InputError

Norm = Literal["rms", "layer"]
Mlp = Literal["gelu", "relu2", "swiglu"]
Positions = Literal["rope", "learned"]
Preset = Literal["gpt2", "llama"]

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "gpt2": {
        "mlp": "gelu", "positions": "learned", "qk_norm": False, "token_shift": False,
        "tied_head": True, "norm": "layer", "norm_eps": 1e-5, "bias": True,
        "embedding_norm": False,
    },
    "llama": {
        "mlp": "swiglu", "positions": "rope", "qk_norm": False, "token_shift": False,
        "tied_head": False, "norm": "rms", "norm_eps": 1e-5, "bias": False,
        "embedding_norm": False, "rope_base": 10_000.0,
    },
}  # fmt: skip
"""What makes a shape one of a published family; sizes are not in it.

Source: Radford et al. 2019 (GPT-2), whose gelu is the tanh approximation, here the exact one;
Touvron et al. 2023, arXiv:2307.09288 (Llama 2). Llama 3 adds `n_kv_heads` and `rope_base=500000`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """Shape of a decoder-only transformer; `accounting.count_params` counts exactly these tensors.

    The defaults are the pilots' own kind; `PRESETS` holds what GPT-2 and Llama set instead.
    """

    vocab_size: int
    width: int
    depth: int
    n_heads: int
    ff_width: int
    """Hidden width of the MLP; with experts, of each of them."""
    context: int
    mlp: Mlp = "relu2"
    positions: Positions = "rope"
    qk_norm: bool = True
    token_shift: bool = True
    """Learned one-token shift before attention: copying circuits form earlier at tiny scale."""
    tied_head: bool = False
    norm: Norm = "rms"
    norm_eps: float | None = None
    """Added under the root of every norm; None: the machine epsilon of the computing type."""
    bias: bool = False
    """Biases in attention, MLP and layer norms; never in the head or a router."""
    n_kv_heads: int | None = None
    """Heads of keys and values, each shared by n_heads/n_kv_heads queries; None: n_heads."""
    head_width: int | None = None
    """Width of one head; None: width/n_heads."""
    rope_base: float = 10_000.0
    embedding_norm: bool = True
    """RMS norm without gain right after the embedding."""
    n_experts: int = 0
    """Routed experts a layer; 0: a dense MLP."""
    n_active_experts: int = 2
    """Routed experts that a token passes through."""
    n_shared_experts: int = 0
    """Experts that every token passes through."""
    balance_coefficient: float = 0.01
    """Weight of the load-balancing loss in the training loss; it is in no reported loss."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "width", "depth", "n_heads", "ff_width", "context"):
            self._require(getattr(self, name) >= 1, name, ">= 1", "Give a positive count.")
        if self.head_width is None and self.width % self.n_heads:
            raise InputError(
                f"`width % n_heads == 0` must hold, but got width={self.width}, "
                f"n_heads={self.n_heads}. Choose a width divisible by the number of heads."
            )
        self._require(self.head_dim >= 1, "head_width", ">= 1", "Give a positive count.")
        if self.n_kv_heads is not None and not (
            self.n_kv_heads >= 1 and self.n_heads % self.n_kv_heads == 0
        ):
            raise InputError(
                f"`n_heads % n_kv_heads == 0` must hold, but got n_heads={self.n_heads}, "
                f"n_kv_heads={self.n_kv_heads}. Let as many queries share each key."
            )
        if self.positions == "rope" and self.head_dim % 2:
            raise InputError(
                f"rotary positions need an even head size, but got width/n_heads={self.head_dim}. "
                "Choose another width or positions = 'learned'."
            )
        self._require(self.rope_base > 1, "rope_base", "> 1", "10000 is usual.")
        if self.norm_eps is not None:
            self._require(0 < self.norm_eps < 1, "norm_eps", "in (0, 1)", "1e-5 is usual.")
        self._check_experts()

    def _check_experts(self) -> None:
        self._require(self.n_experts >= 0, "n_experts", ">= 0", "0 is a dense MLP.")
        if self.n_experts == 0:
            for name, default in (
                ("n_active_experts", 2), ("n_shared_experts", 0), ("balance_coefficient", 0.01)
            ):  # fmt: skip
                self._require(
                    getattr(self, name) == default,
                    name,
                    f"== {default} without n_experts",
                    "Set n_experts too, or leave it out.",
                )
            return
        self._require(
            1 <= self.n_active_experts <= self.n_experts,
            "n_active_experts",
            f"in 1..n_experts={self.n_experts}",
            "A token passes through some of the experts.",
        )
        self._require(self.n_shared_experts >= 0, "n_shared_experts", ">= 0", "Give a count.")
        self._require(
            0 <= self.balance_coefficient <= 10,
            "balance_coefficient",
            "in 0..10",
            "0.01 is usual; 0 leaves the load as it falls.",
        )

    def _require(self, condition: bool, name: str, rule: str, remedy: str) -> None:
        if not condition:
            raise InputError(
                f"`{name} {rule}` must hold, but got {name}={getattr(self, name)}. {remedy}"
            )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.width // self.n_heads if self.head_width is None else self.head_width

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads
