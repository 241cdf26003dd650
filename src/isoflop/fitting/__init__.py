"""Fitting: tables of runs -> laws with honest intervals. Knows no files.

What to use when:
- `fit`: one target, laws weighed by back-test (`law="auto"`), intervals by trunk.
- `analyse`: a whole ladder: three approaches to allocation, frontier, ceilings, caveats.
- `compare`: two recipes' tables -> the effective compute multiplier of one over the other.
- `next_runs`: a fit, a target, a budget -> the runs that teach most about the target.
- `make_forecast`: the hashed forecast of a run that has not started.
"""

from isoflop.fitting.analyse import analyse
from isoflop.fitting.analysis import (
    Allocation,
    Analysis,
    Ceiling,
    IsoflopProfile,
    NaivePower,
)
from isoflop.fitting.compare import compare
from isoflop.fitting.comparison import Comparison, Multiplier, TokensToLoss
from isoflop.fitting.design import Design, NextRun, OneMore
from isoflop.fitting.fit import fit
from isoflop.fitting.fit_result import Certificate, Fit, LawScore
from isoflop.fitting.forecast import Forecast, make_forecast
from isoflop.fitting.next_runs import next_runs
from isoflop.fitting.prior import Prior

__all__ = [
    "Allocation",
    "Analysis",
    "Ceiling",
    "Certificate",
    "Comparison",
    "Design",
    "Fit",
    "Forecast",
    "IsoflopProfile",
    "LawScore",
    "Multiplier",
    "NaivePower",
    "NextRun",
    "OneMore",
    "Prior",
    "TokensToLoss",
    "analyse",
    "compare",
    "fit",
    "make_forecast",
    "next_runs",
]
