"""`Design`: which runs to make next, what they teach about the target, and whether they pay."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from isoflop._types import Problem
from isoflop.fitting.as_json import to_plain

Quantity = Literal["loss", "n_opt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NextRun:
    """One run of a design; the sd is that of the log of the target quantity, run after run."""

    n_params: float
    n_tokens: float
    flops: float
    """What it adds to the bill: a further horizon of a trunk costs less than a run of its own."""
    trunk: int
    """Runs of one number branch from one training at constant rate."""
    sd_before: float
    sd_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One run that could be made alone, and the target's sd after it."""

    n_params: float
    n_tokens: float
    flops: float
    sd_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OneMore:
    """One more pilot, or launch? What the pilot costs and saves, as shares of the target's compute.

    Regret is the log loss given away by a size that is not the optimum, averaged over what the
    laws leave open; on the frontier it is worth `regret / slope` of the compute.
    """

    n_params: float
    n_tokens: float
    cost_share: float
    narrowing: float
    """sd of log loss at the target after the pilot over that before."""
    regret_before: float | None
    """None where the target fixes the size: nothing is chosen then."""
    regret_after: float | None
    saved_share: float | None
    verdict: Literal["pilot", "launch"] | None
    """`pilot` where it saves more compute than it costs; None where no size is chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """The runs to make next for one target, within one budget."""

    runs: tuple[NextRun, ...]
    candidates: tuple[Candidate, ...]
    """Single runs, the most instructive first."""
    of: Quantity
    """What the sd is of: log loss at the target, or log N_opt at its compute."""
    sd_before: float
    sd_after: float
    flops: float
    """Cost of all runs together."""
    budget_flops: float
    target: Mapping[str, float]
    """n_params, n_tokens and flops of the target as the laws see it now."""
    one_more: OneMore | None
    problems: tuple[Problem, ...]
    source: str

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and strings."""
        plain: dict[str, Any] = to_plain(self)
        return plain
