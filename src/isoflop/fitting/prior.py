"""What is known of a parameter before the runs: an addend to the objective, always reported."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Problem
from isoflop.fitting.objective import Target
from isoflop.laws import find_in

NOISE = 0.005
"""Run noise that a prior is weighed against before the fit has shown its own: half a percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """A normal prior on one parameter: `value` times or divided by e^`log_sd`.

    Only for parameters without a unit (exponents): their value does not move with the scale
    of the inputs.
    """

    value: float
    log_sd: float
    source: str = ""

    def __post_init__(self) -> None:
        if not (self.value > 0 and self.log_sd > 0):
            raise InputError(
                f"`value > 0` and `log_sd > 0` must hold, but got value={self.value}, "
                f"log_sd={self.log_sd}. Give the exponent and its relative error."
            )


EXPONENTS: Mapping[str, Prior] = {
    # Median and spread over fits of C = 6 N D ladders: Hoffmann .339/.285, Besiroglu .348/.366,
    # Muennighoff .353/.353, Gadre .24-.27 (both), MiniCPM .29/.23, Sardana .18/.21,
    # Gemstones .30/.69.
    "alpha": Prior(value=0.31, log_sd=0.3, source="published ladders, see laws.published"),
    "beta": Prior(value=0.31, log_sd=0.4, source="published ladders, see laws.published"),
}
"""Exponents borrowed from published ladders: `fit(..., prior="exponents")`."""


def with_prior(target: Target, prior: Mapping[str, Prior], noise: float = NOISE) -> Target:
    """The target with the prior's pull added, in units of squared log residuals of sd `noise`."""
    center, precision = target.prior_center.copy(), target.prior_precision.copy()
    names = target.law.names
    for name, one in prior.items():
        if name in names:
            center[names.index(name)] = np.log(one.value)
            precision[names.index(name)] = (noise / one.log_sd) ** 2
    return replace(target, prior_center=center, prior_precision=precision)


def find_prior(prior: Mapping[str, Prior] | str | None) -> Mapping[str, Prior]:
    """The prior of that name, or the one given.

    Raises:
        InputError: the name is unknown.
    """
    if isinstance(prior, str):
        find_in(prior, {"exponents": EXPONENTS}, "prior")
        return EXPONENTS
    return prior or {}


def prior_problem(names: tuple[str, ...], prior: Mapping[str, Prior]) -> tuple[Problem, ...]:
    """`prior_used` where the law has parameters that were not left to the runs alone."""
    used = [name for name in names if name in prior]
    if not used:
        return ()
    told = ", ".join(
        f"{name} about {prior[name].value:g} (times or over {np.exp(prior[name].log_sd):.2f})"
        for name in used
    )
    return (
        Problem(
            code="prior_used",
            severity="note",
            text=f"Borrowed knowledge entered the fit: {told}.",
            remedy="Fit without a prior once the ladder is large enough to show them.",
        ),
    )
