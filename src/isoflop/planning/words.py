"""Numbers in words: counts in three digits."""

from math import isfinite

_SCALES = ((1e15, "P"), (1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def count(value: float) -> str:
    """A count in three digits: 1.33T, 70.1B, 12.5M, 830."""
    if not isfinite(value):
        return "∞"
    for scale, letter in _SCALES:
        # 999.6e6 would print as 1e+03M: three digits round up to the next letter.
        if value >= 0.9995 * scale:
            return f"{_digits(value / scale)}{letter}" if value < 1e18 else f"{value:.3g}"
    return _digits(value)


def _digits(value: float) -> str:
    text = f"{value:.3g}"
    return text if "e" not in text else f"{value:.0f}" if value >= 1 else text
