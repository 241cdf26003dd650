"""`Cluster`: what a number of devices makes of one training: layouts that fit, and speed lost.

The MFU of published runs holds what they lost at the size they had. Here is what a run loses
beside them: to the interruptions of a larger cluster, and to the communication of shorter steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import log2

from isoflop.accounting import (
    RECOMPUTES,
    Accelerator,
    Architecture,
    Layout,
    StepLayout,
    StepWork,
    TrainingMemory,
    layouts,
    matmul_efficiency,
    step_time,
    token_flops,
    training_memory,
)

HOURS_BETWEEN = 45_600.0
"""Device-hours between interruptions: 466 in 54 days of 16,384 H100.
Source: Llama 3, arXiv:2407.21783, sec. 3.3.4."""
HOURS_LOST = 0.28
"""Hours that the whole cluster loses to one of them: restart, and what was done since the last
checkpoint. ASSUMPTION: all of the tenth that was lost there ("over 90 % effective training time"),
0.1 · 54 · 24 / 466, and as much in a cluster of any size."""
USUAL_DEVICES = 1_234
"""Geometric mean of the devices of published runs on 256 and more: their MFU holds the
interruptions of so many."""
SHORTEST_STEP = 0.3
"""Seconds that a device of the published runs computes in a step, at least: SmolLM3 3B, OLMoE and
Nemotron-4 15B 0.3-0.4, OLMo 3 7B 0.5, Llama 3.1 405B 7. What steps of that length wait for is in
their MFU; only what shorter ones wait for besides is taken from `step_time`."""
NODE, POD = 8, 256
"""ASSUMPTION: devices that the fast link joins, of a GPU's node and of the smallest pod of TPUs."""


Laid = tuple[Layout, TrainingMemory]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One way to spread the training, and its share of the time that goes into its FLOPs."""

    layout: Layout
    memory: TrainingMemory
    share: float


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A number of devices, whatever they are, for one training."""

    n_devices: int
    model: Architecture
    context: int
    """Tokens of a sequence."""
    batch_tokens: float
    _fitting: dict[tuple[float, float], list[Laid]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """By memory and odds: many accelerators have as much."""
    _spreads: dict[tuple[Accelerator, float], Spread] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """By accelerator and odds: what other clusters are compared with is asked for again."""

    _by_node: dict[int, dict[Layout, StepLayout]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def batch_sequences(self) -> int:
        """Sequences of a batch that the devices can share: near the batch asked for.

        ASSUMPTION: a batch may move by up to 41 % so that it divides: odd part of the devices
        times a power of two.
        """
        wanted = self.batch_tokens / self.context
        odd = self.n_devices
        while odd % 2 == 0:
            odd //= 2
        odd = odd if odd <= wanted else 1
        return int(odd * 2 ** max(0, round(log2(max(wanted / odd, 1.0)))))

    @cached_property
    def found(self) -> tuple[Laid, ...]:
        """Layouts that divide model and batch with their memory, least model-parallel first.

        Raises:
            InputError: none does; the text says why.
        """
        sequences = self.batch_sequences
        return tuple(
            (layout, training_memory(self.model, layout, context=self.context,
                                     batch_sequences=sequences))
            for layout in layouts(self.n_devices, self.model, context=self.context,
                                  batch_sequences=sequences)
        )  # fmt: skip

    def spread(self, accelerator: Accelerator, sure: float) -> Spread:
        """The fastest layout that fits with odds of `sure`; the one that takes least, if none does.

        Raises:
            InputError: no layout divides model and batch, or a link is not known.
        """
        asked = accelerator, sure
        if asked not in self._spreads:
            self._spreads[asked] = self._fastest(accelerator, sure)
        return self._spreads[asked]

    def _fastest(self, accelerator: Accelerator, sure: float) -> Spread:
        room = accelerator.memory_gb, sure
        if room not in self._fitting:
            self._fitting[room] = self._those_that_fit(*room)
        return max(
            (
                Spread(layout=layout, memory=memory, share=self._share(layout, accelerator))
                for layout, memory in self._fitting[room]
            ),
            key=lambda one: one.share,
        )

    def _those_that_fit(self, memory_gb: float, sure: float) -> list[Laid]:
        """Of each spread the layout that recomputes least; the one of least memory if none fits."""
        fitting: dict[object, Laid] = {}
        for layout, memory in self.found:
            if memory.p_fits(memory_gb) >= sure:
                # Kinds of recomputation come in rising order: the first that fits is the fastest.
                fitting.setdefault((layout.tp, layout.pp, layout.ep, layout.zero), (layout, memory))
        return list(fitting.values()) or [min(self.found, key=lambda pair: pair[1].parts)]

    def _share(self, layout: Layout, accelerator: Accelerator) -> float:
        """Model FLOPs' share of a step: less recomputation, exposed communication and bubble."""
        efficiency, _ = matmul_efficiency(accelerator, moe=self.model.experts is not None)
        work = self._works[layout.recompute]
        step = self._steps(node_of(accelerator))[layout]
        time = step_time(work, step, accelerator, efficiency)
        peak = self.n_devices * accelerator.bf16_tflops * 1e12
        own = work.batch_tokens * self._works["none"].flops_per_token
        return own / (peak * efficiency) / time.total_s

    @cached_property
    def _works(self) -> dict[str, StepWork]:
        """The step under every kind of recomputation."""
        tokens = self.batch_sequences * self.context
        return {
            recompute: StepWork.of(
                self.model, batch_tokens=tokens, context=self.context, recompute=recompute
            )
            for recompute in RECOMPUTES
        }

    def _steps(self, node: int) -> dict[Layout, StepLayout]:
        """Every layout in the words of `step_time`, for nodes of so many devices."""
        if node not in self._by_node:
            sequences = self.batch_sequences
            self._by_node[node] = {
                layout: StepLayout.of(layout, batch_sequences=sequences, node_devices=node)
                for layout, _ in self.found
            }
        return self._by_node[node]


def node_of(accelerator: Accelerator) -> int:
    """Devices that a fast link joins: one where none is known."""
    if accelerator.scale_up_gbps is None:
        return 1
    return POD if accelerator.kind == "TPU" else NODE


def most_devices(accelerator: Accelerator) -> float:
    """How many can work together: a node where no link to others is known."""
    return float("inf") if accelerator.scale_out_gbit is not None else node_of(accelerator)


def running(n_devices: int) -> float:
    """Share of the hours in which n devices train: 1/(1 + n · 0.28/45,600), interruptions out."""
    return 1 / (1 + n_devices * HOURS_LOST / HOURS_BETWEEN)


def beside_usual(n_devices: int) -> float:
    """What of it the MFU of published runs does not hold yet: at most 1."""
    return min(1.0, running(n_devices) / running(USUAL_DEVICES))


def shortest_usual(cluster: Cluster, accelerator: Accelerator) -> int:
    """How many devices compute a step of the cluster's batch in 0.3 s; at least one."""
    efficiency, _ = matmul_efficiency(accelerator, moe=cluster.model.experts is not None)
    flops = cluster.batch_tokens * token_flops(cluster.model, cluster.context)
    return max(1, int(flops / (SHORTEST_STEP * accelerator.bf16_tflops * 1e12 * efficiency)))


def beside_longer_steps(
    cluster: Cluster, accelerator: Accelerator, sure: float, known: Mapping[int, Cluster]
) -> float:
    """Share of the speed left where a step is shorter than any published one: at most 1.

    Beside the largest of `known` clusters whose steps are not.
    """
    most = shortest_usual(cluster, accelerator)
    usual = [count for count in known if count <= most]
    if cluster.n_devices <= most or not usual:
        return 1.0
    own, longer = (one.spread(accelerator, sure).share for one in (cluster, known[max(usual)]))
    return min(1.0, own / longer)
