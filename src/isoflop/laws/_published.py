"""`Published`: a paper's constants as an estimate, and the one way to make it."""

from dataclasses import dataclass

import numpy as np

from isoflop._types import Problem
from isoflop.laws._law import Law
from isoflop.laws.estimate import Component, Estimate

PF_DAY = 8.64e19
"""FLOPs in a petaflop-day. Source: Kaplan et al. 2020, sec. 1.3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A published law: its constants as an estimate, where they were read, and what to mind."""

    name: str
    title: str
    estimate: Estimate
    source: str
    caveats: tuple[str, ...] = ()


ROUNDED = Problem(
    code="rounded_constants",
    severity="warning",
    text="The constants are printed with two or three digits: wrong by several % far out.",
    remedy="Do not extrapolate them; prefer a law given at full precision or your own fit.",
)


def published(
    name: str,
    title: str,
    law: Law,
    theta: tuple[float, ...],
    source: str,
    *caveats: str,
    ranges: dict[str, tuple[float, float]] | None = None,
    convention: str = "total",
    problems: tuple[Problem, ...] = (),
    sigma: float = 0.01,
    spread: float = 0.02,
    flops_convention: str = "6nd",
) -> Published:
    """A published law with a single draw: `sigma` and `spread` are relative errors."""
    # ASSUMPTION: where the paper states no run noise, 1 % of the loss; the digitised Chinchilla
    # residuals and Kaplan's seed noise (0.02 nats near 2.5) are both about that.
    point = np.array(theta)
    estimate = Estimate(
        components=(Component(law=law, theta=point, draws=point[None]),),
        problems=problems,
        source=source,
        n_params_convention=convention,
        flops_convention=flops_convention,
        ranges=ranges or {},
        sigma=sigma,
        # ASSUMPTION: no back-test is published; 2 % more error per decade of compute beyond.
        spread=spread,
        spread_distance=float(np.log(10.0)),
        target=law.target,
    )
    return Published(name=name, title=title, estimate=estimate, source=source, caveats=caveats)
