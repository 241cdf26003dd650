"""`Placement`: where a training goes: ranks, batch, memory of the fullest device, seconds."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from isoflop._errors import InputError
from isoflop.accounting import (
    RECOMPUTES,
    Accelerator,
    Architecture,
    Layout,
    StepTime,
    TrainingMemory,
    count_weights,
    layout_faults,
    spreads,
    step_time_of,
    training_memory,
    zero_stages,
)
from isoflop.accounting.training_memory import BYTES_PER_GB
from isoflop.planning.hyperparameters import BatchRoom

FITS = 0.9
"""Odds from which on a training counts as fitting."""
HOPELESS = 0.05
"""Odds below which it is refused."""

_STATE_BYTES = 16.0  # bf16 weights and gradients, AdamW's float32 master and moments
_MOST_DEVICES = 2**22


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a model is to be placed on, and the batch it may take there."""

    device: Accelerator
    context: int
    room: BatchRoom
    micro_batch: int = 1
    max_context_parallel: int = 1
    devices_per_node: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A layout with a batch that its ranks divide."""

    layout: Layout
    batch_sequences: int
    memory: TrainingMemory
    p_fits: float
    step: StepTime | None
    """None where the speed of a link that it needs is not known."""

    @property
    def rank(self) -> tuple[float, float, int, int]:
        """What fits comes first, of that the fastest per sequence; then the plainest."""
        one = self.layout
        plain = RECOMPUTES.index(one.recompute), one.tp * one.pp * one.cp
        if self.p_fits < FITS:
            return 1.0, -self.p_fits, *plain
        seconds = 0.0 if self.step is None else self.step.total_s / self.batch_sequences
        return 0.0, seconds, *plain


def place(architecture: Architecture, site: Site, n_devices: int) -> Placement | None:
    """The fastest layout of exactly `n_devices` that fits, or the likeliest to; None if none is.

    A pipeline never has more stages than micro-batches, so that every rank has work.
    """
    if n_devices > most_devices(architecture, site):
        return None
    found = [
        placement
        for ranks, sequences in _ranks(architecture, site, n_devices)
        for placement in _shared(architecture, site, ranks, sequences)
    ]
    return min(found, key=lambda one: one.rank, default=None)


def fewest(architecture: Architecture, site: Site, start: int = 1) -> Placement | None:
    """The placement on the fewest devices, a power of two, that fits, or the likeliest to.

    None where the batch can occupy none from `start` on.
    """
    best: Placement | None = None
    n_devices, most = start, most_devices(architecture, site)
    while n_devices <= most and (best is None or best.p_fits < FITS):
        last = 2 * n_devices > most
        if last or _states_fit(architecture, site, n_devices):
            found = place(architecture, site, n_devices)
            if found is not None and (best is None or found.p_fits > best.p_fits):
                best = found
        n_devices *= 2
    return best


def most_devices(architecture: Architecture, site: Site) -> int:
    """How many devices the largest batch can occupy: tp · cp for each of its micro-batches."""
    a, room = architecture, site.room
    tensor = max(
        tp
        for tp in range(1, min(site.devices_per_node, a.n_heads) + 1)
        if not layout_faults(a, Layout(tp=tp), context=site.context)
    )
    reach = min(site.max_context_parallel, site.context)
    shared = max(cp for cp in range(1, reach + 1) if site.context % cp == 0)
    return min(_MOST_DEVICES, tensor * shared * (room.most // site.micro_batch))


def refuse_devices(architecture: Architecture, site: Site, n_devices: int) -> InputError:
    """Why no layout of `n_devices` exists, and how many devices there may be."""
    room, most = site.room, most_devices(architecture, site)
    batch = f"a batch of {room.wanted:.0f} sequences ({room.least} to {room.most})"
    if most < 1:
        return InputError(
            f"{batch} has no micro-batch of micro_batch={site.micro_batch} sequences. "
            "Give a smaller micro_batch or a larger batch."
        )
    fewer = 1 << (min(n_devices, most).bit_length() - 1)
    while fewer > 1 and place(architecture, site, fewer) is None:
        fewer //= 2
    if n_devices > most:
        return InputError(
            f"{batch} of {site.context} tokens cannot occupy n_devices={n_devices}: it has work "
            f"for {most} at most. Give n_devices={fewer}, a larger batch_tokens or a shorter "
            "context."
        )
    return InputError(
        f"no layout on n_devices={n_devices} divides {architecture.n_heads} heads, "
        f"{architecture.n_layers} layers and {batch}. Give n_devices={fewer} or another batch."
    )


def refuse_memory(architecture: Architecture, site: Site, best: Placement) -> InputError:
    """How much memory the best layout needs, and how many devices would do."""
    enough = fewest(architecture, site, start=_power_above(best.layout.n_devices))
    remedy = (
        f"Give n_devices={enough.layout.n_devices}, or devices with more memory."
        if enough is not None and enough.p_fits >= FITS
        else "No number of them that the batch can occupy does: give devices with more memory, "
        "a shorter context or a smaller model."
    )
    return InputError(
        f"a model of {count_weights(architecture).total:.4g} parameters does not fit into the "
        f"memory of {best.layout.n_devices} × {site.device.name}: the fullest device needs "
        f"{best.memory.median / BYTES_PER_GB:.4g} GB of {site.device.memory_gb:g} GB. {remedy}"
    )


def _ranks(architecture: Architecture, site: Site, n_devices: int) -> Iterator[tuple[Layout, int]]:
    """Splits of the ranks without faults, each with the batch that it divides."""
    for ranks in spreads(
        n_devices,
        architecture,
        devices_per_node=site.devices_per_node,
        max_cp=site.max_context_parallel,
        micro_batch=site.micro_batch,
    ):
        sequences = site.room.sequences(ranks.dp * ranks.micro_batch)
        if sequences is None or sequences < ranks.dp * ranks.micro_batch * ranks.pp:
            continue
        if not layout_faults(architecture, ranks, context=site.context, batch_sequences=sequences):
            yield ranks, sequences


def _shared(
    architecture: Architecture, site: Site, ranks: Layout, sequences: int
) -> Iterator[Placement]:
    """For every sharing of states the least recomputation that fits, or the likeliest to fit.

    More recomputation takes more time, and so does more sharing where nothing is recomputed.
    """
    for zero in zero_stages(ranks):
        placement = None
        for recompute in RECOMPUTES:
            layout = replace(ranks, zero=zero, recompute=recompute)
            placement = _placed(architecture, site, layout, sequences)
            if placement.p_fits >= FITS:
                break
        assert placement is not None
        yield _timed(architecture, site, placement)
        if placement.p_fits >= FITS and placement.layout.recompute == "none":
            return


def _placed(architecture: Architecture, site: Site, layout: Layout, sequences: int) -> Placement:
    memory = training_memory(architecture, layout, context=site.context, batch_sequences=sequences)
    return Placement(
        layout=layout,
        batch_sequences=sequences,
        memory=memory,
        p_fits=memory.p_fits(site.device.memory_gb),
        step=None,
    )


def _timed(architecture: Architecture, site: Site, placement: Placement) -> Placement:
    """With its step, where every link that so many devices need has a known speed."""
    n_devices, device = placement.layout.n_devices, site.device
    apart = n_devices > site.devices_per_node and device.scale_out_gbit is None
    if apart or (n_devices > 1 and device.scale_up_gbps is None):
        return placement
    step = step_time_of(
        architecture,
        placement.layout,
        device,
        context=site.context,
        batch_sequences=placement.batch_sequences,
        node_devices=site.devices_per_node,
    )
    return replace(placement, step=step)


def _states_fit(architecture: Architecture, site: Site, n_devices: int) -> bool:
    """Whether the states alone, shared over all devices, leave any layout a chance."""
    states = _STATE_BYTES * count_weights(architecture).total / n_devices
    memory = TrainingMemory(states=states, activations=0.0, logits=0.0, gathered=0.0)
    return memory.p_fits(site.device.memory_gb) >= FITS


def _power_above(number: int) -> int:
    """The smallest power of two above a number."""
    return 1 << number.bit_length()
