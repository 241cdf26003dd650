"""`Layout`: how a training is spread over devices, and which spreads a model admits."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from isoflop._errors import InputError
from isoflop.accounting.architecture import Architecture
from isoflop.accounting.checks import fields_of, require_counts
from isoflop.accounting.token_flops import RECOMPUTES, Recompute


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Parallel ranks of each kind, micro-batch, sharding and bytes of a training's states.

    Devices are dp·tp·pp·cp; the `ep` ranks that share the experts are taken from the dp·cp ranks.
    The default bytes (2 + 2 + 12) are bf16 weights and gradients with AdamW's float32 master and
    moments; Megatron keeps gradients in float32 (`gradient_bytes=4`).
    """

    dp: int = 1
    tp: int = 1
    """Tensor parallel ranks, sequence parallel outside the matrices."""
    pp: int = 1
    cp: int = 1
    ep: int = 1
    zero: int = 0
    """Shared over dp·cp: 1 optimiser, 2 gradients too, 3 weights too (FSDP)."""
    micro_batch: int = 1
    """Sequences of one forward pass on one data-parallel rank."""
    virtual_stages: int = 1
    """Chunks of layers a pipeline rank holds (interleaved 1F1B where above 1)."""
    recompute: Recompute = "none"
    weight_bytes: float = 2.0
    gradient_bytes: float = 2.0
    optimiser_bytes: float = 12.0
    chunked_loss: bool = False
    """The loss is computed in pieces and never holds all logits."""

    def __post_init__(self) -> None:
        counts = ("dp", "tp", "pp", "cp", "ep", "micro_batch", "virtual_stages")
        require_counts(fields_of(self, *counts))
        for name in ("weight_bytes", "gradient_bytes", "optimiser_bytes"):
            value = getattr(self, name)
            if not 0 <= value < 64:
                raise InputError(
                    f"`0 <= {name} < 64` must hold, but got {name}={value}. "
                    "Give bytes a parameter, 2 for bf16."
                )
        if self.zero not in (0, 1, 2, 3):
            raise InputError(f"`zero` must be 0, 1, 2 or 3, but got zero={self.zero!r}. Give one.")
        if self.recompute not in RECOMPUTES:
            raise InputError(
                f"`recompute` must be one of {', '.join(RECOMPUTES)}, "
                f"but got {self.recompute!r}. Use one of these names."
            )

    @property
    def n_devices(self) -> int:
        """dp·tp·pp·cp."""
        return self.dp * self.tp * self.pp * self.cp


def layout_faults(
    architecture: Architecture,
    layout: Layout,
    *,
    context: int,
    batch_sequences: int | None = None,
) -> tuple[str, ...]:
    """One sentence for every division of the model or batch that leaves a rest; empty if none.

    Frameworks pad some of these away (a layer more on some stages, copies of key heads).

    Args:
        architecture: the model.
        layout: where it is to go.
        context: tokens of a sequence.
        batch_sequences: sequences of one optimiser step; None leaves the batch open.
    """
    heads, keys = architecture.n_heads, architecture.n_kv_heads
    stages = layout.pp * layout.virtual_stages
    faults = [
        _rest("n_heads", heads, "tp", layout.tp),
        _rest("n_layers", architecture.n_layers, "pp * virtual_stages", stages),
        _rest("context", context, "cp", layout.cp),
        _rest("dp * cp", layout.dp * layout.cp, "ep", layout.ep),
    ]
    if keys % layout.tp and layout.tp % keys:
        faults.append(_rest("n_kv_heads", keys, "tp", layout.tp))
    experts = architecture.experts
    if experts is not None:
        faults.append(_rest("n_experts", experts.n_experts, "ep", layout.ep))
        faults.append(_rest("ff_width of an expert", experts.ff_width, "tp", layout.tp))
    elif layout.ep > 1:
        faults.append(f"ep={layout.ep} shares experts, but {architecture.name} has none.")
    if architecture.n_moe_layers < architecture.n_layers:
        faults.append(_rest("ff_width", architecture.ff_width, "tp", layout.tp))
    if layout.virtual_stages > 1 and layout.pp == 1:
        faults.append(f"virtual_stages={layout.virtual_stages} needs a pipeline, but pp=1.")
    if batch_sequences is not None:
        faults += _batch_faults(layout, batch_sequences)
    return tuple(fault for fault in faults if fault)


def _batch_faults(layout: Layout, batch_sequences: int) -> list[str]:
    pass_sequences = layout.dp * layout.micro_batch
    if batch_sequences < pass_sequences:
        return [
            f"a batch of {batch_sequences} sequences is less than dp * micro_batch = "
            f"{pass_sequences}: some ranks would have nothing to do."
        ]
    faults = [_rest("batch_sequences", batch_sequences, "dp * micro_batch", pass_sequences)]
    if layout.virtual_stages > 1 and not faults[0]:
        n_micro = batch_sequences // pass_sequences
        faults.append(_rest("micro-batches of a step", n_micro, "pp", layout.pp))
    return faults


def _rest(whole_name: str, whole: int, part_name: str, part: int) -> str:
    if whole % part == 0:
        return ""
    return f"{whole_name} = {whole} is not a multiple of {part_name} = {part}."


def layouts(
    n_devices: int,
    architecture: Architecture,
    *,
    context: int,
    batch_sequences: int,
    devices_per_node: int = 8,
    max_cp: int = 1,
    micro_batch: int = 1,
) -> tuple[Layout, ...]:
    """Every layout of exactly `n_devices` without faults, fewest model-parallel ranks first.

    Tensor parallel ranks stay inside a node. With data-parallel ranks to share over, states are
    shared as ZeRO-1 and as FSDP (`zero` 1 and 3); each comes with every kind of recomputation.

    Raises:
        InputError: a count below 1, or no layout divides model and batch; the text says why.
    """
    counts = {"n_devices": n_devices, "context": context, "batch_sequences": batch_sequences}
    counts |= {"devices_per_node": devices_per_node, "max_cp": max_cp}
    require_counts(counts)
    found: list[Layout] = []
    faults: tuple[str, ...] = ()
    for ranks in spreads(
        n_devices,
        architecture,
        devices_per_node=devices_per_node,
        max_cp=max_cp,
        micro_batch=micro_batch,
    ):
        wrong = layout_faults(architecture, ranks, context=context, batch_sequences=batch_sequences)
        if not wrong:
            found += [
                replace(ranks, zero=zero, recompute=recompute)
                for zero, recompute in product(zero_stages(ranks), RECOMPUTES)
            ]
        faults = faults or wrong
    if not found:
        raise InputError(
            f"no layout of {architecture.name} on n_devices={n_devices} divides model and batch: "
            f"{faults[0]} Give other devices or another batch."
        )
    return tuple(sorted(found, key=lambda one: (one.tp * one.pp * one.cp, one.pp, one.ep)))


def spreads(
    n_devices: int,
    architecture: Architecture,
    *,
    devices_per_node: int = 8,
    max_cp: int = 1,
    micro_batch: int = 1,
) -> Iterator[Layout]:
    """Ranks of every kind that make `n_devices`, with or without faults; no state is shared."""
    experts = architecture.experts.n_experts if architecture.experts is not None else 1
    tensor = [t for t in _divisors(n_devices) if t <= devices_per_node]
    pipeline = [p for p in _divisors(n_devices) if p <= architecture.n_layers]
    context = [c for c in _divisors(n_devices) if c <= max_cp]
    for tp, pp, cp in product(tensor, pipeline, context):
        if n_devices % (tp * pp * cp):
            continue
        dp = n_devices // (tp * pp * cp)
        for ep in _divisors(experts):
            if dp * cp % ep == 0:
                yield Layout(dp=dp, tp=tp, pp=pp, cp=cp, ep=ep, micro_batch=micro_batch)


def zero_stages(layout: Layout) -> tuple[int, ...]:
    """`zero` worth trying: the optimiser shared, or all; none without ranks to share over."""
    return (1, 3) if layout.dp * layout.cp > 1 else (0,)


def _divisors(number: int) -> list[int]:
    small = [n for n in range(1, int(number**0.5) + 1) if number % n == 0]
    return sorted({*small, *(number // n for n in small)})
