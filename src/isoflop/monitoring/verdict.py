"""`Verdict`: how the run stands against its frozen forecast, in one word and its figures."""

import math
import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from isoflop._types import LEVEL, Interval, Problem
from isoflop.monitoring.ahead import GoingOn, going_on
from isoflop.monitoring.alarm import Alarm, watch
from isoflop.monitoring.band import Band, Seen
from isoflop.monitoring.cause import likely_cause
from isoflop.monitoring.sources import MeasuredCurve

State = Literal["on_track", "plateau_by_schedule", "off_law", "diverged", "stalled"]

EXIT_CODES: dict[State, int] = {
    "on_track": 0,
    "plateau_by_schedule": 0,
    "off_law": 4,
    "diverged": 5,
    "stalled": 6,
}
"""What `isoflop watch` exits with; 1, 2 and 3 mean what they mean for every verb."""

DIVERGED_NATS = 1.0
"""A loss so far above its forecast is no deviation any more: e times the perplexity."""

SILENT_S = 60.0
"""Seconds of silence that are nothing yet."""

SILENT_INTERVALS = 5.0
"""Silence is told from this multiple of the median time between points on."""

RECENT = 0.1
"""Share of the run over which a plateau is looked for."""

FLAT = 2.0
"""A forecast gain over that stretch below so many sd of the noise looks flat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The state of one run, what the alarm says and where it will end."""

    state: State
    run: str
    text: str
    """One sentence for people."""
    n_tokens: float
    """Tokens at the last point; 0 before the first."""
    share: float
    """Of the planned tokens."""
    loss: float | None
    """Last loss that is a number [nats/token]."""
    expected: Interval | None
    """What the frozen forecast said of that point."""
    final: Interval
    """The final loss, given the curve so far."""
    final_frozen: Interval
    """The final loss as it was forecast before the run."""
    alarm: Alarm
    cause: str
    """What most likely moved the curve; empty while it is on track."""
    silent_s: float | None
    """Seconds since the last sign of life; None where the source gives no times, or has ended."""
    n_judged: int
    n_left_out: int
    """Points before the law holds, beyond the planned end, or that are no loss."""
    sha256: str
    """Of the frozen forecast."""
    going_on: GoingOn | None = None
    """What more tokens would bring; None where the forecast does not look beyond the end."""
    problems: tuple[Problem, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 on track, 4 off its law, 5 diverged, 6 stalled."""
        return EXIT_CODES[self.state]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and strings; the alarm without its history."""
        change = self.alarm.change
        names = (
            "state", "run", "text", "n_tokens", "share", "loss", "cause", "silent_s", "n_judged",
            "n_left_out", "sha256",
        )  # fmt: skip
        intervals = ("expected", "final", "final_frozen")
        return {
            **{name: getattr(self, name) for name in names},
            **{name: _interval(getattr(self, name)) for name in intervals},
            "exit_code": self.exit_code,
            "going_on": None if self.going_on is None else self.going_on.to_json(),
            "level": self.alarm.level,
            "evidence": self.alarm.evidence,
            "rung_at": self.alarm.rung_at,
            "change": None
            if change is None
            else {"shape": change.shape, "since": change.since, "size": change.size},
        }


def judge(
    band: Band,
    curve: MeasuredCurve,
    *,
    level: float = 0.05,
    now: float | None = None,
    sha256: str = "",
) -> Verdict:
    """The verdict on a run's curve up to now by its frozen forecast; asked as often as one likes.

    Args:
        level: share of healthy runs whose alarm may ever ring.
        now: seconds since the epoch; the clock's where None.
        sha256: of the forecast, for the record.
    """
    seen = curve.seen(band)
    alarm = watch(band, seen, level)
    silent = _silence(curve, time.time() if now is None else now)
    good = np.flatnonzero(np.isfinite(curve.loss))
    last = int(good[-1]) if good.size else None
    cause = "" if alarm.change is None else likely_cause(alarm.change, band, curve)
    state = _state(band, curve, alarm, silent, seen)
    at = float(curve.n_tokens[-1]) if curve.n_tokens.size else 0.0
    final = band.final(seen)
    return Verdict(
        state=state,
        run=curve.run,
        text=_text(state, band, curve, alarm, cause, silent),
        n_tokens=at,
        share=at / band.end,
        loss=None if last is None else float(curve.loss[last]),
        expected=_expected(band, curve, last),
        final=final,
        final_frozen=band.final(Seen(*(np.zeros(0),) * 3)),
        alarm=alarm,
        cause=cause,
        silent_s=silent,
        n_judged=int(seen.counts.sum()),
        n_left_out=int(curve.n_tokens.size - curve.usable(band).sum()),
        sha256=sha256,
        going_on=None if band.ahead is None else going_on(band.ahead, final, band.noise),
        problems=band.problems,
    )


def _state(
    band: Band, curve: MeasuredCurve, alarm: Alarm, silent: float | None, seen: Seen
) -> State:
    """The worst that is true of it."""
    if _has_diverged(band, curve):
        return "diverged"
    if alarm.rings:
        return "off_law"
    if curve.state == "failed" or (silent is not None and silent > _patience(curve)):
        return "stalled"
    return "plateau_by_schedule" if _is_plateau(band, seen) else "on_track"


def _has_diverged(band: Band, curve: MeasuredCurve) -> bool:
    if curve.state == "diverged":
        return True
    if not curve.n_tokens.size:
        return False
    at, loss = curve.n_tokens[-1], float(curve.loss[-1])
    if not math.isfinite(loss):
        return True
    inside = band.first <= at <= band.end
    return inside and loss > float(np.exp(band.mean(curve.n_tokens[-1:])[0])) + DIVERGED_NATS


def _silence(curve: MeasuredCurve, now: float) -> float | None:
    """Seconds since the last sign of life; None where there is none to wait for."""
    if curve.ended or curve.state == "queued":
        return None
    signs = np.append(curve.wall_s, curve.heartbeat)
    signs = signs[np.isfinite(signs)]
    return max(0.0, now - float(signs.max())) if signs.size else None


def _patience(curve: MeasuredCurve) -> float:
    """Seconds of silence from which on a run counts as stalled."""
    between = np.diff(curve.wall_s[np.isfinite(curve.wall_s)])
    if between.size < 3:
        return SILENT_S
    return max(SILENT_S, SILENT_INTERVALS * float(np.median(between)))


def _is_plateau(band: Band, seen: Seen) -> bool:
    """Whether the curve looks flat, its forecast says so too, and a cooldown is still to come."""
    if seen.n_tokens.size < 3:
        return False
    now = float(seen.n_tokens[-1])
    before = max(band.first, now - RECENT * band.end)
    stretch = np.array([before, now, band.end])
    past, here, end = band.mean(stretch).tolist()
    rates = band.rate(stretch)
    gain, to_come = past - here, here - end
    recent = seen.n_tokens >= before
    slope = float(seen.log_loss[recent][0] - seen.log_loss[recent][-1])
    flat = FLAT * band.noise.local
    return gain < flat and slope < 2 * flat and to_come > 3 * gain and rates[2] < rates[1] / 2


def _expected(band: Band, curve: MeasuredCurve, last: int | None) -> Interval | None:
    if last is None or not band.first <= curve.n_tokens[last] <= band.end:
        return None
    found = band.predict(curve.n_tokens[last : last + 1])
    return Interval(
        value=float(found.mean[0]), low=float(found.low[0]), high=float(found.high[0]), level=LEVEL
    )


def _text(
    state: State,
    band: Band,
    curve: MeasuredCurve,
    alarm: Alarm,
    cause: str,
    silent: float | None,
) -> str:
    if state == "diverged":
        return f"diverged: {curve.reason or 'the loss has left its level or is no number'}"
    if state == "off_law":
        assert alarm.change is not None
        side = "above" if alarm.change.size > 0 else "below"
        return (
            f"off its law since {alarm.change.since:.4g} tokens, "
            f"{100 * abs(alarm.change.size):.2g} % {side} it by now ({alarm.change.shape}): {cause}"
        )
    if state == "stalled" and curve.state == "failed":
        return f"stalled: the run has failed: {curve.reason or 'no reason given'}"
    if state == "stalled":
        return f"stalled: no sign of life for {silent:.0f} s"
    if state == "plateau_by_schedule":
        here = curve.n_tokens[curve.usable(band)][-1:]
        drop = 1 - float(np.exp(band.mean(np.array([band.end]))[0] - band.mean(here)[0]))
        return (
            f"on track: flat as forecast at this rate; the cooldown is to bring {100 * drop:.2g} %"
        )
    return "on track" if curve.n_tokens.size else "no point yet"


def _interval(value: Interval | None) -> dict[str, float] | None:
    if value is None:
        return None
    return {"value": value.value, "low": value.low, "high": value.high, "level": value.level}
