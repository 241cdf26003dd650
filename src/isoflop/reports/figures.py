"""Figures of a study: pure functions, plain data -> matplotlib `Figure`.

Every function takes a `Theme`; sizes are ordered by one colour scale, lines are labelled directly,
and nothing is fitted here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from isoflop._types import Array, Interval
from isoflop.reports import numbers
from isoflop.reports.axes import label_ends, log_axis
from isoflop.reports.style import LIGHT, Theme, new_figure, ramp, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_POINTS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Loss along one training; curves with one `label` (the size, `107k`) share a colour."""

    run: str
    label: str
    n_tokens: Array
    loss: Array
    kind: Literal["trunk", "branch", "holdout"]
    n_params: float = 0.0
    """Orders the sizes, small to large; equal ones stay in the order given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One isoFLOP profile: runs of about equal compute, the parabola through them, its minimum."""

    flops: float
    n_params: Array
    loss: Array
    curve_n_params: Array
    curve_loss: Array
    n_opt: float
    loss_opt: float
    interior: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line over compute with an optional band."""

    flops: Array
    loss: Array
    low: Array | None = None
    high: Array | None = None


def loss_curves(curves: Sequence[Curve], *, theme: Theme = LIGHT) -> "Figure":
    """Loss [nats/token] against tokens: trunks thin, branches (cooldowns) bold to their end."""
    curves = sorted(curves, key=lambda curve: curve.n_params)
    labels = list(dict.fromkeys(curve.label for curve in curves))
    with styled(theme):
        figure = new_figure(6.6, 4.0)
        axes = figure.add_subplot()
        colours = dict(zip(labels, ramp(theme, max(len(labels), 1)), strict=False))
        ends: list[tuple[float, float, str, Any]] = []
        for label in labels:
            group = [curve for curve in curves if curve.label == label and curve.loss.size]
            for curve in group:
                _draw_curve(axes, curve, colours[label], theme)
            if group:
                last = max(group, key=lambda curve: float(curve.n_tokens[-1]))
                held = last.kind == "holdout"
                text = f"{label} (held out)" if held else label
                colour = theme.red if held else colours[label]
                ends.append((float(last.n_tokens[-1]), float(last.loss[-1]), text, colour))
        log_axis(axes, "x", numbers.count)
        log_axis(axes, "y", numbers.general)
        _focus_on_ends(axes, curves)
        axes.set(xlabel="tokens", ylabel="loss [nats/token]")
        label_ends(axes, ends)
    return figure


def isoflop_profiles(profiles: Sequence[Profile], *, theme: Theme = LIGHT) -> "Figure":
    """Loss against model size, a curve per budget, minima marked (hollow: at an edge)."""
    ordered = sorted(profiles, key=lambda profile: profile.flops)
    with styled(theme):
        figure = new_figure(6.6, 4.0)
        axes = figure.add_subplot()
        ends = []
        for profile, colour in zip(ordered, ramp(theme, max(len(ordered), 1)), strict=False):
            axes.plot(profile.n_params, profile.loss, "o", color=colour, ms=4, alpha=0.75)
            axes.plot(profile.curve_n_params, profile.curve_loss, color=colour)
            axes.plot(
                profile.n_opt,
                profile.loss_opt,
                "D",
                ms=6.5,
                zorder=4,
                mew=1.3,
                mfc=theme.ink if profile.interior else theme.paper,
                mec=theme.ink,
            )
            end = int(np.argmax(profile.curve_n_params)) if profile.curve_n_params.size else None
            if end is not None:
                ends.append(
                    (
                        float(profile.curve_n_params[end]),
                        float(profile.curve_loss[end]),
                        f"{numbers.scientific(profile.flops)} FLOPs",
                        colour,
                    )
                )
        minima = sorted((p.n_opt, p.loss_opt) for p in ordered if p.interior)
        if len(minima) > 1:
            axes.plot(*zip(*minima, strict=True), color=theme.ink, lw=0.9, ls=(0, (3, 3)), zorder=3)
        log_axis(axes, "x", numbers.count)
        log_axis(axes, "y", numbers.general)
        axes.set(xlabel="parameters N", ylabel="loss [nats/token]")
        label_ends(axes, ends)
    return figure


def frontier(
    *,
    flops: Array,
    loss: Array,
    fitted: Line,
    naive: Line,
    floor: Interval | None,
    held_out: tuple[float, float] | None = None,
    forecast: tuple[float, Interval] | None = None,
    theme: Theme = LIGHT,
) -> "Figure":
    """All runs, L(C) with band and floor, the straight log-log line, the held-out run."""
    with styled(theme):
        figure = new_figure(6.6, 4.2)
        axes = figure.add_subplot()
        axes.plot(flops, loss, "o", color=theme.muted, ms=3.5, alpha=0.7, label="pilots")
        ends = _draw_laws(axes, fitted, naive, floor, theme)
        _draw_large_run(axes, held_out, forecast, theme)
        log_axis(axes, "x", numbers.scientific)
        log_axis(axes, "y", numbers.general)
        axes.set(xlabel="compute C [FLOPs]", ylabel="loss [nats/token]")
        axes.legend(loc="upper right")
        label_ends(axes, ends)
    return figure


def _draw_laws(
    axes: Any, fitted: Line, naive: Line, floor: Interval | None, theme: Theme
) -> list[tuple[float, float, str, Any]]:
    if fitted.low is not None and fitted.high is not None:
        axes.fill_between(fitted.flops, fitted.low, fitted.high, color=theme.blue, alpha=0.16, lw=0)
    axes.plot(fitted.flops, fitted.loss, color=theme.blue, lw=2)
    axes.plot(naive.flops, naive.loss, color=theme.orange, lw=1.3, ls=(0, (5, 3)))
    ends = [
        (float(fitted.flops[-1]), float(fitted.loss[-1]), "L(C) = E + (C0/C)^α", theme.blue),
        (float(naive.flops[-1]), float(naive.loss[-1]), "straight line", theme.orange),
    ]
    if floor is not None and floor.value > 0:
        axes.axhline(floor.value, color=theme.green, lw=1.2)
        ends.append(
            (
                float(fitted.flops[-1]),
                floor.value,
                f"floor {numbers.loss(floor.value)}",
                theme.green,
            )
        )
    return ends


def _draw_large_run(
    axes: Any,
    held_out: tuple[float, float] | None,
    forecast: tuple[float, Interval] | None,
    theme: Theme,
) -> None:
    if forecast is not None:
        at, band = forecast
        axes.errorbar(
            [at],
            [band.value],
            yerr=[[band.value - band.low], [band.high - band.value]],
            fmt="s",
            color=theme.ink,
            ms=5,
            capsize=4,
            lw=1.4,
            zorder=5,
            label=f"forecast, {numbers.level(band.level)} interval",
        )
    if held_out is not None:
        axes.plot(
            *held_out,
            "*",
            color=theme.red,
            ms=13,
            mec=theme.paper,
            mew=0.7,
            zorder=6,
            ls="none",
            label="held-out run",
        )


def _draw_curve(axes: Any, curve: Curve, colour: Any, theme: Theme) -> None:
    keep = _thinned(curve.loss.size)
    held, trunk = curve.kind == "holdout", curve.kind == "trunk"
    colour = theme.red if held else colour
    axes.plot(
        curve.n_tokens[keep],
        curve.loss[keep],
        color=colour,
        lw=1.0 if trunk else 1.6,
        alpha=0.55 if trunk else 1.0,
        zorder=3 if held else 2,
    )
    if not trunk:
        axes.plot(
            curve.n_tokens[-1],
            curve.loss[-1],
            "*" if held else "o",
            color=colour,
            ms=10 if held else 4,
            mec=theme.paper,
            mew=0.6,
            zorder=4,
        )


def _thinned(n: int) -> Any:
    """Indices of at most `_MAX_POINTS` points, denser early (the axis is logarithmic)."""
    if n <= _MAX_POINTS:
        return slice(None)
    return np.unique(np.geomspace(1, n, _MAX_POINTS).astype(int)) - 1


def _focus_on_ends(axes: Any, curves: Sequence[Curve]) -> None:
    """Cut the steep start off: it would press all that matters into a corner."""
    filled = [curve for curve in curves if curve.loss.size]
    if not filled:
        return
    lowest = min(float(np.min(curve.loss)) for curve in filled)
    highest = max(float(np.max(curve.loss)) for curve in filled)
    ends = max(float(curve.loss[-1]) for curve in filled)
    top = min(highest * 1.02, ends + 0.8 * (ends - lowest) + 0.1)
    axes.set_ylim(lowest - 0.06 * (top - lowest), top)
    starts = [
        float(curve.n_tokens[int(np.argmax(curve.loss <= top))])
        for curve in filled
        if curve.kind != "branch"
    ]
    if starts and min(starts) > 0:
        axes.set_xlim(left=min(starts) * 0.9)
