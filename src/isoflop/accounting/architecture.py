"""`Architecture`: what a published decoder is made of, enough to count weights, FLOPs and bytes."""

from dataclasses import dataclass, field
from typing import Literal

from isoflop._errors import InputError
from isoflop.accounting.checks import fields_of, require_counts
from isoflop.specs import ModelShape

AttentionBias = Literal["none", "qkv", "all"]
QkNorm = Literal["none", "scalar", "head", "width"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttention:
    """Keys and values through one low-rank latent (MLA); a cache holds kv_rank + rope_dim a layer.

    Source: DeepSeek-V2, arXiv:2405.04434, section 2.1.
    """

    q_rank: int | None
    """Rank of the queries' latent; None: queries straight from the stream."""
    kv_rank: int
    nope_dim: int
    """Part of a head's query and key without positions."""
    rope_dim: int
    """Part with rotary positions; its key is shared by all heads."""
    v_dim: int

    def __post_init__(self) -> None:
        require_counts(fields_of(self, "kv_rank", "nope_dim", "rope_dim", "v_dim"))
        if self.q_rank is not None:
            require_counts(fields_of(self, "q_rank"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """MLPs of which a router chooses some for each token."""

    n_experts: int
    experts_per_token: int
    ff_width: int
    """Hidden width of one expert, routed or shared."""
    n_shared: int = 0
    """Experts that every token passes through."""
    n_dense_layers: int = 0
    """Layers with a dense MLP of `Architecture.ff_width`, taken as the first."""
    every: int = 1
    """Of the layers after those, each `every`-th has experts; the others are dense too."""
    shared_gate: bool = False
    """A gate of `width` weights scales the shared experts' output (Qwen2-MoE)."""
    router_bias: bool = False
    """One number an expert that balances the load (DeepSeek-V3)."""

    def __post_init__(self) -> None:
        require_counts(fields_of(self, "n_experts", "experts_per_token", "ff_width", "every"))
        for name in ("n_shared", "n_dense_layers"):
            value = getattr(self, name)
            if value < 0:
                raise InputError(
                    f"`{name} >= 0` must hold, but got {name}={value}. Give a count, 0 for none."
                )
        if self.experts_per_token > self.n_experts:
            raise InputError(
                "`experts_per_token <= n_experts` must hold, but got "
                f"experts_per_token={self.experts_per_token}, n_experts={self.n_experts}. "
                "A token cannot pass through more experts than there are."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """Weights that enter no matrix product: gains of norms, biases, learned positions.

    The defaults are Llama's.
    """

    vectors_per_norm: int = 1
    """1: a gain; 2: gain and bias; 0: norms without weights."""
    norms_per_layer: int = 2
    attention_bias: AttentionBias = "none"
    """`qkv`: on queries, keys and values; `all`: on the output too."""
    mlp_bias: bool = False
    qk_norm: QkNorm = "none"
    """Gains of query and key: `scalar` one a layer, `head` a head's width, `width` all heads."""
    token_shift: bool = False
    learned_positions: int = 0
    """Rows of a learned table of positions."""

    def __post_init__(self) -> None:
        for name in ("vectors_per_norm", "norms_per_layer", "learned_positions"):
            value = getattr(self, name)
            if value < 0:
                raise InputError(
                    f"`{name} >= 0` must hold, but got {name}={value}. Give a count, 0 for none."
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Matrices and vectors of a decoder-only transformer; counts are exact for these fields."""

    name: str
    n_layers: int
    width: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    """Width of a head's query and key; of its value too unless `latent` says another."""
    ff_width: int
    """Hidden width of a dense layer's MLP."""
    vocab_size: int
    mlp_matrices: int = 3
    """3: gated (SwiGLU, GeGLU); 2: plain."""
    tied_head: bool = False
    latent: LatentAttention | None = None
    """Then n_kv_heads = n_heads and head_dim = nope_dim + rope_dim."""
    experts: Experts | None = None
    window: int | None = None
    """Positions that a layer with a sliding window attends, its own included."""
    window_fraction: float = 1.0
    """Share of the layers that have the window."""
    relative_position_matrix: bool = False
    """A fifth width·heads matrix a layer, for relative positions (Gopher, Chinchilla)."""
    vectors: Vectors = field(default_factory=Vectors)

    def __post_init__(self) -> None:
        names = ("n_layers", "width", "n_heads", "n_kv_heads", "head_dim", "ff_width", "vocab_size")
        require_counts(fields_of(self, *names))
        if self.n_heads % self.n_kv_heads:
            raise InputError(
                f"`n_heads % n_kv_heads == 0` must hold, but got n_heads={self.n_heads}, "
                f"n_kv_heads={self.n_kv_heads}. Let as many queries share each key."
            )
        if self.mlp_matrices not in (2, 3):
            raise InputError(
                f"`mlp_matrices` must be 2 or 3, but got mlp_matrices={self.mlp_matrices}. "
                "Give 3 for a gated MLP (SwiGLU, GeGLU), 2 for a plain one."
            )
        self._check_window()
        self._check_latent()
        self._check_experts()

    def _check_window(self) -> None:
        if self.window is not None:
            require_counts(fields_of(self, "window"))
        no_window = self.window is None and self.window_fraction != 1
        if no_window or not 0 < self.window_fraction <= 1:
            raise InputError(
                "`0 < window_fraction <= 1` must hold, and 1 without a window, but got "
                f"window_fraction={self.window_fraction}, window={self.window}. "
                "Give the share of layers that have the window, and its width."
            )

    def _check_latent(self) -> None:
        latent = self.latent
        if latent is None:
            return
        wanted = latent.nope_dim + latent.rope_dim
        if self.head_dim != wanted or self.n_kv_heads != self.n_heads:
            raise InputError(
                "with `latent`, `head_dim == nope_dim + rope_dim` and `n_kv_heads == n_heads` must "
                f"hold, but got head_dim={self.head_dim}, n_kv_heads={self.n_kv_heads}. "
                f"Give head_dim={wanted}, n_kv_heads={self.n_heads}."
            )
        if self.vectors.attention_bias != "none":
            raise InputError(
                "with `latent`, `attention_bias == 'none'` must hold, but got attention_bias="
                f"{self.vectors.attention_bias!r}. No model with latent attention is known to "
                "have biases there; leave them out."
            )

    def _check_experts(self) -> None:
        if self.experts is not None and self.n_moe_layers < 1:
            raise InputError(
                "at least one layer must have experts, but got "
                f"n_dense_layers={self.experts.n_dense_layers}, every={self.experts.every}, "
                f"n_layers={self.n_layers}. Lower them, or give experts=None."
            )

    @property
    def v_dim(self) -> int:
        """Width of a head's value."""
        return self.head_dim if self.latent is None else self.latent.v_dim

    @property
    def n_moe_layers(self) -> int:
        """Layers with experts."""
        if self.experts is None:
            return 0
        return (self.n_layers - self.experts.n_dense_layers) // self.experts.every

    @property
    def n_windowed_layers(self) -> int:
        """Layers that attend a sliding window."""
        return 0 if self.window is None else round(self.window_fraction * self.n_layers)

    @classmethod
    def of(cls, shape: ModelShape, name: str = "model") -> "Architecture":
        """The architecture of one of isoflop's own trainings."""
        experts = None
        if shape.n_experts:
            experts = Experts(
                n_experts=shape.n_experts,
                experts_per_token=shape.n_active_experts,
                ff_width=shape.ff_width,
                n_shared=shape.n_shared_experts,
            )
        return cls(
            name=name,
            n_layers=shape.depth,
            width=shape.width,
            n_heads=shape.n_heads,
            n_kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            ff_width=shape.ff_width,
            vocab_size=shape.vocab_size,
            mlp_matrices=3 if shape.mlp == "swiglu" else 2,
            tied_head=shape.tied_head,
            experts=experts,
            vectors=Vectors(
                vectors_per_norm=2 if shape.bias and shape.norm == "layer" else 1,
                attention_bias="all" if shape.bias else "none",
                mlp_bias=shape.bias,
                qk_norm="scalar" if shape.qk_norm else "none",
                token_shift=shape.token_shift,
                learned_positions=shape.context if shape.positions == "learned" else 0,
            ),
        )
