"""`Comparison`: how much compute one recipe saves over another, where, and how sure that is."""

from dataclasses import dataclass
from typing import Any

from isoflop._types import Interval, Problem
from isoflop.fitting.arm_table import Along
from isoflop.fitting.arms import Model
from isoflop.fitting.as_json import to_plain
from isoflop.fitting.fit_result import Fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Multiplier:
    """The effective compute multiplier at one loss: B needs `value` times A's compute for it."""

    where: str
    """`low`, `middle` or `top` of the common range, or `asked`."""
    loss: float
    flops_a: float
    """Compute [FLOPs, or the table's x] at which A's best runs reach the loss."""
    flops_b: float
    value: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelScore:
    """One model of both arms, as the runs judge it."""

    model: Model
    weight: float
    p_value: float
    """Of the shared model against it; 1 for the shared model itself."""
    error: float
    """Rms residual of log loss, freedom given back."""
    at: tuple[Multiplier, ...]
    """The multipliers by this model alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensToLoss:
    """At one size B needs `ratio` times A's tokens for the loss; rising losses come last."""

    n_params: float
    loss: float
    n_tokens_a: float
    n_tokens_b: float
    ratio: Interval
    kind: str
    """`intermediate` or `final`: which points the two curves are made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Recipe A against recipe B."""

    multiplier: Interval
    """Of A over B: at the loss or compute asked for, else in the middle of the common range."""
    at: tuple[Multiplier, ...]
    shared: Interval
    """The constant multiplier of the joint fit: one law, shared exponents and floor, own
    amplitudes."""
    trend: Interval
    """Multiplier at the top of the common range over that at its low end; 1 if constant."""
    models: tuple[ModelScore, ...]
    tokens: tuple[TokensToLoss, ...]
    common_loss: tuple[float, float] | None
    """Losses that both arms' runs cover; None where there are none."""
    pair_correlation: float
    """Noise that runs of the same (N, D) were seen to share; 0 for unpaired runs."""
    along: Along
    law: str
    arms: tuple[Fit, Fit]
    problems: tuple[Problem, ...]
    target: str

    @property
    def usable(self) -> bool:
        """Whether no problem disqualifies the comparison."""
        return all(problem.severity != "disqualifying" for problem in self.problems)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and strings: everything but the draws."""
        plain: dict[str, Any] = {
            name: to_plain(getattr(self, name)) for name in self.__slots__ if name != "arms"
        }
        return {**plain, "arms": {"a": self.arms[0].to_json(), "b": self.arms[1].to_json()}}
