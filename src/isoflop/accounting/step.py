"""`StepTime`: where the seconds of one optimiser step go: matrices, memory, links, bubble.

With n devices, tensor t, pipeline p, data g, expert e, B tokens of F FLOPs each:

- compute = B·F / (n·peak·efficiency); memory = reads of weights and states beyond that.
- tensor: 4 all-reduces a layer of 2·(t-1)/t · B/g · d · 2 bytes, none hidden.
- data: (g-1)/g · 6·N/(t·p) bytes (gathered twice, reduced once; DDP 4), of which computing hides
  all but a layer's share.
- expert: 4 all-to-alls a layer of (e-1)/e · k · B/(g·t) · d · 2 bytes, none hidden.
- context, c of the g: keys and values go round the ring three times (forward, backward, their
  gradients), 3·(c-1)/c · c·B/(g·t) · 2·key heads·H · 2 bytes a layer, none hidden.
- bubble = (p-1)/(v·m) of all that a stage does.

Groups that fit into a node use its scale-up link, others the scale-out one. `step_time_of` makes
these numbers of an `Architecture` under a `Layout`.

Source: Narayanan et al. 2021, arXiv:2104.04473, sections 2.2 and 3 (bubble, tensor); Rajbhandari
et al. 2020, arXiv:1910.02054, section 7 (data); Lepikhin et al. 2020, arXiv:2006.16668 (expert);
Liu et al. 2023, arXiv:2310.01889, section 3 (context).
"""

from dataclasses import dataclass, fields

from isoflop._errors import InputError
from isoflop.accounting.architecture import Architecture
from isoflop.accounting.hardware import Accelerator
from isoflop.accounting.layout import Layout
from isoflop.accounting.step_work import StepLayout, StepWork

_ELEMENT_BYTES = 2.0  # activations, weights and gradients travel in bf16
# A weight is read in the forward pass and twice in the backward one, for both gradients.
_WEIGHT_READS = 3.0
# AdamW reads and writes float32 master, both moments (24 B), reads the gradient, writes bf16.
_OPTIMISER_BYTES = 28.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """Seconds of one optimiser step by what is waited for; the parts add up."""

    compute_s: float
    memory_s: float
    """What reading weights and updating them takes beyond computing."""
    tensor_s: float
    """All-reduces of tensor parallelism."""
    data_s: float
    """Gathers and reductions that computing does not hide."""
    expert_s: float
    """All-to-alls of expert parallelism."""
    context_s: float
    """Keys and values of context parallelism."""
    bubble_s: float
    """Stages of a pipeline that wait for the first and the last micro-batch."""

    @property
    def total_s(self) -> float:
        """Seconds of the step."""
        return sum(self._parts.values())

    @property
    def binds(self) -> str:
        """What takes most of it: compute, memory, tensor, data, expert, context or bubble."""
        return max(self._parts, key=self._parts.__getitem__)

    @property
    def _parts(self) -> dict[str, float]:
        return {field.name.removesuffix("_s"): getattr(self, field.name) for field in fields(self)}


def step_time(
    work: StepWork, layout: StepLayout, accelerator: Accelerator, efficiency: float
) -> StepTime:
    """One step [s] by the roofline, exposed communication and the bubble; formulas above.

    Args:
        work: the step.
        layout: how devices share it.
        accelerator: what they are.
        efficiency: share of the bf16 peak that matrix products reach, 0 to 1: see
            `matmul_efficiency`.

    Raises:
        InputError: efficiency outside (0, 1], a link whose speed is not known, or fewer
            layers or tokens than the layout needs.
    """
    if not 0 < efficiency <= 1:
        raise InputError(
            f"`0 < efficiency <= 1` must hold, but got efficiency={efficiency}. 0.4-0.6 is usual."
        )
    _require_work(work, layout)
    peak = layout.n_devices * accelerator.bf16_tflops * 1e12
    compute = work.batch_tokens * work.flops_per_token / (peak * efficiency)
    memory = max(0.0, _memory_bytes(work, layout) / (accelerator.bandwidth_gbps * 1e9) - compute)
    tensor = _tensor_bytes(work, layout) / _link(layout, accelerator, layout.tensor)
    expert = _expert_bytes(work, layout) / _link(layout, accelerator, _expert_span(layout))
    ring = _context_bytes(work, layout) / _link(layout, accelerator, _context_span(layout))
    gathers = _data_bytes(work, layout) / _link(layout, accelerator, _data_span(layout))
    hidden = min(compute, gathers * (1.0 - layout.pipeline / max(work.n_layers, layout.pipeline)))
    bubble = (layout.pipeline - 1) / (layout.virtual_stages * layout.microbatches)
    return StepTime(
        compute_s=compute,
        memory_s=memory,
        tensor_s=tensor,
        data_s=gathers - hidden,
        expert_s=expert,
        context_s=ring,
        bubble_s=bubble * (compute + memory + tensor + expert + ring),
    )


def step_time_of(
    architecture: Architecture,
    layout: Layout,
    accelerator: Accelerator,
    *,
    context: int,
    batch_sequences: int,
    node_devices: int = 8,
    efficiency: float | None = None,
) -> StepTime:
    """One step [s] of a model under a layout; what the layout recomputes is done.

    Args:
        architecture: the model.
        layout: its spread; see `layout_faults` for what does not divide.
        accelerator: the devices.
        context: tokens of a sequence.
        batch_sequences: sequences of an optimiser step.
        node_devices: devices joined by the fast link.
        efficiency: as in `step_time`; None: the median of `matmul_efficiency`.

    Raises:
        InputError: as `step_time`.
    """
    if efficiency is None:
        efficiency, _ = matmul_efficiency(accelerator, moe=architecture.experts is not None)
    work = StepWork.of(
        architecture,
        batch_tokens=batch_sequences * context,
        context=context,
        recompute=layout.recompute,
    )
    spread = StepLayout.of(layout, batch_sequences=batch_sequences, node_devices=node_devices)
    return step_time(work, spread, accelerator, efficiency)


def matmul_efficiency(
    accelerator: Accelerator, *, moe: bool = False, fp8: bool = False
) -> tuple[float, float]:
    """(median, spread of its logarithm) of the share of the bf16 peak that a step computes at.

    Calibrated on whole published steps, whose communication is partly in it: added to exposed
    communication it errs to the slow side. One measured rate of yours is worth more than all of
    it: use `hours_from_rate`.

    Source: steps published with Megatron-LM, Megatron-Bridge, torchtitan and DeepSeek-V3, as of
    2026-11: A100 bf16 0.48-0.62, H100 bf16 0.22-0.45 (median 0.39), H100 fp8 0.36-0.38 of the
    fp8 peak if dense, GB200 bf16 mixtures 0.30; DeepSeek-V3, a mixture in fp8 on H800, 385 TFLOP/s.
    """
    if fp8 and accelerator.fp8_tflops is not None:
        of_fp8 = 0.195 if moe else 0.37
        return of_fp8 * accelerator.fp8_tflops / accelerator.bf16_tflops, 0.25 if moe else 0.15
    if accelerator.bf16_tflops < 600:
        return 0.55, 0.10
    # ASSUMPTION: mixtures on H100 lose as they do on GB200.
    return (0.30, 0.25) if moe else (0.39, 0.22)


def _require_work(work: StepWork, layout: StepLayout) -> None:
    """Every replica needs a token for each micro-batch, every stage a layer."""
    if layout.data * layout.microbatches > work.batch_tokens:
        raise InputError(
            f"batch_tokens={work.batch_tokens} cannot be shared by data · microbatches = "
            f"{layout.data} · {layout.microbatches}. Use a larger batch or fewer devices."
        )
    if layout.pipeline * layout.virtual_stages > work.n_layers:
        raise InputError(
            f"n_layers={work.n_layers} cannot fill pipeline · virtual_stages = "
            f"{layout.pipeline} · {layout.virtual_stages}. Use fewer stages."
        )


def _memory_bytes(work: StepWork, layout: StepLayout) -> float:
    """Bytes that a device's memory moves for weights and optimiser in a step."""
    held = _held(work, layout)
    updated = work.n_params / layout.n_devices if layout.zero else held
    return layout.microbatches * _WEIGHT_READS * _ELEMENT_BYTES * held + _OPTIMISER_BYTES * updated


def _tensor_bytes(work: StepWork, layout: StepLayout) -> float:
    tokens = work.batch_tokens / layout.data
    share = 2.0 * (layout.tensor - 1) / layout.tensor
    layers = work.n_layers / layout.pipeline
    return 4.0 * layers * share * tokens * work.width * _ELEMENT_BYTES


def _expert_bytes(work: StepWork, layout: StepLayout) -> float:
    tokens = work.batch_tokens / (layout.data * layout.tensor) * work.experts_per_token
    share = (layout.expert - 1) / layout.expert
    layers = work.n_moe_layers / layout.pipeline
    return 4.0 * layers * share * tokens * work.width * _ELEMENT_BYTES


def _context_bytes(work: StepWork, layout: StepLayout) -> float:
    tokens = work.batch_tokens / (layout.data * layout.tensor) * (layout.context - 1)
    layers = work.n_layers / layout.pipeline
    return 3.0 * layers * tokens * work.key_values * _ELEMENT_BYTES


def _data_bytes(work: StepWork, layout: StepLayout) -> float:
    share = (layout.data - 1) / layout.data
    passes = 3.0 if layout.zero >= 3 else 2.0  # DDP: an all-reduce is a reduction and a gather
    return passes * share * _held(work, layout) * _ELEMENT_BYTES


def _held(work: StepWork, layout: StepLayout) -> float:
    """Parameters that a device computes with, gathered."""
    held = work.n_params / (layout.tensor * layout.pipeline)
    # Nearly all weights of a mixture are its experts.
    return held / layout.expert if work.n_moe_layers else held


def _data_span(layout: StepLayout) -> int:
    """Devices that a data-parallel group reaches over; replicas lie beside tensor groups."""
    return 1 if layout.data == 1 else layout.data * layout.tensor


def _expert_span(layout: StepLayout) -> int:
    """Devices that the experts of a layer reach over: data ranks first, which lie apart."""
    apart = layout.expert > 1 and layout.data % layout.expert == 0
    return layout.expert * layout.tensor if apart else layout.expert


def _context_span(layout: StepLayout) -> int:
    return 1 if layout.context == 1 else layout.context * layout.tensor


def _link(layout: StepLayout, accelerator: Accelerator, span: int) -> float:
    """Bytes a second, one way, of the link that joins `span` devices."""
    if span <= 1:
        return float("inf")  # nothing travels
    inside = span <= layout.node_devices
    speed = accelerator.scale_up_gbps if inside else accelerator.scale_out_gbit
    if speed is None:
        key = "scale_up_gbps" if inside else "scale_out_gbit"
        raise InputError(
            f"{accelerator.name} has no {key}, which {span} devices that work together need. "
            "Give it in a hardware file of your own."
        )
    return speed * 1e9 if inside else speed * 1e9 / 8.0
