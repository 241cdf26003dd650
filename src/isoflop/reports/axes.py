"""What figures share on their axes: readable logarithmic ticks, names at the ends of lines."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np


def log_axis(
    axes: Any, which: Literal["x", "y"], formatter: Callable[[float], str], most: int = 7
) -> None:
    """A logarithmic axis whose ticks are readable numbers, also within less than a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = axis.get_view_interval()
    decades = np.log10(high / low) if low > 0 else 2.0
    if decades > 0.8:
        subs = (1.0,) if decades > 3 else (1.0, 3.0) if decades > 1.6 else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(subs=subs, numticks=most + 3))
    else:
        axis.set_major_locator(MaxNLocator(most - 1, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: formatter(value)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def label_ends(axes: Any, ends: Sequence[tuple[float, float, str, Any]]) -> None:
    """Names at the right end of lines, pushed apart vertically where they would overlap."""
    if not ends:
        return
    low, high = axes.get_ylim()
    scale = np.log(high / low)
    gap = 0.05
    places: list[float] = []
    ordered = sorted(ends, key=lambda end: end[1])
    for _, y, _, _ in ordered:
        wanted = float(np.log(max(y, low) / low) / scale)
        places.append(max(wanted, places[-1] + gap) if places else max(wanted, 0.0))
    overflow = max(places[-1] - 1.0, 0.0)
    for (_, _, text, colour), place in zip(ordered, places, strict=True):
        axes.annotate(
            text,
            (1.0, place - overflow),
            xycoords="axes fraction",
            xytext=(6, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            fontsize=8,
            fontweight="bold",
            annotation_clip=False,
        )
