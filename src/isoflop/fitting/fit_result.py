"""`Fit`: fitted laws with intervals, the optimiser's certificate and every caveat."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from isoflop._errors import InputError
from isoflop._types import Interval, Prediction, Problem
from isoflop.fitting.as_json import to_plain
from isoflop.fitting.certificate import Certificate
from isoflop.fitting.disqualified import raise_disqualifying
from isoflop.fitting.one_law import LawFit
from isoflop.fitting.profile import Profile, profile
from isoflop.fitting.record import Record
from isoflop.laws import BestSplit, Estimate, Law, best_split
from isoflop.laws.estimate import Of


@dataclass(frozen=True, slots=True, kw_only=True)
class LawScore:
    """How one law did: `backtest` and `in_sample` are rms errors of log loss."""

    law: str
    backtest: float
    """NaN where no back-test was possible."""
    in_sample: float
    weight: float
    window: float = math.inf
    """Only runs within this factor of the largest x were fitted; infinite for all."""

    @property
    def label(self) -> str:
        """The law, and the window where there is one: `power_floor, last 10x`."""
        return self.law if math.isinf(self.window) else f"{self.law}, last {self.window:.0f}x"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A fit of one or several laws to a table; `law` is the one with the largest weight."""

    law: Law
    theta: Mapping[str, Interval]
    estimate: Estimate
    certificate: Certificate
    problems: tuple[Problem, ...]
    scores: tuple[LawScore, ...]
    n_runs: int
    n_trunks: int
    target: str
    record: Record
    """The data, settings and noise that the numbers come from."""
    fitted: LawFit | None = None
    """The fit of `law` itself, for `profile`; None where it was not made here."""

    def profile(self, name: str, level: float | None = None) -> Profile:
        """The profile likelihood interval of a parameter of `law`; see `fitting.profile`.

        Raises:
            InputError: no such parameter, or a fit without its runs.
        """
        if self.fitted is None:
            raise InputError(
                f"The profile of {name!r} needs the runs, but the fit has none. Fit a table."
            )
        return profile(self.fitted, name, self.estimate.level if level is None else level)

    def optimum(self, flops: ArrayLike, level: float | None = None) -> BestSplit:
        """Compute-optimal runs at budgets [FLOPs] with intervals; see `laws.best_split`."""
        return best_split(self.estimate, flops, level=level)

    def predict(
        self, inputs: Mapping[str, ArrayLike], of: Of = "run", level: float | None = None
    ) -> Prediction:
        """Predicted loss with an interval; see `Estimate.predict`."""
        return self.estimate.predict(inputs, of=of, level=level)

    def raise_for_status(self) -> None:
        """Raise if any problem disqualifies the fit for some use.

        Raises:
            FitError: the first such problem, with its remedy.
        """
        raise_disqualifying(self.problems)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and strings: everything but the draws."""
        return {
            "law": self.law.name,
            "formula": self.law.formula,
            "target": self.target,
            "n_runs": self.n_runs,
            "n_trunks": self.n_trunks,
            "theta": to_plain(dict(self.theta)),
            "sigma": self.estimate.sigma,
            "spread": self.estimate.spread,
            "spread_distance": self.estimate.spread_distance,
            "ranges": to_plain(dict(self.estimate.ranges)),
            "certificate": to_plain(self.certificate),
            "scores": to_plain(self.scores),
            "problems": to_plain(self.problems),
            "record": to_plain(self.record),
        }
