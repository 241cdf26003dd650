"""The likely cause of a change: what else moved with the curve, or what its shape is known for."""

import numpy as np

from isoflop._types import Array
from isoflop.monitoring.alarm import Change
from isoflop.monitoring.band import Band
from isoflop.monitoring.sources import MeasuredCurve

RATE_OFF = 0.05
"""Share by which the logged rate must differ from the planned one to be named."""

OTHERS = 3.0
"""A domain is named if it moved so many times as much as the median of the others."""

_BY_SHAPE = {
    ("jump", True): "other data or labels from there on, or a setting changed at a restart",
    ("jump", False): "easier or leaked data from there on, or the rate fell earlier than planned",
    ("slope", True): "it learns more slowly: data repeat, regularisation or rate changed",
    ("slope", False): "it learns faster than forecast: better data, or validation text leaks in",
    ("spike", True): "a loss spike that it recovers from: bad batches, or too high a rate",
    ("spike", False): "a short stretch of easier text, or an evaluation on other text",
    ("offset", True): "worse from the start: another corpus, tokenizer, rate or initialisation",
    ("offset", False): "better from the start: another corpus or tokenizer than the pilots'",
}


def likely_cause(change: Change, band: Band, curve: MeasuredCurve) -> str:
    """One clause: the logged rate, one domain that moved, or what such a shape comes from."""
    return (
        _rate(change, band, curve)
        or _domain(change, band, curve)
        or _BY_SHAPE[change.shape, change.size > 0]
    )


def _rate(change: Change, band: Band, curve: MeasuredCurve) -> str:
    """The logged rate, where it is not the planned one since the change."""
    since = curve.usable(band) & (curve.n_tokens >= change.since) & (curve.lr > 0)
    planned = band.rate(curve.n_tokens[since])
    measured = curve.lr[since][planned > 0]
    ratio = float(np.median(measured / planned[planned > 0])) if measured.size else 1.0
    if abs(np.log(ratio)) <= RATE_OFF:
        return ""
    return f"the learning rate is {ratio:.3g} times the planned one"


def _domain(change: Change, band: Band, curve: MeasuredCurve) -> str:
    """One domain that moved much more than the others, or against them."""
    keep = curve.usable(band)
    at = curve.n_tokens[keep]
    moved = {
        name: shift
        for name, values in curve.by_domain.items()
        if (shift := _shift(at, values[keep], change.since, band)) is not None
    }
    if len(moved) < 2:
        return ""
    name = max(moved, key=lambda one: abs(moved[one]))
    rest = [value for other, value in moved.items() if other != name]
    typical = float(np.median(rest))
    if abs(moved[name]) <= OTHERS * abs(typical) and moved[name] * typical > 0:
        return ""
    return (
        f"the domain {name} moved by {100 * np.expm1(moved[name]):+.2g} %, the others by "
        f"{100 * np.expm1(typical):+.2g} %: the mixture or that domain's text changed"
    )


def _shift(at: Array, loss: Array, since: float, band: Band) -> float | None:
    """Move of a domain's log loss against the forecast: after the change less as long before."""
    good = np.isfinite(loss) & (loss > 0)
    off = np.log(np.where(good, loss, 1.0)) - band.mean(at)
    length = at[-1] - since if at.size else 0.0
    after, before = good & (at >= since), good & (at < since) & (at >= since - max(length, 0.0))
    if not (after.any() and before.any()):
        return None
    return float(off[after].mean() - off[before].mean())
