"""`LawCard`: all that a paper's appendix must say of a fit, and enough of it to plan with."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array, Interval, Problem
from isoflop.fitting.analysis import Analysis, Approach
from isoflop.fitting.certificate import Certificate
from isoflop.fitting.fit_result import Fit, LawScore
from isoflop.fitting.intervals import parameter_intervals
from isoflop.fitting.record import Record
from isoflop.laws import OWN, Component, Estimate, Law, find_law, own_law

CARD_DRAWS = 500
"""Draws that a card holds of each law, at most: all that a fit makes by default. With 200 of them
the ends of an interval moved by up to 13 % of its width."""

DRAW_DIGITS = 6
"""Significant digits of a draw: 1e-6 of a loss. The constants themselves are exact."""

UNITS = {"loss": "nats/token", "bpb": "bits/byte"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CardLaw:
    """One law of the mixture: constants (P,) with intervals, and draws (B, P) of them."""

    name: str
    formula: str
    source: str
    weight: float
    constants: Mapping[str, Interval]
    units: Mapping[str, str]
    draws: Array

    def component(self, own: Mapping[str, Law]) -> Component:
        """The law of that name, of `own` or isoflop's, with these constants.

        Raises:
            InputError: isoflop knows no law of that name, or one with other parameters, or a
                constant that must be positive is not.
        """
        if self.name.endswith(OWN) and self.name not in own:
            raise InputError(
                f"The card's law {self.name!r} is somebody's own: a card holds no code. "
                "Give its function too (`read_law_card(..., law=...)`, `--law FILE.py:FUNCTION`)."
            )
        law = own.get(self.name) or find_law(self.name)
        if law.names != tuple(self.constants):
            raise InputError(
                f"The law {self.name!r} has the parameters {', '.join(law.names)}, but the card "
                f"has {', '.join(self.constants)}. Make the card again with this isoflop."
            )
        theta = np.array([interval.value for interval in self.constants.values()])
        wrong = ~law.real & ((theta <= 0) | (self.draws <= 0).any(axis=0))
        if wrong.any():
            name = law.names[int(np.argmax(wrong))]
            raise InputError(
                f"`{name} > 0` must hold of {self.name!r} and all its draws, but this card has "
                f"others. Make the card again."
            )
        return Component(law=law, theta=theta, draws=self.draws, weight=self.weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class CardAllocation:
    """How to split compute by one approach: N_opt ~ C^a, D_opt ~ C^b."""

    approach: Approach
    a: Interval
    b: Interval
    problems: tuple[str, ...]
    """Codes of what this approach suffers from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LawCard:
    """A fit on one page; the same data, settings and version give the same card."""

    isoflop: str
    """Version that made it."""
    target: str
    unit: str
    level: float
    n_runs: int
    n_trunks: int
    n_params_convention: str
    flops_convention: str
    ranges: Mapping[str, tuple[float, float]]
    laws: tuple[CardLaw, ...]
    scores: tuple[LawScore, ...]
    """Every law that competed, those without weight too."""
    sigma: float
    spread: float
    spread_distance: float
    certificate: Certificate
    allocations: tuple[CardAllocation, ...]
    """Empty where the card is of a fit alone."""
    problems: tuple[Problem, ...]
    """Of the fit: they go wherever the card's estimate goes."""
    further_problems: tuple[Problem, ...]
    """Of the other laws and approaches of the analysis."""
    record: Record
    own: Mapping[str, Law] = field(default_factory=dict, compare=False, repr=False)
    """Laws of one's own by name: code, which a card does not hold; see `with_own`."""

    def with_own(self, function: Callable[..., Any]) -> "LawCard":
        """The card with the plain function behind its own law, tried on the ends of its ranges.

        Raises:
            InputError: the card has no law of that function, or it is no law; see `own_law`.
        """
        columns = {name: np.array(ends) for name, ends in self.ranges.items()}
        law = own_law(function, columns, self.target)
        names = [one.name for one in self.laws]
        if law.name not in names:
            raise InputError(
                f"The card's laws are {', '.join(names)}, but the function gives {law.name!r}. "
                "Give the function that the card was made with."
            )
        return replace(self, own={**self.own, law.name: law})

    @property
    def estimate(self) -> Estimate:
        """What planning consumes, with the card's draws.

        Raises:
            InputError: a law is not one of isoflop's.
        """
        return Estimate(
            components=tuple(law.component(self.own) for law in self.laws),
            problems=self.problems,
            source=f"law card of {self.n_runs} runs on {self.n_trunks} trunks, "
            f"data {self.record.data_sha256[:12]}",
            n_params_convention=self.n_params_convention,
            flops_convention=self.flops_convention,
            ranges=dict(self.ranges),
            sigma=self.sigma,
            spread=self.spread,
            spread_distance=self.spread_distance,
            target=self.target,
            level=self.level,
            data_sha256=self.record.data_sha256,
        )


def law_card(source: Fit | Analysis) -> LawCard:
    """The law card of a fit; of an analysis with its allocations and all of its problems.

    `reports.write_law_card` writes it as JSON and Markdown, `iso.read_law_card` reads it back.
    """
    fit = source.fit if isinstance(source, Analysis) else source
    further: tuple[Problem, ...] = ()
    if isinstance(source, Analysis):
        further = tuple(one for one in source.problems if one not in fit.problems)
    estimate = fit.estimate
    return LawCard(
        # By name: the package lists this very function for type checkers, which see a cycle.
        isoflop=importlib.import_module("isoflop").__version__,
        target=fit.target,
        unit=UNITS.get(fit.target, "nats/token" if fit.target.startswith("loss_") else ""),
        level=estimate.level,
        n_runs=fit.n_runs,
        n_trunks=fit.n_trunks,
        n_params_convention=estimate.n_params_convention,
        flops_convention=estimate.flops_convention,
        ranges=estimate.ranges,
        laws=tuple(_card_law(one, estimate.level) for one in estimate.components),
        scores=fit.scores,
        sigma=estimate.sigma,
        spread=estimate.spread,
        spread_distance=estimate.spread_distance,
        certificate=fit.certificate,
        allocations=_allocations(source) if isinstance(source, Analysis) else (),
        problems=fit.problems,
        further_problems=further,
        record=fit.record,
    )


def _allocations(analysis: Analysis) -> tuple[CardAllocation, ...]:
    return tuple(
        CardAllocation(
            approach=one.approach,
            a=one.a,
            b=one.b,
            problems=tuple(problem.code for problem in one.problems),
        )
        for one in analysis.allocations
    )


def _card_law(component: Component, level: float) -> CardLaw:
    law = component.law
    return CardLaw(
        name=law.name,
        formula=law.formula,
        source=law.source,
        weight=component.weight,
        constants=parameter_intervals(law, component.theta, component.draws, level),
        units={param.name: param.unit for param in law.params},
        draws=_thinned(component.draws),
    )


def _thinned(draws: Array) -> Array:
    """At most CARD_DRAWS rows, evenly taken, in DRAW_DIGITS digits."""
    rows = np.unique(np.linspace(0, len(draws) - 1, min(CARD_DRAWS, len(draws))).round())
    kept = draws[rows.astype(np.intp)]
    text = [f"{value:.{DRAW_DIGITS}g}" for value in kept.ravel()]
    return np.array(text, dtype=np.float64).reshape(kept.shape)
