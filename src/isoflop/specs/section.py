"""What every section of a study shares: strict reading, and checks that name the key."""

from collections.abc import Iterable
from typing import Any, ClassVar

from isoflop._errors import StudyError

# Far above anything sensible: within them no count, rate or time overflows.
MAX_TOKENS = 10**18
MAX_WIDTH = 10**6
MAX_LAYERS = 10**4
MAX_PROCESSES = 1024


def require(condition: bool, key: str, value: object, rule: str, remedy: str) -> None:
    if not condition:
        raise StudyError(f"{key} = {value!r}: `{rule}` must hold. {remedy}")


def require_within(section: str, owner: object, key: str, low: float, high: float) -> None:
    """A number, or every number of a list, lies between two bounds; None passes."""
    value = getattr(owner, key)
    numbers: Iterable[float] = value if isinstance(value, tuple) else (value,)
    require(
        value is None or all(low <= number <= high for number in numbers),
        f"{section}.{key}",
        value,
        f"{low:g} <= {key} <= {high:g}",
        "Give a value in this range.",
    )


def require_positive(section: str, owner: object, *keys: str) -> None:
    """Numbers that are given are above zero."""
    for key in keys:
        value = getattr(owner, key)
        require(
            value is None or value > 0,
            f"{section}.{key}",
            value,
            f"{key} > 0",
            "Give a positive number, or leave the key out.",
        )


class Section:
    """Read by pydantic without tolerance for unknown keys, NaN or infinity."""

    __slots__ = ()
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}
