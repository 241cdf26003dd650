"""`MeasuredCurve`: what a run has shown so far, from our run folders or from another tool."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isoflop._errors import InputError, RunError
from isoflop._types import Array
from isoflop.monitoring.band import Band, Seen
from isoflop.runs import Point, RunFolder
from isoflop.runs.foreign import ForeignRun, Series
from isoflop.specs import RunConfig

MOST_POINTS = 400
"""A longer curve is judged in groups of neighbouring points."""

FIRST_FEW = 8
"""Points whose spacing says how long the curve will become."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredCurve:
    """Points of one run in ascending order of tokens (R,), and its last signs of life."""

    run: str
    n_tokens: Array
    loss: Array
    """[nats/token]; NaN and infinities as they were logged."""
    lr: Array
    """NaN where it was not logged."""
    wall_s: Array
    """Seconds since the epoch; NaN where unknown."""
    by_domain: Mapping[str, Array] = field(default_factory=dict)
    state: str = "unknown"
    """running, done, diverged, failed, or as the tool says."""
    reason: str = ""
    heartbeat: float = math.nan
    """Seconds since the epoch of the last sign of life; NaN where the run gives none."""

    def __post_init__(self) -> None:
        columns = (self.loss, self.lr, self.wall_s, *self.by_domain.values())
        assert all(column.shape == self.n_tokens.shape for column in columns)

    @property
    def ended(self) -> bool:
        """Whether nothing more is to come."""
        return self.state in ("done", "diverged", "failed")

    def usable(self, band: Band) -> NDArray[np.bool_]:
        """Mask (R,) of the points that the forecast covers and that are losses."""
        inside = (self.n_tokens >= band.first) & (self.n_tokens <= band.end * (1 + 1e-9))
        with np.errstate(invalid="ignore"):
            return inside & np.isfinite(self.loss) & (self.loss > 0)

    def seen(self, band: Band) -> Seen:
        """The points to judge; of a very long curve the means of whole groups.

        How many points make a group is settled by the spacing of the first few, so that it never
        depends on what the losses were.
        """
        keep = self.usable(band)
        at, logs = self.n_tokens[keep], np.log(self.loss[keep])
        size = _group_size(at, band.end)
        if size == 1:
            return Seen(at, logs, np.ones(at.size))
        n = at.size // size * size
        means = [column[:n].reshape(-1, size).mean(axis=1) for column in (at, logs)]
        return Seen(means[0], means[1], np.full(n // size, float(size)))


def curve_of_folder(path: Path) -> MeasuredCurve:
    """The curve of one of our run folders; a branch has its trunk's points before its cooldown.

    Raises:
        RunError: no run folder, or a corrupt file (named with its line).
    """
    folder = RunFolder(path)
    config = folder.config()
    points = folder.points()
    status = folder.status()
    if config.trunk is not None:
        points = _of_trunk(folder, config) + points
        trunk = RunFolder(path.parent / config.trunk)
        # While the trunk leads to it, a branch has no life of its own.
        if status.state == "queued" and (trunk.path / "config.json").exists():
            status = replace(trunk.status(), reason="its trunk is being trained")
            if status.state == "done":
                status = replace(status, state="queued")
    domains = sorted({name for point in points for name in point.loss_by_domain})
    return MeasuredCurve(
        run=folder.run_id,
        n_tokens=np.array([float(point.n_tokens) for point in points]),
        loss=np.array([point.loss for point in points], dtype=np.float64),
        lr=np.array([point.lr for point in points], dtype=np.float64),
        wall_s=np.full(len(points), math.nan),
        by_domain={
            name: np.array([point.loss_by_domain.get(name, math.nan) for point in points])
            for name in domains
        },
        state=status.state,
        reason=status.reason,
        heartbeat=status.heartbeat or math.nan,
    )


def _of_trunk(folder: RunFolder, config: RunConfig) -> list[Point]:
    """The points that the branch shares with its trunk."""
    trunk = RunFolder(folder.path.parent / str(config.trunk))
    if not (trunk.path / "config.json").exists():
        raise RunError(
            f"{trunk.path}: missing; it is the trunk of run {folder.run_id}, whose curve begins "
            "there. Copy the study's runs together."
        )
    hold = config.schedule.hold_tokens
    return [point for point in trunk.points() if point.n_tokens <= hold]


def curve_of(
    foreign: ForeignRun,
    *,
    loss: str,
    tokens: str | None = None,
    tokens_per_step: float | None = None,
    lr: str | None = None,
) -> MeasuredCurve:
    """The curve of a run as another tool recorded it.

    Where steps were logged twice, as after a restart, the later ones win from the first of them
    on.

    Args:
        foreign: what a reader found.
        loss: name of the series of losses [nats/token].
        tokens: name of the series of tokens seen, or None: then `tokens_per_step` times the step.
        tokens_per_step: tokens of a batch.
        lr: name of the series of learning rates, where there is one.

    Raises:
        InputError: a series is not there, or neither tokens nor tokens a step are given.
    """
    for name in filter(None, (loss, tokens, lr)):
        if name not in foreign.series:
            raise InputError(
                f"{foreign.place}: no series {name!r}, but {', '.join(sorted(foreign.series))}. "
                "Name one of them."
            )
    main = foreign.series[loss]
    kept = latest_attempt(main.step)
    n_tokens = _tokens_at(foreign, main.step[kept], tokens, tokens_per_step)
    known = np.flatnonzero(np.isfinite(n_tokens) & (n_tokens > 0))
    # A counter of tokens may go back where the step does not.
    stands = known[latest_attempt(n_tokens[known])]
    kept, n_tokens = kept[stands], n_tokens[stands]
    step = main.step[kept]
    return MeasuredCurve(
        run=foreign.name or foreign.run_id,
        n_tokens=n_tokens,
        loss=main.value[kept],
        lr=np.full(step.size, math.nan) if lr is None else _at_steps(foreign.series[lr], step),
        wall_s=main.wall_s[kept],
        state=foreign.state,
        heartbeat=_last_sign(foreign),
    )


def _tokens_at(
    foreign: ForeignRun,
    step: NDArray[np.int64],
    tokens: str | None,
    tokens_per_step: float | None,
) -> Array:
    if tokens is not None:
        return _at_steps(foreign.series[tokens], step)
    if tokens_per_step is not None and tokens_per_step > 0:
        return step.astype(np.float64) * tokens_per_step
    raise InputError(
        f"{foreign.place}: tokens must be known, but neither `tokens` nor `tokens_per_step > 0` is "
        "given. Name the series of tokens seen, or give the batch in tokens."
    )


def _last_sign(foreign: ForeignRun) -> float:
    """Latest time of any series: losses may be logged more seldom than others; NaN of none."""
    times = [series.wall_s[np.isfinite(series.wall_s)] for series in foreign.series.values()]
    return max((float(one.max()) for one in times if one.size), default=math.nan)


def latest_attempt(step: NDArray[np.int64] | Array) -> NDArray[np.int64]:
    """Places of the points that stand, ascending in step: one that goes back undoes those from it.

    Of steps 1 2 3 4 3 4 5 there stand 1 2 and the later 3 4 5.
    """
    # A point stands if no later one has its step or a lower one.
    lowest_after = np.minimum.accumulate(step[::-1])[::-1]
    stands = np.append(step[:-1] < lowest_after[1:], np.ones(min(step.size, 1), dtype=bool))
    return np.flatnonzero(stands)


def _at_steps(series: Series, step: NDArray[np.int64]) -> Array:
    """A series at other steps: its last value at or before each, NaN before its first."""
    kept = latest_attempt(series.step)
    own, value = series.step[kept], series.value[kept]
    place = np.searchsorted(own, step, side="right") - 1
    return np.where(place >= 0, value[np.maximum(place, 0)] if own.size else math.nan, math.nan)


def _group_size(at: Array, end: float) -> int:
    if at.size < FIRST_FEW:
        return 1
    spacing = float(np.median(np.diff(at[:FIRST_FEW])))
    return max(1, math.ceil((end - float(at[0])) / max(spacing, 1.0) / MOST_POINTS))
