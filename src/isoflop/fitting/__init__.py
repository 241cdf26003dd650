"""Fitting: tables of runs -> laws with honest intervals. Knows no files.

What to use when:
- `fit`: one target, laws weighed by back-test (`law="auto"`), intervals by trunk.
- `analyse`: a whole ladder: three approaches to allocation, frontier, ceilings, caveats.
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
from isoflop.fitting.fit import fit
from isoflop.fitting.fit_result import Certificate, Fit, LawScore
from isoflop.fitting.forecast import Forecast, make_forecast
from isoflop.fitting.prior import Prior

__all__ = [
    "Allocation",
    "Analysis",
    "Ceiling",
    "Certificate",
    "Fit",
    "Forecast",
    "IsoflopProfile",
    "LawScore",
    "NaivePower",
    "Prior",
    "analyse",
    "fit",
    "make_forecast",
]
