"""Refusals of numbers that cannot be: one wording for the whole room."""

from collections.abc import Mapping
from numbers import Integral

from isoflop._errors import InputError


def require_counts(values: Mapping[str, object]) -> None:
    """Every value is a whole number of at least 1.

    Raises:
        InputError: one is not; names it.
    """
    for name, value in values.items():
        if not isinstance(value, Integral) or value < 1:
            raise InputError(
                f"`{name} >= 1` must hold, but got {name}={value!r}. Give a positive whole number."
            )


def require_positive(values: Mapping[str, float], remedy: str = "Give a positive number.") -> None:
    """Every value is above zero.

    Raises:
        InputError: one is not; names it.
    """
    for name, value in values.items():
        if not value > 0:
            raise InputError(f"`{name} > 0` must hold, but got {name}={value}. {remedy}")


def fields_of(record: object, *names: str) -> dict[str, float]:
    """Some fields of a record by name."""
    return {name: getattr(record, name) for name in names}


def given(values: Mapping[str, float | None]) -> dict[str, float]:
    """Those that are not None."""
    return {name: value for name, value in values.items() if value is not None}
