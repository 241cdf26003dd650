"""What competes for a forecast: laws, and for one variable how far back the runs may reach.

A curve over many decades seldom obeys one law from end to end: what holds early is another
regime. So for one variable a law may also be fitted to the last factor 30, 10 or 5 of x alone, and
the back-test decides whether the older points help the forecast or harm it.
"""

import math
from dataclasses import dataclass

from isoflop.fitting.table import Runs
from isoflop.laws import Law

WINDOWS = (math.inf, 30.0, 10.0, 5.0)

SPARE = 4
"""Rows a window must hold beyond the parameters of the law."""

LEAST = 8
"""Rows a window must hold at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One law on the runs within a factor `window` of the largest x; infinite for all."""

    law: Law
    window: float = math.inf

    def rows(self, runs: Runs) -> Runs:
        """The rows that it is fitted to."""
        if math.isinf(self.window):
            return runs
        return runs.where(runs.compute >= runs.compute.max() / self.window * (1 - 1e-9))

    def fits(self, runs: Runs) -> bool:
        """Whether its rows are enough for its law."""
        rows = len(self.rows(runs))
        if math.isinf(self.window):
            return rows > len(self.law.params)
        return rows >= max(len(self.law.params) + SPARE, LEAST)


def candidates_for(runs: Runs, laws: tuple[Law, ...]) -> tuple[Candidate, ...]:
    """Every law on every window that holds enough rows, and fewer than the wider one."""
    windows = WINDOWS if "x" in runs.columns else WINDOWS[:1]
    found = []
    for law in laws:
        before = len(runs) + 1
        for window in windows:
            one = Candidate(law=law, window=window)
            if len(one.rows(runs)) < before and one.fits(runs):
                found.append(one)
                before = len(one.rows(runs))
    return tuple(found)
