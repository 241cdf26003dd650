"""`Sensitivity`: the key answers of a ladder, under each choice that people make differently."""

from dataclasses import dataclass
from typing import Any

from isoflop._errors import InputError
from isoflop._types import LEVEL, Interval
from isoflop.fitting.as_json import to_plain

NAN = float("nan")

SWINGING = ("alpha", "beta", "entropy", "a", "n_params", "n_tokens", "tokens_per_param")
"""Answers whose range over the panel is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One line of the panel: what was done, and what it says at the panel's compute."""

    name: str
    change: str
    """What differs from the default, in words."""
    missing: str = ""
    """Why this line is impossible; empty where it is not. All numbers are NaN then."""
    n_runs: int = 0
    rms: float = NAN
    """Rms residual of log loss over the runs of this line."""
    alpha: float = NAN
    beta: float = NAN
    entropy: float = NAN
    """The irreducible loss E."""
    a: float = NAN
    """Exponent of N_opt ~ C^a; where it varies, the slope over the compute of the runs."""
    n_params: float = NAN
    """N_opt at the panel's compute, counted as this line counts."""
    n_tokens: float = NAN
    tokens_per_param: float = NAN
    loss: Interval | None = None
    """The law's loss at that optimum, with the interval of its parameters (`of="mean"`)."""

    @property
    def possible(self) -> bool:
        """Whether the table allows this line."""
        return not self.missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """Key answers at `flops` under each choice; the first line is the default."""

    flops: float
    answers: tuple[Answer, ...]
    target: str = "loss"
    level: float = LEVEL

    def __getitem__(self, name: str) -> Answer:
        """The line of that name.

        Raises:
            InputError: there is none.
        """
        for one in self.answers:
            if one.name == name:
                return one
        raise InputError(
            f"The panel must have the line {name!r}, but it has "
            f"{', '.join(one.name for one in self.answers)}. Choose one of these."
        )

    @property
    def swing(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest value of every answer over the lines that are possible."""
        known = [one for one in self.answers if one.possible]
        ranges = {}
        for name in SWINGING:
            values = [value for one in known if (value := getattr(one, name)) == value]
            if values:
                ranges[name] = (min(values), max(values))
        return ranges

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and strings; what is not known is null."""
        return {
            "flops": self.flops,
            "target": self.target,
            "level": self.level,
            "answers": [{**to_plain(one), "possible": one.possible} for one in self.answers],
            "swing": to_plain(self.swing),
        }
