"""What `isoflop watch` does: freeze the forecast once, look at the run, show and send verdicts."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoflop._errors import InputError
from isoflop.cli.output import Output, plain

if TYPE_CHECKING:
    from rich.console import RenderableType

    from isoflop.monitoring import Frozen, GoingOn, MeasuredCurve, Verdict

LOOK_EVERY_S = 5.0
WIDTH, HEIGHT = 72, 14


def frozen_forecast(
    out: Output, run: Path, study: Path | None, law: str | None, level: float | None
) -> "Frozen":
    """The run's forecast: as it lies in its folder, or made from the study or law and frozen.

    Of a run that has ended it is not written: it would have been made afterwards.

    Raises:
        InputError: neither study nor law and none frozen; both; or a level other than the frozen
            forecast's.
    """
    from isoflop.laws import find_published
    from isoflop.monitoring import (
        curve_of_folder,
        freeze,
        planned_run,
        published_band,
        read_frozen,
        seal,
        watch_path,
    )
    from isoflop.runs import RunFolder
    from isoflop.study import band_of_study

    folder = RunFolder(run)
    plan = planned_run(folder)
    if watch_path(run).exists():
        frozen = read_frozen(run)
        if level is not None and level != frozen.level:
            raise InputError(
                f"--level {level:g}: the forecast in {watch_path(run)} was frozen with level "
                f"{frozen.level:g}. Leave --level out; a level chosen later holds nothing."
            )
        return frozen
    if study is not None and law is not None:
        raise InputError("--study and --law exclude each other: one forecast a run.")
    curve = curve_of_folder(run)
    if law is not None:
        published = find_published(law)
        band = published_band(published, plan.path, plan.n_params, batch_tokens=plan.batch_tokens)
    else:
        out.progress.print("fitting the pilots' curves …", highlight=False)
        band = band_of_study(study or _study_of(run), plan)
    begun = float(curve.n_tokens[-1]) if curve.n_tokens.size else 0.0
    wanted = 0.05 if level is None else level
    if curve.ended:  # nothing is left to be held to a forecast: it stays a look back
        return seal(band, level=wanted, begun_tokens=begun)
    frozen = freeze(run, band, level=wanted, begun_tokens=begun)
    out.progress.print(f"frozen: {watch_path(run)}", markup=False, highlight=False)
    return frozen


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
) -> "Verdict":
    """Look once, or until the run has ended, with a live view; every new state is posted.

    Returns the last verdict.
    """
    told = None
    curve, verdict = look()
    told = _tell(out, webhook, told, verdict)
    if once or curve.ended:
        return verdict
    from rich.live import Live

    with Live(view(curve, verdict, frozen), console=out.progress, auto_refresh=False) as live:
        while not curve.ended:
            sleep(LOOK_EVERY_S)
            curve, verdict = look()
            told = _tell(out, webhook, told, verdict)
            live.update(view(curve, verdict, frozen), refresh=True)
    return verdict


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
    from isoflop.monitoring import check_url, curve_of_folder, judge

    if webhook is not None:
        check_url(webhook)
    frozen = frozen_forecast(out, run, *forecast)

    def look() -> "tuple[MeasuredCurve, Verdict]":
        curve = curve_of_folder(run)
        return curve, judge(frozen.band, curve, level=frozen.level, sha256=frozen.sha256)

    verdict = follow(out, look, frozen, webhook, once=once)
    out.show(*view_parts(look()[0], verdict, frozen))
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
    heading = (f"run {verdict.run}", "")
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
