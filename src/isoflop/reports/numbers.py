"""Numbers as people read them: `131.5k` parameters, `1.3e12` FLOPs, `2.321 [2.29, 2.35]`."""

import math

from isoflop._types import Interval

_COUNT_STEPS = ((1e15, None), (1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
MISSING = "–"


def count(value: float) -> str:
    """A count (parameters, tokens) with at most four digits and a suffix: 131.5k, 7.2M, 1.4T."""
    if not math.isfinite(value):
        return _not_finite(value)
    size = abs(value)
    # 999,960 must become 1M and not 1000k: four digits round up to the next suffix.
    for step, suffix in _COUNT_STEPS:
        if size >= 0.99995 * step:
            if suffix is None:
                return scientific(value)
            scaled = value / step
            return f"{scaled:.4g}{suffix}" if abs(scaled) >= 100 else f"{scaled:.3g}{suffix}"
    return f"{value:.3g}" if size < 100 else f"{value:.0f}"


def scientific(value: float) -> str:
    """A magnitude such as FLOPs with two or three digits and a bare exponent: 1.3e12."""
    if not math.isfinite(value):
        return _not_finite(value)
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def loss(value: float) -> str:
    """A loss [nats/token] with three decimals: 2.321."""
    return f"{value:.3f}" if math.isfinite(value) else _not_finite(value)


def general(value: float, digits: int = 3) -> str:
    """Any number with `digits` significant digits, an exponent only where it saves room."""
    if not math.isfinite(value):
        return _not_finite(value)
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        return scientific(value)
    decimals = digits - 1 - math.floor(math.log10(abs(value))) if value else digits - 1
    return f"{value:.{max(decimals, 0)}f}"


def percent(fraction: float) -> str:
    """A fraction as a percentage with two digits: 0.0123 -> 1.2 %."""
    if not math.isfinite(fraction):
        return _not_finite(fraction)
    size = abs(fraction) * 100
    return f"{fraction * 100:.{0 if size >= 10 else 1 if size >= 1 else 2}f} %"


def duration(days: float) -> str:
    """A time given in days, in the unit that reads best: 40 s, 12 min, 3.2 h, 45 days."""
    if not math.isfinite(days):
        return _not_finite(days)
    for unit, per_day in (("s", 86_400.0), ("min", 1440.0), ("h", 24.0)):
        limit = {"s": 90, "min": 90, "h": 48}[unit]
        if days * per_day < limit:
            return f"{days * per_day:.2g} {unit}"
    if days >= 730:
        return f"{general(days / 365.25, 2)} years"
    return f"{general(days, 2)} days" if days < 100 else f"{days:.0f} days"


def money(low: float, high: float) -> str:
    """A range of US dollars: $1.2k to $3.4k."""
    return f"${_dollars(low)} to ${_dollars(high)}"


def interval(value: Interval, *, show: str = "general") -> str:
    """A value with its interval, `2.321 [2.29, 2.35]`; `show` names a function of this module."""
    formatter = {"general": general, "count": count, "scientific": scientific, "loss": loss}[show]
    text = formatter(value.value)
    if not (math.isfinite(value.low) or math.isfinite(value.high)):
        return f"{text} (no interval)"
    return f"{text} [{formatter(value.low)}, {formatter(value.high)}]"


def level(value: float) -> str:
    """The level of an interval: 0.9 -> 90 %."""
    return f"{value * 100:.3g} %"


def _dollars(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 10 else count(value)


def _not_finite(value: float) -> str:
    return MISSING if math.isnan(value) else ("∞" if value > 0 else "−∞")
