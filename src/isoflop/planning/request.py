"""`Request`: what a plan is asked for, checked before anything is computed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from isoflop._errors import InputError
from isoflop._types import LEVEL
from isoflop.laws import Estimate
from isoflop.planning.build import BuildWish
from isoflop.planning.demand import Demand
from isoflop.planning.rates import BUDGETS, Machine
from isoflop.planning.served import ServingWish

GOALS = ("flops", "loss", "score", "n_params", "n_tokens", *BUDGETS)
"""What a plan can be made for."""

LIMITS = ("max_flops", "max_device_hours", "max_days", "max_usd", "max_n_params", "max_n_tokens")
"""What it may be held to besides."""

SURE = 0.9
"""Share of draws in which a budget or a limit in hours, days or money suffices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One goal, or a size or tokens beside it; limits; the machine; what it serves and reads."""

    goal: Mapping[str, float]
    limits: Mapping[str, float] = field(default_factory=dict)
    machine: Machine
    build: BuildWish = field(default_factory=BuildWish)
    demand: Demand | None = None
    serving: ServingWish | None = None
    """What serves the demand; None: FLOPs of training are counted."""
    unique_tokens: float | None = None
    second: Estimate | None = None
    """With a score: the law of it on a loss."""
    sure: float = SURE
    level: float = LEVEL

    def __post_init__(self) -> None:
        """Raise InputError where numbers cannot be, or do not go together."""
        _check_positive({**self.goal, **self.limits})
        _check_goal(self.goal)
        if self.demand is not None and self.fixed:
            raise InputError(
                f"inference_tokens choose the size, but {', '.join(sorted(self.fixed))} is given "
                "beside another goal (an architecture gives n_params). Drop one."
            )
        if ("score" in self.goal) != (self.second is not None):
            raise InputError(
                "`score` needs a law of it on a loss, and that law a score. Plan from a chain of "
                "both steps (fit_task), or give `task`."
            )
        if self.machine.n_devices is None and ({"days"} & self.goal.keys()):
            raise InputError(
                f"days={self.goal['days']:g} are days on some devices. Give n_devices too."
            )
        for name in ("level", "sure"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise InputError(f"`0 < {name} < 1` must hold, but got {name}={value}. Use 0.9.")

    @property
    def budget(self) -> str | None:
        """The goal in hours, days or money, if it is one."""
        return next((name for name in BUDGETS if name in self.goal), None)

    @property
    def fixed(self) -> frozenset[str]:
        """Of n_params and n_tokens those that are given beside another goal, or both."""
        sizes = {"n_params", "n_tokens"} & self.goal.keys()
        return frozenset(sizes if len(self.goal) > 1 else ())


def _check_goal(goal: Mapping[str, float]) -> None:
    sizes = {"n_params", "n_tokens"} & goal.keys()
    others = goal.keys() - sizes
    alone = len(goal) == 1
    beside = len(sizes) == 1 and len(others) == 1
    if not (alone or beside or (len(sizes) == 2 and not others)):
        raise InputError(
            f"exactly one of {', '.join(GOALS)} must be given, or n_params or n_tokens beside "
            f"one other (or both n_params and n_tokens), but got {', '.join(goal) or 'none'}. "
            "Keep one of them; limit the others (max_days, max_usd, ...)."
        )


def _check_positive(values: Mapping[str, float]) -> None:
    for name, value in values.items():
        if not 0 < value < inf:
            raise InputError(
                f"`{name} > 0` must hold, but got {name}={value}. Give a positive number."
            )
