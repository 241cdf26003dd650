"""Attempts of one training as one: the later takes the place of the earlier from its first step."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop.runs.foreign import Series
from isoflop.runs.segment import Segment
from isoflop.runs.vocabulary import COUNTS, SHAPE

_LOSSES = ("train_loss", "loss", "bpb")
_CLOSE = 0.1
_SAME = (*COUNTS, *SHAPE, "batch_tokens", "batch_sequences", "sequence_length", "lr", "seed")
"""What attempts of one training have in common."""


def lineages(segments: Iterable[Segment]) -> list[tuple[Segment, ...]]:
    """Trainings as their attempts in order.

    Attempts are held together by the tool; or they share a label (a name, a user's group) and
    settings, and the later begins within the steps of the earlier with losses like its. Runs of
    one label that all begin at the start are trainings of their own: seeds, cells of a sweep. One
    that begins in the middle of a training that went on is its branch: its fact `trunk` says so.
    """
    by_id: dict[tuple[str, str], list[Segment]] = {}
    for one in segments:
        by_id.setdefault((one.tool, one.ident), []).append(one)
    lines = [sorted(group, key=_order) for group in by_id.values()]
    fresh = [line for line in lines if _begins(line[0])]
    for line in sorted((line for line in lines if not _begins(line[0])), key=_order_of_line):
        earlier = [other for other in fresh if _goes_on(other, line)]
        if len(earlier) == 1 and _is_branch(earlier[0], line):
            trunk = earlier[0][0]
            fresh.append([_with_trunk(one, trunk) for one in line])
        elif len(earlier) == 1:
            earlier[0].extend(line)
        else:
            fresh.append(line)
    return [tuple(line) for line in fresh]


def is_orphan(line: Sequence[Segment]) -> bool:
    """Whether a training's first attempt begins in the middle, and what was before is not here."""
    return not _begins(line[0]) and "trunk" not in line[0].facts


def stitched(line: Sequence[Segment]) -> dict[str, Series]:
    """The series of a training (P,), steps rising, of the attempts that hold at each step."""
    whole: dict[str, Series] = {}
    for segment in line:
        first = segment.first_step
        mended = _mended(segment.series)
        for word in {*whole, *mended}:
            parts = []
            if word in whole:
                old = whole[word]
                parts.append(_where(old, old.step < first))
            if word in mended:
                parts.append(mended[word])
            whole[word] = _joined(parts)
    return whole


def _order(segment: Segment) -> tuple[float, int]:
    # Without times, whoever came further came later.
    return (segment.started if math.isfinite(segment.started) else math.inf, segment.last_step)


def _order_of_line(line: Sequence[Segment]) -> tuple[float, int]:
    return _order(line[0])


def _begins(segment: Segment) -> bool:
    """Whether it begins at the start: by its first entry at the latest."""
    return segment.first_step <= max(1, _interval(segment))


def _interval(segment: Segment) -> int:
    """Steps between entries of the series with the most of them."""
    dense = max((one.step for one in segment.series.values()), key=len, default=np.zeros(0))
    steps = np.diff(np.unique(dense))
    return int(np.median(steps)) if steps.size else 0


def _goes_on(line: Sequence[Segment], later: Sequence[Segment]) -> bool:
    """Whether `later` takes the training of `line` up again."""
    last, first = line[-1], later[0]
    if first.tool != last.tool or not last.labels & first.labels:
        return False
    if first.started < last.started:  # false where a time is not known
        return False
    gap = 2 * max(_interval(last), _interval(first), 1)
    reaches = last.last_step + gap >= first.first_step > line[0].first_step
    return reaches and _agree(last.facts, first.facts) and _alike(last.series, first.series)


def _is_branch(line: Sequence[Segment], later: Sequence[Segment]) -> bool:
    """Whether the earlier went on without the later, which then is no restart of it."""
    last, first = line[-1], later[0]
    if last.state == "done":
        return last.last_step > first.first_step + 2 * max(_interval(last), _interval(first), 1)
    return last.state == "unknown" and later[-1].last_step <= last.last_step


def _with_trunk(segment: Segment, trunk: Segment) -> Segment:
    keys = {**segment.keys, "trunk": f"begins in the middle of {trunk.name}"}
    return replace(segment, facts={"trunk": trunk.training_id, **segment.facts}, keys=keys)


def _alike(a: Mapping[str, Series], b: Mapping[str, Series]) -> bool:
    """Whether losses at the steps that both have are close: a restart goes on where it was."""
    for word in _LOSSES:
        if word in a and word in b:
            _, mine, theirs = np.intersect1d(a[word].step, b[word].step, return_indices=True)
            apart = np.abs(b[word].value[theirs] / a[word].value[mine] - 1)
            if apart.size and not np.median(apart) <= _CLOSE:
                return False
    return True


def _agree(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return all(a[word] == b[word] for word in _SAME if word in a and word in b)


def _mended(series: Mapping[str, Series]) -> dict[str, Series]:
    """One attempt's series with rising steps; where they go back, the later entries hold."""
    if not series:
        return {}
    dense = max(series.values(), key=lambda one: one.step.size)
    back = dense.step[1:] < np.maximum.accumulate(dense.step)[:-1]
    if not back.any():
        # Late entries of single metrics, such as of evaluations on the side, take nothing back.
        return {word: _last_of_each_step(one) for word, one in series.items()}
    at = np.flatnonzero(back) + 1
    restarts = list(zip(dense.step[at], dense.wall_s[at], strict=True))
    return {word: _after_restarts(one, restarts) for word, one in series.items()}


def _after_restarts(one: Series, restarts: Sequence[tuple[Any, Any]]) -> Series:
    keep = _held(one.step)
    for step, wall_s in restarts:
        if math.isfinite(wall_s):
            keep &= ~((one.wall_s < wall_s) & (one.step >= step))
    return _where(one, keep)


def _held(step: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Entries that none after them takes back: a step takes back itself and all above it."""
    lowest_after = np.append(np.minimum.accumulate(step[::-1])[::-1][1:], np.iinfo(np.int64).max)
    held: NDArray[np.bool_] = step < lowest_after
    return held


def _last_of_each_step(one: Series) -> Series:
    order = np.argsort(one.step, kind="stable")
    last = np.append(one.step[order][1:] != one.step[order][:-1], True)
    return _where(one, order[last])


def _where(one: Series, keep: NDArray[Any]) -> Series:
    return Series(step=one.step[keep], value=one.value[keep], wall_s=one.wall_s[keep])


def _joined(parts: Sequence[Series]) -> Series:
    return Series(
        step=np.concatenate([one.step for one in parts]),
        value=np.concatenate([one.value for one in parts]),
        wall_s=np.concatenate([one.wall_s for one in parts]),
    )
