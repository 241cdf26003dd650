"""`Watched`: what is watched, wherever it is recorded: its plan, its curve, its frozen forecast."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isoflop._errors import RunError
from isoflop.laws import LrPath
from isoflop.monitoring.freeze import watch_path
from isoflop.monitoring.planned import Planned, planned_run
from isoflop.monitoring.sources import MeasuredCurve, curve_of, curve_of_folder
from isoflop.runs import RunFolder
from isoflop.runs.foreign import ForeignRun
from isoflop.runs.sources import BadSource, find_sources, on_server, read_source
from isoflop.specs import WatchedRun, read_watched


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One run: what was planned, how to look at it, and where its forecast lies."""

    plan: Planned
    look: Callable[[], MeasuredCurve]
    """All points of the run up to now."""
    forecast: Path
    """The file of the frozen forecast."""


def watched(path: Path) -> Watched:
    """What a run folder of ours holds, or what a TOML file plans and another tool records.

    Raises:
        RunError: no run folder, or a corrupt file.
        InputError: the file is not such a plan.
    """
    if path.suffix == ".toml" and not path.is_dir():
        return _of_file(path)
    plan = planned_run(RunFolder(path))
    return Watched(plan=plan, look=lambda: curve_of_folder(path), forecast=watch_path(path))


def _of_file(path: Path) -> Watched:
    spec = read_watched(path)
    return Watched(
        plan=_plan(spec),
        look=lambda: _look(spec, path),
        forecast=path.with_suffix(".watch.json"),
    )


def _plan(spec: WatchedRun) -> Planned:
    if spec.schedule is None:
        tokens, rate = np.array(spec.lr_path, dtype=np.float64).T
        schedule, path = None, LrPath(n_tokens=tokens, lr=rate)
    else:
        schedule = spec.schedule.schedule()
        path = LrPath.of(schedule, spec.peak_lr, spec.schedule.n_tokens)
    return Planned(
        n_params=spec.n_params,
        schedule=schedule,
        path=path,
        batch_tokens=spec.batch_tokens,
        lineage="",
    )


def _look(spec: WatchedRun, path: Path) -> MeasuredCurve:
    return curve_of(
        _chosen(list(_found(spec, path)), spec, path),
        loss=spec.loss,
        tokens=spec.tokens or None,
        tokens_per_step=float(spec.batch_tokens),
        lr=spec.lr or None,
    )


def _found(spec: WatchedRun, path: Path) -> Iterator[ForeignRun]:
    """Every run that the source records, as `isoflop import` finds it."""
    words = {spec.loss: "loss", spec.tokens: "n_tokens", spec.lr: "lr"}
    columns = {name: word for name, word in words.items() if name}
    server = on_server(spec.source)
    try:
        sources = [server] if server else find_sources(path.parent / spec.source, columns)
    except RunError as error:
        raise RunError(f"{path}: source = {spec.source!r}: {error}") from error
    bad = []
    for source in sources:
        for one in read_source(source, columns, home=path.parent):
            if isinstance(one, BadSource):
                bad.append(one)
            else:
                yield one
    if len(bad) == len(sources):
        raise RunError(f"{path}: {bad[0].place}: {bad[0].reason}")


def _chosen(runs: list[ForeignRun], spec: WatchedRun, path: Path) -> ForeignRun:
    """The one that is named, or the only one that has the losses."""
    if spec.run:
        runs = [one for one in runs if spec.run in (one.run_id, one.name)]
    having = [one for one in runs if spec.loss in one.series]
    if len(having) == 1:
        return having[0]
    if not having and len(runs) == 1:  # its own error says which series there are
        return runs[0]
    names = ", ".join(one.name or one.run_id for one in (having or runs)[:10]) or "none"
    which = f"run = {spec.run!r}" if spec.run else "run"
    raise RunError(
        f"{path}: {which}: {len(having)} runs of {spec.source} have the series {spec.loss!r} "
        f"({names}). Name one run by its id."
    )
