"""`Law`: a record of pure functions, and the parameters it is written in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from isoflop._errors import InputError
from isoflop._types import Array

Inputs = Mapping[str, Array]
"""Input columns by name, each of shape (R,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """One positive parameter with the range a fit may use: `low <= value <= high`, in `unit`."""

    name: str
    low: float
    high: float
    unit: str = ""

    def __post_init__(self) -> None:
        assert 0 < self.low < self.high, self


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """One functional form: `loss = predict(theta, inputs)` [nats/token].

    `predict` maps theta (..., P) and inputs (R,) to (..., R); `jacobian` gives the derivative
    with respect to theta, (..., R, P). `rescale` gives the theta that fits the same losses after
    every input was divided by its scale: a fit works in such units, where all inputs are near 1.
    """

    name: str
    params: tuple[Param, ...]
    inputs: tuple[str, ...]
    predict: Callable[[Array, Inputs], Array]
    jacobian: Callable[[Array, Inputs], Array]
    rescale: Callable[[Array, Mapping[str, float]], Array]
    formula: str
    source: str
    range_note: str

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in the order of theta."""
        return tuple(param.name for param in self.params)


def find_in(name: str, known: Mapping[str, object], what: str) -> None:
    """Refuse a name that is not known, listing those that are.

    Raises:
        InputError: `name` is not a key of `known`.
    """
    if name not in known:
        raise InputError(
            f"{what!r} must be one of {', '.join(sorted(known))}, but got {name!r}. "
            f"Choose one of these names."
        )
