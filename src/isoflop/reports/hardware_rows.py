"""Rows of a choice of hardware: days against money, with the odds of every limit."""

from typing import TYPE_CHECKING

from isoflop._types import Interval
from isoflop.reports import numbers
from isoflop.reports.rows import Rows

if TYPE_CHECKING:
    from isoflop.accounting import Layout
    from isoflop.planning.hardware_option import HardwareChoice, HardwareOption


def hardware_rows(choice: "HardwareChoice") -> Rows:
    """The options on the front of days and money, fastest first, and the best, marked by `*`.

    Where nothing has a price there is no front: all options then.
    """
    front = any(one.on_front for one in choice.options)
    shown = [one for one in choice.options if one.on_front or one is choice.best or not front]
    shown.sort(key=lambda one: (one.days_sure, one.n_devices))
    limits = [
        *(["in time"] if choice.max_days is not None else []),
        *(["in budget"] if choice.max_usd is not None else []),
    ]
    level = numbers.level(shown[0].days.level)
    return Rows(
        title=f"Days against money (medians, {level} intervals)",
        header=("", "hardware", "spread", "days", "USD", *limits, "fits"),
        rows=tuple(_row(one, choice) for one in shown),
        text_columns=3,
    )


def _row(one: "HardwareOption", choice: "HardwareChoice") -> tuple[str, ...]:
    odds = [
        *([one.p_days] if choice.max_days is not None else []),
        *([one.p_usd] if choice.max_usd is not None else []),
    ]
    return (
        "*" if one is choice.best else "",
        f"{one.n_devices} × {one.accelerator}",
        spread(one.layout),
        numbers.interval(one.days),
        numbers.MISSING if one.usd is None else _dollars(one.usd),
        *(numbers.percent(share or 0.0) for share in odds),
        numbers.percent(one.p_fits),
    )


def _dollars(usd: Interval) -> str:
    return numbers.interval(usd, show="count")


def spread(layout: "Layout") -> str:
    """A layout in a few words: `data 64 (FSDP), tensor 8, recompute selective`."""
    sharing = {0: "", 1: " (ZeRO-1)", 2: " (ZeRO-2)", 3: " (FSDP)"}[layout.zero]
    parts = [
        f"data {layout.dp}{sharing}",
        *(
            f"{word} {count}"
            for word, count in (
                ("tensor", layout.tp),
                ("pipeline", layout.pp),
                ("context", layout.cp),
                ("expert", layout.ep),
            )
            if count > 1
        ),
        *([] if layout.recompute == "none" else [f"recompute {layout.recompute}"]),
    ]
    return ", ".join(parts)
