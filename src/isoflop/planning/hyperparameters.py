"""`Advice`: learning rate and batch of a run by a published law, and what they hold for."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, exp, floor, log
from typing import Literal, get_args

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array, Interval, Problem
from isoflop.accounting import FLOPS_PER_PARAM_TOKEN, Architecture, count_weights, token_flops
from isoflop.laws import Estimate, find_published

HyperparameterLaw = Literal["step_law", "deepseek"]
HYPERPARAMETER_LAWS: tuple[HyperparameterLaw, ...] = get_args(HyperparameterLaw)

FAR = 10.0
"""Times beyond the sweep of the law from which on it is a warning rather than a note."""
APART = 2.0
"""Factor either way by which a batch may be rounded, and still goes with the learning rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What a law of hyperparameters says of a run; the two hold together only."""

    lr: Interval
    """Peak learning rate."""
    batch_tokens: Interval
    """As the law has it, before it is rounded to sequences and ranks [tokens]."""
    law: str
    source: str
    beyond: float
    """Times outside the range of the law's own sweep, 1 within."""
    ranges: Mapping[str, tuple[float, float]]
    """What the law was fitted on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRoom:
    """Sequences that a step may have: what is wanted, and how far it may be rounded."""

    wanted: float
    least: int
    most: int

    def sequences(self, multiple: int) -> int | None:
        """The multiple nearest to what is wanted, in its logarithm; None where none is allowed."""
        below = max(1, int(self.wanted // multiple))
        allowed = [
            count * multiple
            for count in (below, below + 1)
            if self.least <= count * multiple <= self.most
        ]
        return min(allowed, key=lambda one: abs(log(one / self.wanted)), default=None)


def advise(
    architecture: Architecture, n_tokens: float, *, context: int, law: str, level: float
) -> Advice:
    """Learning rate and batch of a run by a published law, in the counts that the law means.

    Step Law's N is without embedding and head. DeepSeek's C is the tokens times the FLOPs a
    token without the head, attention counted in full: 72·L·d² + 12·L·d·T for its own models.

    Args:
        architecture: the model.
        n_tokens: tokens of the run.
        context: tokens of a sequence, T.
        law: one of `HYPERPARAMETER_LAWS`.
        level: level of the intervals.

    Raises:
        InputError: the law is unknown.

    Source: Li et al. 2025, arXiv:2503.04715; DeepSeek LLM 2024, arXiv:2401.02954, section 3.
    """
    if law not in HYPERPARAMETER_LAWS:
        raise InputError(
            f"`hyperparameters` must be one of {', '.join(HYPERPARAMETER_LAWS)}, but got {law!r}. "
            "Use one of these names."
        )
    count = count_weights(architecture)
    per_token = token_flops(architecture, context, "exact_full")
    columns = {
        "n_params": np.array([float(count.non_embedding)]),
        "n_tokens": np.array([float(n_tokens)]),
        "flops": np.array([(per_token - FLOPS_PER_PARAM_TOKEN * count.head) * n_tokens]),
    }
    rate, batch = (find_published(f"{law}_{what}") for what in ("lr", "batch"))
    return Advice(
        lr=_interval(rate.estimate, columns, level),
        batch_tokens=_interval(batch.estimate, columns, level),
        law=law,
        source=rate.source,
        beyond=max(_beyond(one.estimate, columns) for one in (rate, batch)),
        ranges=dict(rate.estimate.ranges),
    )


def batch_room(advice: Advice, context: int, batch_tokens: int | None) -> BatchRoom:
    """Up to a factor two either way of the law's batch; of a given one, only downwards.

    Raises:
        InputError: the batch that was given is less than a sequence.
    """
    if batch_tokens is None:
        wanted = max(1.0, advice.batch_tokens.value / context)
        return BatchRoom(wanted=wanted, least=ceil(wanted / APART), most=floor(wanted * APART))
    most = batch_tokens // context
    if most < 1:
        raise InputError(
            f"`batch_tokens >= context` must hold, but got batch_tokens={batch_tokens}, "
            f"context={context}. Give a larger batch or a shorter context."
        )
    return BatchRoom(wanted=float(most), least=ceil(most / APART), most=most)


def settings_problems(advice: Advice, batch_tokens: int) -> tuple[Problem, ...]:
    """`settings_off_law` where the law is asked beyond its sweep, or the batch is another."""
    wrong, worst = [], advice.beyond
    if advice.beyond > 1 + 1e-9:
        swept = ", ".join(
            f"{name} {low:.3g} to {high:.3g}" for name, (low, high) in advice.ranges.items()
        )
        wrong.append(
            f"They reach {advice.beyond:.3g} times beyond the sweep of {advice.law} ({swept})."
        )
    apart = exp(abs(log(batch_tokens / advice.batch_tokens.value)))
    if apart > APART + 1e-9:
        worst = max(worst, apart)
        wrong.append(
            f"The batch of {batch_tokens:.3g} tokens is {apart:.3g} times off the law's "
            f"{advice.batch_tokens.value:.3g}, and the learning rate goes with that one."
        )
    if not wrong:
        return ()
    return (
        Problem(
            code="settings_off_law",
            severity="warning" if worst > FAR else "note",
            text="Learning rate and batch: " + " ".join(wrong),
            remedy="Sweep the learning rate on a pilot, or read the intervals.",
            affects=("forecast",),
        ),
    )


def _interval(estimate: Estimate, columns: Mapping[str, Array], level: float) -> Interval:
    found = estimate.predict(columns, level=level)
    return Interval(
        value=float(found.mean[0]),
        low=float(found.low[0]),
        high=float(found.high[0]),
        level=level,
    )


def _beyond(estimate: Estimate, columns: Mapping[str, Array]) -> float:
    """How many times outside the law's own range; its own columns alone are looked at."""
    own = {name: columns[name] for name in estimate.needed}
    return float(np.exp(estimate.distance(own)[0]))
