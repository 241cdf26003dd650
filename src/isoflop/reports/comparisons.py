"""Figures that set things side by side: residuals, ceilings, allocations, forecast and truth."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from isoflop._types import Array, Interval
from isoflop.reports import numbers
from isoflop.reports.axes import log_axis
from isoflop.reports.style import LIGHT, Theme, new_figure, ramp, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def residuals(
    *,
    n_params: Array,
    n_tokens: Array,
    flops: Array,
    residual: Array,
    theme: Theme = LIGHT,
) -> "Figure":
    """Relative residual (loss over law, minus one) [%] against N, D and C, coloured by N."""
    sizes = np.unique(n_params)
    colours = dict(zip(sizes.tolist(), ramp(theme, max(sizes.size, 1)), strict=False))
    panels: tuple[tuple[str, Array, Callable[[float], str]], ...] = (
        ("parameters N", n_params, numbers.count),
        ("tokens D", n_tokens, numbers.count),
        ("compute C [FLOPs]", flops, numbers.scientific),
    )
    with styled(theme):
        figure = new_figure(6.6, 2.7)
        row = figure.subplots(1, 3, sharey=True)
        for axes, (name, values, formatter) in zip(row, panels, strict=True):
            axes.axhline(0, color=theme.ink, lw=0.9)
            axes.scatter(
                values,
                100 * residual,
                s=18,
                c=[colours[n] for n in n_params.tolist()],
                edgecolors=theme.paper,
                linewidths=0.4,
                zorder=3,
            )
            log_axis(axes, "x", formatter, most=4)
            axes.set_xlabel(name)
        row[0].set_ylabel("measured − law [%]")
        reach = max(1.15 * 100 * float(np.max(np.abs(residual), initial=0.0)), 0.1)
        row[0].set_ylim(-reach, reach)
    return figure


def ceilings(
    rows: Sequence[tuple[float, Interval, float]], entropy: Interval, *, theme: Theme = LIGHT
) -> "Figure":
    """Per size N: the best loss reached and the ceiling E + A/N^alpha that data alone cannot break.

    Args:
        rows: (n_params, ceiling, best_loss) per size.
        entropy: the irreducible loss E.
    """
    rows = sorted(rows, key=lambda row: row[0])
    with styled(theme):
        figure = new_figure(6.6, 1.5 + 0.36 * len(rows))
        axes = figure.add_subplot()
        axes.axvspan(entropy.low, entropy.high, color=theme.green, alpha=0.14, lw=0)
        axes.axvline(entropy.value, color=theme.green, lw=1.5)
        for y, (_, ceiling, best) in enumerate(rows):
            axes.plot([ceiling.value, best], [y, y], color=theme.orange, lw=5, alpha=0.35)
            axes.plot([ceiling.low, ceiling.high], [y, y], color=theme.blue, lw=1.4)
            axes.plot(ceiling.value, y, "|", color=theme.blue, ms=13, mew=2.4)
            axes.plot(best, y, "o", color=theme.orange, ms=6, zorder=4)
        axes.set_yticks(range(len(rows)), [numbers.count(row[0]) for row in rows])
        axes.set_ylim(-0.6, len(rows) + 0.1)
        axes.grid(visible=False, axis="y")
        axes.set(xlabel="loss [nats/token]", ylabel="parameters N")
        if rows:
            # Named once, over the top row: the colours carry the rest.
            top = len(rows) - 0.62
            _, ceiling, best = rows[-1]
            for x, text, colour in (
                (entropy.value, "irreducible E", theme.green),
                (ceiling.value, "ceiling", theme.blue),
                (best, "best run", theme.orange),
            ):
                axes.annotate(
                    text,
                    (x, top),
                    xytext=(0, 2),
                    textcoords="offset points",
                    color=colour,
                    ha="center",
                    va="bottom",
                    fontsize=8,
                    fontweight="bold",
                )
    return figure


def allocations(
    rows: Sequence[tuple[str, Array, Array, Array]], *, theme: Theme = LIGHT
) -> "Figure":
    """Optimal parameters and tokens against compute, one line per approach.

    Args:
        rows: (name, flops, n_opt, d_opt) per approach.
    """
    styles = ((theme.blue, "o"), (theme.orange, "s"), (theme.green, "^"), (theme.red, "v"))
    with styled(theme):
        figure = new_figure(6.6, 3.2)
        panels = figure.subplots(1, 2)
        for axes, index, name in (
            (panels[0], 2, "optimal N"),
            (panels[1], 3, "optimal D [tokens]"),
        ):
            for row, (colour, marker) in zip(rows, styles, strict=False):
                many = row[1].size > 15
                axes.plot(
                    row[1],
                    row[index],
                    "-" if many else f"{marker}-",
                    color=colour,
                    ms=4.5,
                    lw=1.3,
                    label=row[0],
                )
            log_axis(axes, "x", numbers.scientific, most=5)
            log_axis(axes, "y", numbers.count)
            axes.set(xlabel="compute C [FLOPs]", title=name)
        panels[0].legend(loc="upper left")
    return figure


def forecast_against_truth(
    forecast: Interval, *, naive: float, actual: float | None, theme: Theme = LIGHT
) -> "Figure":
    """The forecast with its interval, the straight line's forecast and the measured loss."""
    with styled(theme):
        figure = new_figure(6.6, 1.8)
        axes = figure.add_subplot()
        axes.plot([forecast.low, forecast.high], [1, 1], color=theme.blue, lw=9, alpha=0.3)
        axes.plot(forecast.value, 1, "s", color=theme.blue, ms=7)
        axes.plot(naive, 0, "D", color=theme.orange, ms=7)
        if actual is not None:
            axes.axvline(actual, color=theme.red, lw=1.6)
            axes.annotate(
                f"measured {numbers.loss(actual)}",
                (actual, 1.62),
                xytext=(5, 0),
                textcoords="offset points",
                color=theme.red,
                va="center",
                fontweight="bold",
            )
        for x, y, text, colour in (
            (forecast.value, 1, numbers.loss(forecast.value), theme.blue),
            (naive, 0, numbers.loss(naive), theme.orange),
        ):
            axes.annotate(
                text,
                (x, y),
                xytext=(0, -8),
                textcoords="offset points",
                color=colour,
                ha="center",
                va="top",
            )
        axes.set_yticks([0, 1], ["straight line", f"forecast, {numbers.level(forecast.level)}"])
        axes.set_ylim(-0.75, 1.95)
        axes.margins(x=0.12)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("loss [nats/token]")
    return figure
