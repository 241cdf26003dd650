"""`StepWork` and `StepLayout`: an optimiser step in plain numbers, or of a model under a layout."""

from dataclasses import dataclass

from isoflop._errors import InputError
from isoflop.accounting.architecture import Architecture
from isoflop.accounting.checks import fields_of, require_positive
from isoflop.accounting.layout import Layout
from isoflop.accounting.token_flops import hardware_flops
from isoflop.accounting.weights import count_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class StepWork:
    """What one optimiser step has to do, in plain numbers."""

    batch_tokens: int
    """Tokens of the step, over all devices."""
    flops_per_token: float
    """Training FLOPs per token, recomputation included where there is any."""
    n_params: float
    """Every stored parameter, experts included."""
    n_layers: int
    width: int
    n_moe_layers: int = 0
    experts_per_token: int = 0
    """Routed experts that a token goes to."""
    key_values: int = 0
    """Numbers that a layer's keys and values of a token are: what context parallelism sends."""

    def __post_init__(self) -> None:
        """Raise InputError where a number cannot be."""
        require_positive(
            fields_of(self, "batch_tokens", "flops_per_token", "n_params", "n_layers", "width"),
            "Correct it.",
        )
        if self.n_moe_layers and not self.experts_per_token:
            raise InputError(
                f"n_moe_layers={self.n_moe_layers} needs `experts_per_token > 0`. Give it."
            )

    @classmethod
    def of(
        cls, architecture: Architecture, *, batch_tokens: int, context: int, recompute: str = "none"
    ) -> "StepWork":
        """The work of a model's step: exact causal FLOPs, and what `recompute` does again.

        Raises:
            InputError: a number is not positive, or `recompute` unknown.
        """
        a, experts = architecture, architecture.experts
        key_values = a.n_kv_heads * (a.head_dim + a.v_dim)
        if a.latent is not None:  # the latent travels, not what it is unfolded to
            key_values = a.latent.kv_rank + a.latent.rope_dim
        return cls(
            batch_tokens=batch_tokens,
            flops_per_token=hardware_flops(a, context, recompute),
            n_params=count_weights(a).total,
            n_layers=a.n_layers,
            width=a.width,
            n_moe_layers=a.n_moe_layers,
            experts_per_token=0 if experts is None else experts.experts_per_token,
            key_values=key_values,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLayout:
    """How the devices share a step: n_devices = tensor · pipeline · data."""

    n_devices: int
    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    """Devices over which the experts of a layer are spread; a part of tensor · data."""
    context: int = 1
    """Devices that share a sequence; a part of data."""
    microbatches: int = 1
    """Of one pipeline, in a step."""
    virtual_stages: int = 1
    """Interleaved stages of a device."""
    node_devices: int = 8
    """Devices joined by the fast scale-up link: 8 of a GPU node, 72 of an NVL72."""
    zero: int = 3
    """As in `Layout`: from 1 on the optimiser's work is shared over `data`, from 3 on weights are
    gathered for each pass (FSDP); below, gradients are reduced and weights gathered once."""

    def __post_init__(self) -> None:
        """Raise InputError where the numbers do not fit together."""
        names = (
            "n_devices",
            "tensor",
            "pipeline",
            "expert",
            "context",
            "microbatches",
            "virtual_stages",
            "node_devices",
        )
        require_positive(fields_of(self, *names), "Correct it.")
        if self.n_devices % (self.tensor * self.pipeline):
            raise InputError(
                f"n_devices={self.n_devices} is no multiple of tensor · pipeline = "
                f"{self.tensor} · {self.pipeline}. Choose numbers that divide it."
            )
        if (self.tensor * self.data) % self.expert:
            raise InputError(
                f"expert={self.expert} must divide tensor · data = {self.tensor} · {self.data}. "
                "Choose another number."
            )
        if self.data % self.context:
            raise InputError(
                f"context={self.context} must divide data = {self.data}. Choose another number."
            )

    @classmethod
    def of(cls, layout: Layout, *, batch_sequences: int, node_devices: int = 8) -> "StepLayout":
        """How a layout shares a step of `batch_sequences`; what does not divide is rounded up."""
        return cls(
            n_devices=layout.n_devices,
            tensor=layout.tp,
            pipeline=layout.pp,
            expert=layout.ep,
            context=layout.cp,
            microbatches=-(-batch_sequences // (layout.dp * layout.micro_batch)),
            virtual_stages=layout.virtual_stages,
            node_devices=node_devices,
            zero=layout.zero,
        )

    @property
    def data(self) -> int:
        """Replicas that see different tokens."""
        return self.n_devices // (self.tensor * self.pipeline)
