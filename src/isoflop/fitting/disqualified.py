"""Turning a recorded problem into an exception, where the caller wants one."""

from collections.abc import Iterable

from isoflop._errors import FitError
from isoflop._types import Problem


def raise_disqualifying(problems: Iterable[Problem]) -> None:
    """Raise for the first problem that disqualifies a result for some use.

    Raises:
        FitError: that problem, with its remedy.
    """
    for problem in problems:
        if problem.severity == "disqualifying":
            raise FitError(f"{problem.code}: {problem.text} {problem.remedy}")
