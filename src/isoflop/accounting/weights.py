"""`WeightCount`: the weights of an `Architecture` in groups, and the four numbers called N."""

from dataclasses import dataclass

from isoflop.accounting.architecture import Architecture
from isoflop.accounting.params import ParamCount


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightCount:
    """Weights by group; a tied head is counted once, as `head`."""

    embedding: int
    """The table of tokens; 0 if it is tied to the head."""
    head: int
    attention: int
    dense_mlp: int
    routed_experts: int
    idle_experts: int
    """Those of `routed_experts` that a token does not pass through."""
    shared_experts: int
    router: int
    """Matrices of routers, and gates of shared experts."""
    relative_positions: int
    """Matrices that multiply positions, not tokens."""
    learned_positions: int
    vectors: int
    """Gains of norms and biases."""

    @property
    def total(self) -> int:
        """Every stored weight: what memory holds and model hubs print."""
        return self.groups.total

    @property
    def matrices(self) -> int:
        """`total` without gains, biases and learned positions: what most formulas count."""
        return self.total - self.vectors - self.learned_positions

    @property
    def total_active(self) -> int:
        """`total` less idle experts, embedding included: what model cards call active.

        Not the convention `active`, which is `matmul_per_token`.
        """
        return self.total - self.idle_experts

    @property
    def non_embedding(self) -> int:
        """`total` without embedding, head and learned positions: Kaplan's N."""
        return self.under("non_embedding")

    @property
    def matmul_per_token(self) -> int:
        """Weights that enter a matrix product for one token: what 6·N·D costs.

        The head is one of them, tied or not; the embedding, a lookup, never. The convention
        `active` of `under` and of `count_params`.
        """
        return self.under("active")

    @property
    def groups(self) -> ParamCount:
        """The same weights in the groups of `count_params`."""
        return ParamCount(
            embedding=self.embedding + self.learned_positions,
            head=self.head,
            attention=self.attention,
            mlp=self.dense_mlp + self.routed_experts + self.shared_experts + self.router,
            other=self.vectors + self.relative_positions,
            mlp_inactive=self.idle_experts,
        )

    def under(self, convention: str = "non_embedding_with_head") -> int:
        """`n_params` under a named convention, as `ParamCount.under`.

        Raises:
            InputError: the convention is unknown.
        """
        return self.groups.under(convention)


def count_weights(architecture: Architecture) -> WeightCount:
    """The exact number of weights of `architecture` in groups.

    Attention 2·d·H·(heads + key heads) a layer, or the matrices of the latent; an MLP m·d·f;
    a router d·experts. Heads for predicting several tokens at once are not counted.

    Source: Vaswani et al. 2017, arXiv:1706.03762; Shazeer 2020, arXiv:2002.05202 (m = 3);
    DeepSeek-V2, arXiv:2405.04434, section 2.1 (latent).
    """
    a, experts = architecture, architecture.experts
    table = a.vocab_size * a.width
    routed = shared = router = idle = 0
    if experts is not None:
        expert = a.mlp_matrices * a.width * experts.ff_width
        routed = a.n_moe_layers * experts.n_experts * expert
        idle = a.n_moe_layers * (experts.n_experts - experts.experts_per_token) * expert
        shared = a.n_moe_layers * experts.n_shared * expert
        router = a.n_moe_layers * a.width * (experts.n_experts + int(experts.shared_gate))
    positions = a.n_heads * a.head_dim * a.width if a.relative_position_matrix else 0
    return WeightCount(
        embedding=0 if a.tied_head else table,
        head=table,
        attention=a.n_layers * _attention(a),
        dense_mlp=(a.n_layers - a.n_moe_layers) * a.mlp_matrices * a.width * a.ff_width,
        routed_experts=routed,
        idle_experts=idle,
        shared_experts=shared,
        router=router,
        relative_positions=a.n_layers * positions,
        learned_positions=a.vectors.learned_positions * a.width,
        vectors=_vectors(a),
    )


def _attention(a: Architecture) -> int:
    """Matrices of one layer's attention."""
    if a.latent is None:
        return 2 * a.width * a.head_dim * (a.n_heads + a.n_kv_heads)
    rank, inner = a.latent.q_rank, a.n_heads * a.head_dim
    queries = a.width * inner if rank is None else rank * (a.width + inner)
    down = a.width * (a.latent.kv_rank + a.latent.rope_dim)
    up = a.latent.kv_rank * a.n_heads * (a.latent.nope_dim + a.latent.v_dim)
    return queries + down + up + a.n_heads * a.latent.v_dim * a.width


def _vectors(a: Architecture) -> int:
    """Gains and biases of the whole model."""
    v, kv = a.vectors, a.n_kv_heads * a.head_dim
    norm = v.vectors_per_norm
    gains = v.norms_per_layer * norm * a.width
    if a.latent is not None:
        gains += norm * ((a.latent.q_rank or 0) + a.latent.kv_rank)
    inner = a.n_heads * a.head_dim
    qk = {"none": 0, "scalar": 1, "head": 2 * a.head_dim, "width": inner + kv}[v.qk_norm]
    bias = {"none": 0, "qkv": inner + 2 * kv, "all": inner + 2 * kv + a.width}[v.attention_bias]
    layer = gains + qk + bias + (a.width if v.token_shift else 0)
    return a.n_layers * layer + norm * a.width + _mlp_vectors(a)


def _mlp_vectors(a: Architecture) -> int:
    """Biases of all MLPs and routers; shared experts add up to one MLP, with one output."""
    experts, gated = a.experts, a.mlp_matrices - 1
    dense = (a.n_layers - a.n_moe_layers) * (gated * a.ff_width + a.width)
    biases = dense if a.vectors.mlp_bias else 0
    if experts is None:
        return biases
    layer = experts.n_experts if experts.router_bias else 0
    if a.vectors.mlp_bias:
        rows = gated * experts.ff_width
        layer += experts.n_experts * (rows + a.width)
        layer += experts.n_shared * rows + a.width if experts.n_shared else 0
    return biases + a.n_moe_layers * layer
