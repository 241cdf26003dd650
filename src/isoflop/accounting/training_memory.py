"""`TrainingMemory`: bytes of a training step on its fullest device, and the odds that they fit."""

from dataclasses import dataclass

from isoflop._types import LEVEL
from isoflop.accounting.architecture import Architecture
from isoflop.accounting.checks import given, require_counts, require_positive
from isoflop.accounting.layout import Layout
from isoflop.accounting.weights import count_weights

BYTES_PER_GB = 2.0**30
"""Makers' "80 GB" of device memory is 80 GiB less a per cent (an H100 shows 81,559 MiB)."""

# What the sum of the parts is multiplied by (allocator, buffers of communication, kernels' scratch
# space), uniform; and what a process holds besides. Source: reference of the planner, section 5.4.
_FACTOR_LOW, _FACTOR_HIGH = 1.05, 1.40
PROCESS_BYTES = 1.5 * 2.0**30

_ACTIVATION_BYTES = 2.0  # bf16
# Logits: a bf16 copy, the float32 one and its gradient.
_LOGIT_BYTES = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingMemory:
    """Bytes by part on the fullest device; the total is (their sum)·U(1.05, 1.4) + 1.5 GiB."""

    states: float
    """Weights, gradients and the optimiser's numbers, as far as this device holds them."""
    activations: float
    """What the backward passes of all micro-batches in flight need."""
    logits: float
    gathered: float
    """Whole layers that sharded weights are gathered into."""

    @property
    def parts(self) -> float:
        """Sum of the parts [bytes], before workspace."""
        return self.states + self.activations + self.logits + self.gathered

    def quantile(self, share: float) -> float:
        """Bytes that the step stays below with probability `share`."""
        factor = _FACTOR_LOW + share * (_FACTOR_HIGH - _FACTOR_LOW)
        return self.parts * factor + PROCESS_BYTES

    @property
    def median(self) -> float:
        """Median of the total [bytes]."""
        return self.quantile(0.5)

    @property
    def low(self) -> float:
        """Lower end of the 90 % interval [bytes]."""
        return self.quantile((1 - LEVEL) / 2)

    @property
    def high(self) -> float:
        """Upper end of the 90 % interval [bytes]."""
        return self.quantile((1 + LEVEL) / 2)

    def p_fits(self, memory_gb: float) -> float:
        """Probability that the step fits: ((M - 1.5 GiB)/parts - 1.05) / 0.35, within 0 and 1.

        Args:
            memory_gb: memory of the device as its maker says it, in GiB.

        Raises:
            InputError: `memory_gb` is not positive.
        """
        require_positive({"memory_gb": memory_gb}, "Give the memory of one device.")
        factor = (memory_gb * BYTES_PER_GB - PROCESS_BYTES) / self.parts
        share = (factor - _FACTOR_LOW) / (_FACTOR_HIGH - _FACTOR_LOW)
        return min(1.0, max(0.0, share))


def training_memory(
    architecture: Architecture,
    layout: Layout,
    *,
    context: int,
    batch_sequences: int | None = None,
) -> TrainingMemory:
    """Bytes of a mixed-precision step: states + activations + logits + gathered layers.

    Attention is fused (no T² scores), experts are evenly loaded. Beside `training_memory_bytes`,
    which describes isoflop's own trainer on one device: this one counts keys once, not once a
    query head, and neither token-shift nor norms of queries; with `gradient_bytes=4` the states
    are the same, activations within 10 %.

    Args:
        architecture: the model.
        layout: its spread; see `layout_faults` for what does not divide (here rounded up).
        context: tokens of a sequence, T.
        batch_sequences: sequences of an optimiser step; None: enough to fill the pipeline.

    Raises:
        InputError: context or batch is not positive.

    Source: Korthikanti et al. 2022, arXiv:2205.05198, section 4 (activations, interleaving);
    Rajbhandari et al. 2020, arXiv:1910.02054, section 5 (ZeRO).
    """
    require_counts(given({"context": context, "batch_sequences": batch_sequences}))
    n_micro = None
    if batch_sequences is not None:
        n_micro = max(1, batch_sequences // (layout.dp * layout.micro_batch))
    ends = ((True, False), (False, True)) if layout.pp > 1 else ((True, True),)
    stages = (
        _stage(architecture, layout, context, n_micro, first=first, last=last)
        for first, last in ends
    )
    return max(stages, key=lambda memory: memory.parts)


def _stage(
    architecture: Architecture,
    layout: Layout,
    context: int,
    n_micro: int | None,
    *,
    first: bool,
    last: bool,
) -> TrainingMemory:
    """A pipeline's first stage keeps most micro-batches, its last one the logits."""
    tokens = layout.micro_batch * context / layout.cp
    layers = -(-architecture.n_layers // layout.pp)
    in_flight = _in_flight(layout, n_micro, rank=0 if first else layout.pp - 1)
    per_layer = tokens / layout.tp * kept_bytes_per_token(architecture, layout.recompute)
    activations = per_layer * layers * in_flight
    if layout.recompute == "full":  # the layer that is being recomputed is whole for a moment
        activations += tokens / layout.tp * kept_bytes_per_token(architecture, "none")
    logits = 0.0
    if last and not layout.chunked_loss:
        logits = tokens * architecture.vocab_size * _LOGIT_BYTES / layout.tp
    dense, routed = _stage_weights(architecture, layout, first=first, last=last)
    ranks = layout.dp * layout.cp
    return TrainingMemory(
        states=dense * _state_bytes(layout, ranks)
        + routed * _state_bytes(layout, ranks / layout.ep),
        activations=activations,
        logits=logits,
        gathered=_gathered(architecture, layout, dense, routed),
    )


def _stage_weights(
    architecture: Architecture, layout: Layout, *, first: bool, last: bool
) -> tuple[float, float]:
    """Weights of a stage's rank before sharing by ZeRO: those all tokens meet, routed experts."""
    share = -(-architecture.n_layers // layout.pp) / architecture.n_layers / layout.tp
    layers, routed = _layer_weights(architecture)
    table = architecture.vocab_size * architecture.width
    # A tied table lies on the first and on the last stage of a pipeline.
    tables = table if architecture.tied_head else table * (first + last)
    return layers * share + tables / layout.tp, routed * share / layout.ep


def _layer_weights(architecture: Architecture) -> tuple[int, int]:
    """Weights of all layers: those every token meets (and the last norm), routed experts."""
    count = count_weights(architecture)
    routed = count.routed_experts
    return count.total - count.embedding - count.head - routed, routed


def _state_bytes(layout: Layout, ranks: float) -> float:
    """Bytes a weight, shared over `ranks` as far as `zero` says."""
    shared = [layout.zero >= 3, layout.zero >= 2, layout.zero >= 1]
    kinds = [layout.weight_bytes, layout.gradient_bytes, layout.optimiser_bytes]
    return sum(size / ranks if over else size for size, over in zip(kinds, shared, strict=True))


def _in_flight(layout: Layout, n_micro: int | None, rank: int) -> float:
    """Micro-batches whose activations a pipeline rank keeps, in whole passes of its layers.

    1F1B: pp - rank. Interleaved over v chunks: (2(pp - rank - 1) + (v - 1)·pp + 1)/v, on rank 0
    the pp·(1 + (pp - 1)/(pp·v)) of Korthikanti et al., section 4.2.3.
    """
    v = layout.virtual_stages
    kept = float(layout.pp - rank)
    if v > 1:
        kept = (2 * (layout.pp - rank - 1) + (v - 1) * layout.pp + 1) / v
    return kept if n_micro is None else min(kept, float(n_micro))


def _gathered(architecture: Architecture, layout: Layout, dense: float, routed: float) -> float:
    """Bytes of weights that FSDP has whole: two layers and the tables in bf16.

    In a pipeline a stage stays gathered between its micro-batches, its gradients whole in float32.
    """
    if layout.zero < 3 or layout.dp * layout.cp == 1:
        return 0.0
    if layout.pp > 1:
        return 6.0 * (dense + routed)
    layers, routed = _layer_weights(architecture)
    layer = layers / architecture.n_layers
    experts = routed / max(1, architecture.n_moe_layers) / layout.ep
    table = architecture.vocab_size * architecture.width
    tables = table if architecture.tied_head else 2 * table
    return 2.0 * (2 * (layer + experts) + tables) / layout.tp


def kept_bytes_per_token(architecture: Architecture, recompute: str) -> float:
    """Bytes of activations that a layer keeps of one token, mean over the layers.

    With H the head's width, h heads and k key heads, a gated MLP: `none` 2·(4d + (3h + 3k)·H +
    4f), what every product reads; `selective` 1.5·(2d + (2h + 2k)·H + 2f), results of every
    second product kept, the rest recomputed; `full` 2·d, the layer's input.
    """
    d = architecture.width
    if recompute == "full":
        return _ACTIVATION_BYTES * d
    everything = recompute == "none"
    n_moe = architecture.n_moe_layers
    mlp = float((architecture.n_layers - n_moe) * _dense_values(architecture, everything))
    if n_moe:
        mlp += n_moe * _expert_values(architecture, everything)
    values = _attention_values(architecture, everything) + mlp / architecture.n_layers
    if everything:
        return _ACTIVATION_BYTES * (4 * d + values)
    return 0.75 * _ACTIVATION_BYTES * (2 * d + values)


def _attention_values(architecture: Architecture, everything: bool) -> int:
    """Queries, keys, values and the heads' output; all kept: also queries and keys once turned."""
    heads, latent = architecture.n_heads, architecture.latent
    if latent is None:
        keys = architecture.n_kv_heads
        values = (2 * heads + 2 * keys) * architecture.head_dim
        return values + (heads + keys) * architecture.head_dim * everything
    ranks = (latent.q_rank or 0) + latent.kv_rank
    values = ranks + latent.rope_dim + heads * (latent.nope_dim + 2 * latent.v_dim)
    values += heads * architecture.head_dim
    # Normed latents, then queries and keys with their rotary parts joined on.
    return values + (ranks + 2 * heads * architecture.head_dim) * everything


def _dense_values(architecture: Architecture, everything: bool) -> int:
    return _mlp_values(architecture.mlp_matrices, everything) * architecture.ff_width


def _mlp_values(matrices: int, everything: bool) -> int:
    """Multiples of an MLP's width: gate, up, gated and their product; plain: before and after."""
    if everything:
        return 4 if matrices == 3 else 2
    return matrices - 1


def _expert_values(architecture: Architecture, everything: bool) -> int:
    """A routed token is copied to each of its experts and back; the router keeps its odds."""
    experts = architecture.experts
    assert experts is not None
    routed = experts.experts_per_token
    kept = _mlp_values(architecture.mlp_matrices, everything) * experts.ff_width
    copies = (3 if everything else 2) * routed * architecture.width
    return kept * (routed + experts.n_shared) + copies + (1 + everything) * experts.n_experts
