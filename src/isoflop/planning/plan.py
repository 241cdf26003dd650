"""`Plan`: size, tokens, compute, loss, days and money of one run, each with its interval."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any

from isoflop._types import LEVEL, Interval, Problem
from isoflop.laws import NearOptimal
from isoflop.planning.build import Build
from isoflop.planning.demand import Lifetime
from isoflop.planning.explain import Explanation
from isoflop.planning.hardware_option import HardwareChoice
from isoflop.planning.limited import Limited
from isoflop.planning.revealed import Revealed
from isoflop.planning.risk import Risk

PLAN_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One planned run.

    `n_params`, `n_tokens` and `flops` are compute-optimal for what was `given` (unless both
    size and tokens were); their intervals show where the optimum may lie. `loss` is that of a
    new run of exactly the planned size and tokens, run-to-run noise included. Hours, days and
    money carry the doubt of the FLOPs, of MFU or goodput, and of the price.
    """

    given: Mapping[str, float]
    """What the user fixed: flops, loss, n_params, n_tokens, or one of the last two beside another;
    a score, with the loss that it takes; device_hours, days or usd, with the flops they buy."""
    buys: Interval | None = None
    """Of a budget in hours, days or money: the FLOPs, as 6·N·D, that it may turn out to buy.
    `flops` are those planned, which it buys in the share `risk.sure` of draws."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """What it was held to: max_days, max_usd, and so on."""
    binding: tuple[str, ...] = ()
    """Limits that hold it back from the optimum."""
    n_params: Interval
    n_tokens: Interval
    flops: Interval
    """6·N·D."""
    exact_flops: Interval
    """The same with attention counted causally, for a decoder of that size: hours follow it."""
    loss: Interval
    tokens_per_param: Interval
    days: Interval
    device_hours: Interval
    usd: Interval | None
    """Rent; None without a known price."""
    hardware: str
    n_devices: int
    mfu: Interval
    """End to end, of the exact FLOPs."""
    mfu_stated: bool = False
    """Whether it is the user's and not drawn."""
    lifetime: Lifetime | None = None
    """With a demand: what serving takes beside training. `given` flops are then those of both."""
    limited: Limited | None = None
    """With unique tokens: how often they are read."""
    extrapolation: float | None
    """FLOPs planned over FLOPs of the largest run behind the law; None where unknown."""
    near_optimal: tuple[NearOptimal, ...] = ()
    """Sizes within 0.1 % and 0.5 % of the lowest loss on the planned compute; none where size and
    tokens were given."""
    build: Build | None = None
    """A decoder of about the planned size, its settings, and where it goes; None where the family
    has none so small."""
    risk: Risk
    """Where the doubt comes from, the odds of missing, and what measuring would save."""
    choice: HardwareChoice | None = None
    """Where any hardware would do: the options that no other beats in days and money, the chosen
    one among them."""
    explanation: Explanation | None = None
    """Where asked for: published allocations of this compute beside this one."""
    revealed: Revealed | None = None
    """Where asked for, of a given run: the demand that would make it the cheapest of its loss."""
    problems: tuple[Problem, ...] = ()
    forced: bool = False
    source: str = ""
    target: str = "loss"
    n_params_convention: str = "unknown"
    """What the law's N counts; the planned N is the same."""
    flops_convention: str = "6nd"
    level: float = LEVEL
    data_sha256: str = ""
    """Fingerprint of the rows behind the law; empty for published constants."""

    @property
    def optimal(self) -> bool:
        """Whether size and tokens were allocated by the law rather than given."""
        return not {"n_params", "n_tokens"} <= set(self.given)

    @property
    def usable(self) -> bool:
        """Whether no problem disqualifies the forecast or, where one was made, the allocation."""
        return not any(
            problem.disqualifies("forecast")
            or (self.optimal and problem.disqualifies("allocation"))
            for problem in self.problems
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data; a bound that no compute reaches (infinite) becomes null."""
        data = _finite(asdict(self))
        return {"version": PLAN_VERSION, **data, "usable": self.usable}


def _finite(value: Any) -> Any:
    """`value` with tuples as lists and numbers that JSON lacks as None."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value
