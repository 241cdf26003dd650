"""`compare_arms`: several recipes' tables -> each one's law, and its worth beside the base."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from isoflop._errors import InputError
from isoflop._types import LEVEL, Interval, Problem, Table
from isoflop.fitting.as_json import to_plain
from isoflop.fitting.compare import compare
from isoflop.fitting.comparison import Comparison, TokensToLoss
from isoflop.fitting.fit import fit
from isoflop.fitting.fit_result import Fit
from isoflop.fitting.table import read_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Largest:
    """One measured run: parameters, tokens, loss [unit of the target]."""

    n_params: float
    n_tokens: float
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmOutcome:
    """One arm by one target."""

    arm: str
    target: str
    fitted: Fit
    """Chinchilla's law of the arm's own runs: its constants with intervals."""
    largest: Largest
    """The arm's run of most compute, as it was measured."""
    against_base: Comparison | None
    """The arm as A, the base as B: the multiplier is how much more compute the base needs. None
    for the base itself."""

    @property
    def floor(self) -> Interval:
        """E [unit of the target]."""
        return self.fitted.theta["E"]

    @property
    def early(self) -> TokensToLoss | None:
        """The base's tokens over the arm's at the first common loss of the largest size."""
        found = self.against_base.tokens if self.against_base else ()
        largest = max((one.n_params for one in found), default=0.0)
        mine = [one for one in found if one.n_params == largest]
        return max(mine, key=lambda one: one.loss, default=None)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and strings."""
        return {
            "arm": self.arm,
            "target": self.target,
            "fit": self.fitted.to_json(),
            "largest": to_plain(self.largest),
            "early": to_plain(self.early),
            "comparison": None if self.against_base is None else self.against_base.to_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmComparison:
    """Every arm by every target; the base first."""

    base: str
    outcomes: tuple[ArmOutcome, ...]

    @property
    def arms(self) -> tuple[str, ...]:
        """Names in order, the base's first."""
        return tuple(dict.fromkeys(one.arm for one in self.outcomes))

    @property
    def targets(self) -> tuple[str, ...]:
        """Targets in order."""
        return tuple(dict.fromkeys(one.target for one in self.outcomes))

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What the comparisons say, each once, with the arm and target it is about."""
        found = [
            _named(problem, outcome)
            for outcome in self.outcomes
            for problem in (
                outcome.against_base.problems if outcome.against_base else outcome.fitted.problems
            )
        ]
        return tuple(dict.fromkeys(found))

    def of(self, arm: str, target: str) -> ArmOutcome:
        """The outcome of one arm by one target."""
        return next(o for o in self.outcomes if (o.arm, o.target) == (arm, target))

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and strings."""
        return {
            "base": self.base,
            "outcomes": [one.to_json() for one in self.outcomes],
            "problems": to_plain(self.problems),
        }


def _named(problem: Problem, outcome: ArmOutcome) -> Problem:
    return replace(problem, text=f"{outcome.arm}, {outcome.target}: {problem.text}")


def compare_arms(
    arms: Mapping[str, Table],
    *,
    base: str,
    targets: Sequence[str] = ("loss",),
    level: float = LEVEL,
    n_draws: int = 300,
    seed: int = 0,
    progress: Callable[[float, str], None] = lambda share, label: None,
) -> ArmComparison:
    """Fit each arm's `L = E + A/N^alpha + B/D^beta`, and compare it with the base's runs.

    Args:
        arms: by name, tables of runs on the same grid of (N, D), as `compare` takes them: final
            points and, for early convergence, intermediate ones.
        base: the arm that the others are compared with.
        targets: columns that all tables have: `loss`, `loss_<domain>`.
        level: level of every interval.
        n_draws: draws of each model.
        seed: the same seed gives the same numbers.
        progress: told the share done and what is being compared.

    Raises:
        InputError: no such base; metrics differ.
        FitError: a column or value is missing or wrong, or an arm has too few runs.
    """
    if base not in arms:
        raise InputError(
            f"`base` must be one of {', '.join(arms)}, but got {base!r}. Correct the name."
        )
    order = [base, *(name for name in arms if name != base)]
    outcomes = []
    for number, (name, target) in enumerate((n, t) for n in order for t in targets):
        progress(number / (len(order) * len(targets)), f"{name}, {target}")
        fitted = fit(
            arms[name],
            target=target,
            law="chinchilla",
            level=level,
            n_draws=n_draws,
            seed=seed,
        )
        against = None
        if name != base:
            against = compare(
                arms[name], arms[base], target=target, level=level, n_draws=n_draws, seed=seed
            )
        outcomes.append(
            ArmOutcome(
                arm=name,
                target=target,
                fitted=fitted,
                largest=_largest(arms[name], target),
                against_base=against,
            )
        )
    return ArmComparison(base=base, outcomes=tuple(outcomes))


def _largest(table: Table, target: str) -> Largest:
    runs = read_table(table, target, ("n_params", "n_tokens"))
    n_params, n_tokens = runs.columns["n_params"], runs.columns["n_tokens"]
    top = int(np.argmax(n_params * n_tokens))
    return Largest(
        n_params=float(n_params[top]), n_tokens=float(n_tokens[top]), loss=float(runs.loss[top])
    )
