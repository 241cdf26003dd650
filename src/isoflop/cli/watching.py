"""What `isoflop watch` does: freeze the forecast once, look at the run, show and send verdicts."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoflop._errors import InputError, RunError
from isoflop.cli.output import Output, plain

if TYPE_CHECKING:
    from rich.console import RenderableType

    from isoflop.monitoring import (
        Band,
        Frozen,
        GoingOn,
        MeasuredCurve,
        Planned,
        Verdict,
        Watched,
    )

LOOK_EVERY_S = 5.0
WIDTH, HEIGHT = 72, 14


def frozen_forecast(
    out: Output, run: Path, study: Path | None, law: str | None, level: float | None
) -> "tuple[Watched, Frozen]":
    """What is watched and its forecast: as it was frozen, or made from study or law and frozen.

    Of a run that has ended it is not written: it would have been made afterwards.

    Raises:
        InputError: neither study nor law and none frozen; both; or a level other than the frozen
            forecast's.
    """
    from isoflop.monitoring import freeze, read_frozen, seal, watched

    found = watched(run)
    if found.forecast.exists():
        frozen = read_frozen(found.forecast)
        if level is not None and level != frozen.level:
            raise InputError(
                f"--level {level:g}: the forecast in {found.forecast} was frozen with level "
                f"{frozen.level:g}. Leave --level out; a level chosen later holds nothing."
            )
        return found, frozen
    curve = found.look()
    band = _band(out, run, found.plan, study, law)
    begun = float(curve.n_tokens[-1]) if curve.n_tokens.size else 0.0
    wanted = 0.05 if level is None else level
    if curve.ended:  # nothing is left to be held to a forecast: it stays a look back
        return found, seal(band, level=wanted, begun_tokens=begun)
    frozen = freeze(found.forecast, band, level=wanted, begun_tokens=begun)
    out.progress.print(f"frozen: {found.forecast}", markup=False, highlight=False)
    return found, frozen


def _band(out: Output, run: Path, plan: "Planned", study: Path | None, law: str | None) -> "Band":
    """The forecast of a published law, or of the pilots of a study."""
    from isoflop.laws import find_published
    from isoflop.monitoring import published_band
    from isoflop.study import band_of_study

    if study is not None and law is not None:
        raise InputError("--study and --law exclude each other: one forecast a run.")
    if law is not None:
        published = find_published(law)
        return published_band(published, plan.path, plan.n_params, batch_tokens=plan.batch_tokens)
    source = study or _study_of(run)
    out.progress.print("fitting the pilots' curves …", highlight=False)
    return band_of_study(source, plan)


def _study_of(run: Path) -> Path:
    """The study folder that a run folder lies in."""
    found = run.resolve().parent.parent
    if not (found / "study.toml").is_file():
        raise InputError(
            f"{run}: lies in no study folder. Name the pilots with --study, or a published law "
            "along a run with --law."
        )
    return found


def follow(
    out: Output,
    look: Callable[[], "tuple[MeasuredCurve, Verdict]"],
    frozen: "Frozen",
    webhook: str | None,
    *,
    once: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> "tuple[MeasuredCurve, Verdict]":
    """Look once, or until the run has ended, with a live view; every new state is posted.

    A look that fails after the first is told, and the next one waited for: trackers write, servers
    restart. Returns the last curve and verdict.
    """
    curve, verdict = look()
    told = _tell(out, webhook, None, verdict)
    if once or curve.ended:
        return curve, verdict
    from rich.live import Live

    with Live(view(curve, verdict, frozen), console=out.progress, auto_refresh=False) as live:
        while not curve.ended:
            sleep(LOOK_EVERY_S)
            try:
                curve, verdict = look()
            except RunError as error:
                out.progress.print(str(error), markup=False, highlight=False)
                continue
            told = _tell(out, webhook, told, verdict)
            live.update(view(curve, verdict, frozen), refresh=True)
    return curve, verdict


def _tell(out: Output, webhook: str | None, told: str | None, verdict: "Verdict") -> str:
    """Post a verdict whose state is new; what cannot be posted is told and watched on."""
    if webhook is not None and verdict.state != told:
        from isoflop.monitoring import post

        trouble = post(webhook, plain(verdict.to_json()))
        if trouble:
            out.progress.print(trouble, markup=False, highlight=False)
    return verdict.state


def watch_run(
    out: Output,
    run: Path,
    forecast: "tuple[Path | None, str | None, float | None]",
    webhook: str | None,
    *,
    once: bool,
) -> int:
    """Freeze or read the forecast, watch the run by it, show the last verdict; exit code.

    Raises:
        InputError: as `frozen_forecast`; or the webhook is no address.
        RunError: the run folder, or the forecast in it, cannot be read.
    """
    from isoflop.monitoring import check_url, judge

    if webhook is not None:
        check_url(webhook)
    found, frozen = frozen_forecast(out, run, *forecast)

    def look() -> "tuple[MeasuredCurve, Verdict]":
        curve = found.look()
        return curve, judge(frozen.band, curve, level=frozen.level, sha256=frozen.sha256)

    curve, verdict = follow(out, look, frozen, webhook, once=once)
    out.show(*view_parts(curve, verdict, frozen))
    disqualified = out.finish(verdict, verdict.problems)
    return verdict.exit_code or disqualified


def view(curve: "MeasuredCurve", verdict: "Verdict", frozen: "Frozen") -> "RenderableType":
    """What the live view shows: as much as fits a terminal of 80 columns."""
    from rich.console import Group
    from rich.text import Text

    parts = view_parts(curve, verdict, frozen)
    return Group(*(Text(part) if isinstance(part, str) else part for part in parts))


def view_parts(
    curve: "MeasuredCurve", verdict: "Verdict", frozen: "Frozen"
) -> "list[RenderableType]":
    """The verdict in a line, the curve on its band, and the figures."""
    from rich.markup import escape

    from isoflop.cli.render import si, table_of

    now, end = verdict.final, verdict.final_frozen
    alarm = verdict.alarm
    rows = [
        ("tokens", f"{si(verdict.n_tokens)} of {si(frozen.band.end)}, {100 * verdict.share:.1f} %"),
        ("loss", "none yet" if verdict.loss is None else f"{verdict.loss:.4f}"),
        ("expected there", _interval(verdict.expected)),
        ("final loss, now", _interval(now)),
        ("final loss, frozen", _interval(end)),
        ("evidence against", f"{alarm.evidence:.3g}; the alarm rings at {1 / alarm.level:.3g}"),
        ("points judged", f"{verdict.n_judged}; {verdict.n_left_out} left out"),
        ("forecast", f"{frozen.band.law}, sha256 {frozen.sha256[:12]}"),
    ]
    if verdict.going_on is not None:
        rows += _going_on(verdict.going_on)
    if frozen.begun_tokens:
        rows.append(("forecast made at", f"{si(frozen.begun_tokens)} tokens, not before the run"))
    heading = (escape(f"run {verdict.run}"), "")
    return [verdict.text, chart(curve, frozen), table_of("", heading, rows)]


def _going_on(made: "GoingOn") -> list[tuple[str, str]]:
    """The gain of going on and its rival, for the same further compute."""
    from isoflop.cli.render import si

    ahead = made.ahead
    new = f"{si(ahead.new_params)} parameters, {si(ahead.new_tokens)} tokens"
    odds = f"{100 * made.odds:.0f} % odds that going on is better"
    return [
        (f"gone on to {si(ahead.on_tokens)} tokens", _interval(made.loss)),
        ("  gain", f"{_interval(made.gain)}, perplexity {made.perplexity_gain:.3g}"),
        (f"a new run: {new}", _interval(made.new_loss)),
        (f"  for the same {ahead.flops:.2g} FLOPs", odds),
    ]


def chart(curve: "MeasuredCurve", frozen: "Frozen") -> str:
    """Band (:), forecast (-) and curve (*) over log tokens, as lines of text."""
    import numpy as np

    band = frozen.band
    at = np.geomspace(band.first, band.end, WIDTH)
    shown = band.predict(at)
    keep = curve.usable(band)
    tokens, loss = curve.n_tokens[keep], curve.loss[keep]
    low = float(min(shown.low.min(), loss.min(initial=np.inf)))
    high = float(max(shown.high.max(), loss.max(initial=-np.inf)))

    def row(value: Any) -> Any:
        share = np.log(high / np.asarray(value)) / np.log(high / low)
        return np.clip(np.rint(share * (HEIGHT - 1)), 0, HEIGHT - 1).astype(int)

    cells = np.full((HEIGHT, WIDTH), " ")
    lines = np.arange(HEIGHT)[:, None]
    cells[(lines >= row(shown.high)) & (lines <= row(shown.low))] = ":"
    cells[row(shown.mean), np.arange(WIDTH)] = "-"
    if tokens.size:
        share = np.log(tokens / band.first) / np.log(band.end / band.first)
        cells[row(loss), np.clip(np.rint(share * (WIDTH - 1)), 0, WIDTH - 1).astype(int)] = "*"
    labels = [f"{high:7.3f} ", *[" " * 8] * (HEIGHT - 2), f"{low:7.3f} "]
    return "\n".join(label + "".join(line) for label, line in zip(labels, cells, strict=True))


def _interval(value: Any) -> str:
    return "" if value is None else f"{value.value:.4f} [{value.low:.4f}, {value.high:.4f}]"
