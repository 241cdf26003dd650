"""`Build`: a planned size and tokens as what can be built and started: shape, settings, place."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from math import inf, log

import numpy as np

from isoflop._types import Interval, Problem, Severity
from isoflop.accounting import (
    Accelerator,
    Architecture,
    Layout,
    ShapeRule,
    StepTime,
    TrainingMemory,
    count_weights,
    flops_6nd,
    size_under,
    token_flops,
)
from isoflop.accounting.checks import given, require_counts
from isoflop.accounting.training_memory import BYTES_PER_GB
from isoflop.laws import Estimate, best_log_size, mean_law
from isoflop.planning.hyperparameters import Advice, advise, batch_room, settings_problems
from isoflop.planning.placement import (
    FITS,
    HOPELESS,
    Placement,
    Site,
    fewest,
    place,
    refuse_devices,
    refuse_memory,
)
from isoflop.planning.shapes import shapes


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildWish:
    """What the user fixes of the build."""

    rule: ShapeRule = field(default_factory=ShapeRule)
    """The family of decoders; its context is that of the training."""
    architecture: Architecture | None = None
    """A given decoder: N is then its own."""
    batch_tokens: int | None = None
    """Largest batch [tokens]; None: that of the law of hyperparameters, within a factor two."""
    hyperparameters: str = "step_law"
    micro_batch: int = 1
    """Sequences of one pass on a data-parallel rank."""
    max_context_parallel: int = 1
    devices_per_node: int = 8
    """Devices joined by the fast link: 8 of a GPU node, 72 of an NVL72."""
    fixed_tokens: bool = False
    """Whether D stays as planned, rather than 6·N·D, when the shape's N is another."""

    def __post_init__(self) -> None:
        """Raise InputError where a number cannot be."""
        names = ("batch_tokens", "micro_batch", "max_context_parallel", "devices_per_node")
        require_counts(given({name: getattr(self, name) for name in names}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Limits of a plan that its round shape keeps too."""

    max_params: float = inf
    max_tokens: float = inf
    allowed: Callable[[Architecture], bool] = lambda shape: True
    """Whether a shape will do otherwise, such as for its latency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Exact weights of the decoder under each convention."""

    total: int
    active: int
    """That multiply one token, head included."""
    non_embedding: int
    non_embedding_with_head: int

    @classmethod
    def of(cls, architecture: Architecture) -> "Counts":
        """Of a decoder."""
        count = count_weights(architecture)
        return cls(
            total=count.total,
            active=count.under("active"),
            non_embedding=count.under("non_embedding"),
            non_embedding_with_head=count.under("non_embedding_with_head"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One decoder with exact counts, its settings and where it trains."""

    architecture: Architecture
    counts: Counts
    n_params: float
    """Of this decoder, counted as the law counts it."""
    n_tokens: float
    loss_above: float
    """Share by which the law's loss lies above its best on the same 6·N·D."""
    flops_per_token: float
    """Exact, causal, nothing recomputed."""
    flops: float
    """Exact causal FLOPs of the run."""
    flops_6nd: float
    ratio: float
    """`flops` over 6·N·D with the law's N."""
    context: int
    batch_sequences: int
    batch_tokens: Interval
    """Rounded to what the ranks divide; its interval is the law's, or itself where given."""
    steps: Interval
    lr: Interval
    """Peak learning rate."""
    advice: Advice
    """The law behind batch and learning rate, and how far it is stretched."""
    layout: Layout
    memory: TrainingMemory
    """Of the fullest device [bytes]."""
    memory_gb: Interval
    """Its median and 90 % interval [GiB, as makers count device memory]."""
    p_fits: float
    step: StepTime | None
    """Seconds of a step by what is waited for; None where a link's speed is not known."""
    problems: tuple[Problem, ...] = ()

    @property
    def step_s(self) -> float | None:
        """Seconds of a step."""
        return None if self.step is None else self.step.total_s

    @property
    def binds(self) -> str | None:
        """What takes most of a step."""
        return None if self.step is None else self.step.binds


def build(
    estimate: Estimate,
    *,
    n_params: float,
    n_tokens: float,
    near: tuple[float, float],
    device: Accelerator,
    n_devices: int | None = None,
    wish: BuildWish | None = None,
    held: Held | None = None,
) -> Build:
    """The decoder nearest to a planned size that divides well and fits, its settings and place.

    Of the rule's shapes within `near` those that divide well come first, among them the nearest
    to `n_params`; where it does not fit on the given devices, smaller ones within `near` are
    tried. D follows so that 6·N·D stays what it was. Without `n_devices`, the fewest that hold
    the model with odds of 0.9: a node, or a power of two beyond; less where the batch is small.

    Args:
        estimate: the law: what its N counts, and what the shape costs of the loss.
        n_params: planned size, as the law counts it.
        n_tokens: planned tokens.
        near: smallest and largest size that the plan can bear.
        device: the accelerator.
        n_devices: how many; None: the fewest that do.
        wish: what is fixed besides.
        held: limits that the shape and its tokens keep as the plan does.

    Raises:
        InputError: no shape of the rule within a factor two; a batch that cannot occupy the
            devices; a model that does not fit into the memory of the given ones (where none are
            given, that is a problem of the result).
    """
    require_counts(given({"n_devices": n_devices}))
    asked = _Asked(
        estimate=estimate,
        n_params=n_params,
        n_tokens=n_tokens,
        device=device,
        n_devices=n_devices,
        wish=BuildWish() if wish is None else wish,
        held=held or Held(),
    )
    wanted, best = _drafts(asked, near)
    if best.placement is None:
        raise refuse_devices(best.shape, best.site, n_devices or 1)
    if n_devices is not None and best.p_fits < HOPELESS:
        raise refuse_memory(best.shape, best.site, best.placement)
    return _built(asked, best, best.placement, wanted=wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The arguments of `build`."""

    estimate: Estimate
    n_params: float
    n_tokens: float
    device: Accelerator
    n_devices: int | None
    wish: BuildWish
    held: Held


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A shape with its tokens, advice and, if there is one, place."""

    shape: Architecture
    n_params: float
    n_tokens: float
    advice: Advice
    site: Site
    placement: Placement | None

    @property
    def p_fits(self) -> float:
        return -1.0 if self.placement is None else self.placement.p_fits


def _drafts(asked: _Asked, near: tuple[float, float]) -> tuple[_Draft, _Draft]:
    """The draft of the shape to take, and the first that fits, or the likeliest to."""
    drafts: list[_Draft] = []
    for shape in _shapes(asked, near):
        drafts.append(_draft(asked, shape))
        if drafts[-1].p_fits >= FITS or asked.n_devices is None:
            break
    return drafts[0], max(drafts, key=lambda draft: draft.p_fits)


def _draft(asked: _Asked, shape: Architecture) -> _Draft:
    wish = asked.wish
    size = float(size_under(shape, asked.estimate.n_params_convention))
    tokens = asked.n_tokens if wish.fixed_tokens else asked.n_params * asked.n_tokens / size
    tokens = min(tokens, asked.held.max_tokens)
    context = wish.rule.context
    advice = advise(
        shape, tokens, context=context, law=wish.hyperparameters, level=asked.estimate.level
    )
    site = Site(
        device=asked.device,
        context=context,
        room=batch_room(advice, context, wish.batch_tokens),
        micro_batch=wish.micro_batch,
        max_context_parallel=wish.max_context_parallel,
        devices_per_node=wish.devices_per_node,
    )
    if asked.n_devices is not None:
        placement = place(shape, site, asked.n_devices)
    else:
        # A whole node, unless the batch cannot occupy one.
        placement = fewest(shape, site, start=wish.devices_per_node) or fewest(shape, site)
    return _Draft(
        shape=shape,
        n_params=size,
        n_tokens=tokens,
        advice=advice,
        site=site,
        placement=placement,
    )


def _shapes(asked: _Asked, near: tuple[float, float]) -> Iterable[Architecture]:
    if asked.wish.architecture is not None:
        return (asked.wish.architecture,)
    convention = asked.estimate.n_params_convention
    held = asked.held
    return shapes(
        asked.wish.rule,
        asked.n_params,
        near,
        convention,
        most=held.max_params,
        allowed=held.allowed,
    )


def _built(asked: _Asked, draft: _Draft, place_: Placement, *, wanted: _Draft) -> Build:
    shape, site = draft.shape, draft.site
    per_token = token_flops(shape, site.context)
    plain = flops_6nd(draft.n_params, draft.n_tokens)
    batch = _batch(draft.advice, place_.batch_sequences * site.context, asked.wish)
    return Build(
        architecture=shape,
        counts=Counts.of(shape),
        n_params=draft.n_params,
        n_tokens=draft.n_tokens,
        loss_above=_loss_above(asked.estimate, draft.n_params, draft.n_tokens),
        flops_per_token=per_token,
        flops=per_token * draft.n_tokens,
        flops_6nd=plain,
        ratio=per_token * draft.n_tokens / plain,
        context=site.context,
        batch_sequences=place_.batch_sequences,
        batch_tokens=batch,
        steps=Interval(
            value=draft.n_tokens / batch.value,
            low=draft.n_tokens / batch.high,
            high=draft.n_tokens / batch.low,
            level=batch.level,
        ),
        lr=draft.advice.lr,
        advice=draft.advice,
        layout=place_.layout,
        memory=place_.memory,
        memory_gb=Interval(
            value=place_.memory.median / BYTES_PER_GB,
            low=place_.memory.low / BYTES_PER_GB,
            high=place_.memory.high / BYTES_PER_GB,
        ),
        p_fits=place_.p_fits,
        step=place_.step,
        problems=(
            *settings_problems(draft.advice, int(batch.value)),
            *_memory_problems(place_, asked.device, asked.wish),
            *(() if draft is wanted else _smaller(draft, wanted)),
        ),
    )


def _batch(advice: Advice, rounded: int, wish: BuildWish) -> Interval:
    """The rounded batch inside the law's interval; a given one has no other."""
    if wish.batch_tokens is not None:
        return Interval(value=rounded, low=rounded, high=rounded, level=advice.lr.level)
    of = advice.batch_tokens
    return replace(of, value=rounded, low=min(of.low, rounded), high=max(of.high, rounded))


def _memory_problems(
    place_: Placement, device: Accelerator, wish: BuildWish
) -> tuple[Problem, ...]:
    if place_.p_fits >= FITS:
        return ()
    # What the user wants built and cannot be is no plan; a default of ours may be changed.
    hopeless = place_.p_fits < HOPELESS and wish != BuildWish()
    severity: Severity = "disqualifying" if hopeless else "warning"
    memory = place_.memory
    return (
        Problem(
            code="memory_tight",
            severity=severity,
            text=f"The fullest device needs {memory.median / BYTES_PER_GB:.3g} GB (90 %: "
            f"{memory.low / BYTES_PER_GB:.3g} to {memory.high / BYTES_PER_GB:.3g}) of "
            f"{device.memory_gb:g} GB: it fits with odds of {place_.p_fits:.2f}.",
            remedy="Take more devices, devices with more memory, a larger batch_tokens to occupy "
            "them, or a shorter context.",
            affects=("allocation",),
        ),
    )


def _smaller(draft: _Draft, wanted: _Draft) -> tuple[Problem, ...]:
    """That memory, not the law, chose among the near-optimal sizes."""
    return (
        Problem(
            code="memory_tight",
            severity="note",
            text=f"A model of {wanted.n_params:.3g} parameters fits into these devices with odds "
            f"of {max(0.0, wanted.p_fits):.2f}: of the sizes that lose little, "
            f"{draft.n_params:.3g} was taken.",
            remedy="Take more devices for the size that the law asks for.",
            affects=("allocation",),
        ),
    )


def _loss_above(estimate: Estimate, n_params: float, n_tokens: float) -> float:
    """L(N, D) / min over N' of L(N', N·D/N') - 1, by the point estimates."""
    mean = mean_law([c for c in estimate.components if c.weight > 0])
    log_c = log(n_params) + log(n_tokens)
    best = float(best_log_size(mean, np.empty((1, 0)), np.array([[log_c]]))[0, 0])

    def loss(log_n: float) -> float:
        inputs = {"n_params": np.exp([log_n]), "n_tokens": np.exp([log_c - log_n])}
        return float(mean.predict(np.empty(0), inputs)[0])

    return max(0.0, loss(log(n_params)) / loss(best) - 1.0)
