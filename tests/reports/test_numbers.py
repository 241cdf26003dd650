"""Numbers as people read them."""

import math

import pytest

from isoflop._types import Interval
from isoflop.reports import numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (999.4, "999"),
        (1000, "1k"),
        (131_500, "131.5k"),
        (999_960, "1M"),
        (7.2e6, "7.2M"),
        (7e10, "70B"),
        (1.4e12, "1.4T"),
        (2e16, "2e16"),
        (math.nan, "–"),
        (math.inf, "∞"),
    ],
)
def test_count(value: float, text: str) -> None:
    assert numbers.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1.3e12, "1.3e12"), (1e24, "1e24"), (3.456e-5, "3.46e-5"), (0, "0")]
)
def test_scientific(value: float, text: str) -> None:
    assert numbers.scientific(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.34567, "0.346"),
        (406.4, "406"),
        (1.69, "1.69"),
        (0.0001, "1e-4"),
        (1e9, "1e9"),
        (0, "0.00"),
    ],
)
def test_general(value: float, text: str) -> None:
    assert numbers.general(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123, "1.2 %"), (-0.0092, "-0.92 %"), (0.4, "40 %")]
)
def test_percent(value: float, text: str) -> None:
    assert numbers.percent(value) == text


@pytest.mark.parametrize(
    ("days", "text"),
    [(40 / 86_400, "40 s"), (0.05, "72 min"), (0.5, "12 h"), (45, "45 days"), (800, "2.2 years")],
)
def test_duration(days: float, text: str) -> None:
    assert numbers.duration(days) == text


def test_money_and_interval() -> None:
    assert numbers.money(1200, 3400) == "$1.2k to $3.4k"
    value = Interval(value=2.3214, low=2.29, high=2.35)
    assert numbers.interval(value, show="loss") == "2.321 [2.290, 2.350]"
    lone = Interval(value=0.5, low=math.nan, high=math.nan)
    assert numbers.interval(lone) == "0.500 (no interval)"
