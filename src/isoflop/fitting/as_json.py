"""Dataclasses and arrays as plain JSON values; numbers that JSON lacks become null. And back."""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_args

import numpy as np

from isoflop._types import Problem, Severity


def to_plain(value: Any) -> Any:
    """The value as dicts, lists, numbers, strings and None."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return to_plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, np.generic):
        return to_plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read_problem(record: Mapping[str, Any]) -> Problem:
    """The problem that `to_plain` wrote.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    if record["severity"] not in get_args(Severity):
        raise ValueError(f"severity={record['severity']}")
    # A code that this isoflop does not know would be a fault of ours elsewhere; here it is input.
    try:
        return Problem(**{**record, "affects": tuple(record["affects"])})
    except AssertionError as error:
        raise ValueError(str(error)) from error
