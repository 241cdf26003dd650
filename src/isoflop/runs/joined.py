"""One training told in several places: by two trackers, or with evaluations beside it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from isoflop.runs.foreign import Series
from isoflop.runs.readers import READERS
from isoflop.runs.segment import Segment
from isoflop.runs.stitch import stitched

Line = tuple[Segment, ...]

_LOSSES = ("train_loss", "loss", "bpb")
_ENOUGH = 3
"""Losses that must be the same to be no chance."""
_SAME = 2e-6
"""Relative: TensorBoard keeps float32."""
_ORDER = {kind: place for place, kind in enumerate(READERS)}
_MODEL_KEYS = ("model_args.pretrained", "model_name", "pretrained", "model")
_STEP = re.compile(r"(?:checkpoint|step|iter|global_step)[-_]?(\d+)(?:[-_].*)?")


def merge_twins(lines: Sequence[Line]) -> list[Line]:
    """Trainings that several tools recorded as one: losses equal at every step that both have.

    The tool that tells most keeps its series; settings that only another has are added.
    """
    kept: list[Line] = []
    by_key: dict[tuple[str, int, str], list[int]] = {}
    for line in sorted(lines, key=lambda one: _ORDER.get(one[0].tool, len(_ORDER))):
        series = stitched(line)
        near = {i for key in _keys(series) for i in by_key.get(key, ())}
        twin = next((i for i in sorted(near) if _is_twin(kept[i], line, series)), None)
        if twin is not None:
            kept[twin] = _merged(kept[twin], line)
            continue
        for key in _keys(series):
            by_key.setdefault(key, []).append(len(kept))
        kept.append(line)
    return kept


def attach_evaluations(lines: Sequence[Line]) -> list[Line]:
    """Evaluations put to the trainings whose models they are of; those of others stay as they are.

    A model is known by the folder that it was loaded from: a part of its path is the training's
    name, and `checkpoint-500` or `step500` its step.
    """
    trainings = [line for line in lines if line[-1].series]
    left: list[Line] = []
    for line in lines:
        if line[-1].series:
            continue
        evaluation = line[-1]
        parts = _parts(evaluation)
        owners = [i for i, one in enumerate(trainings) if _names(one) & set(parts)]
        if len(owners) == 1 and evaluation.finals:
            trainings[owners[0]] = _with(trainings[owners[0]], evaluation, _step_of(parts))
        else:
            left.append(line)
    return [*trainings, *left]


def _keys(series: Mapping[str, Series]) -> Iterator[tuple[str, int, str]]:
    """What a twin has too: its first losses to four digits."""
    for word in _LOSSES:
        if word in series:
            one = series[word]
            for step, value in zip(one.step[:_ENOUGH], one.value[:_ENOUGH], strict=True):
                yield word, int(step), f"{value:.3e}"


def _is_twin(line: Line, other: Line, theirs: Mapping[str, Series]) -> bool:
    if line[0].tool == other[0].tool:
        return False
    mine, n_same = stitched(line), 0
    for word in _LOSSES:
        if word in mine and word in theirs:
            a, b = mine[word], theirs[word]
            _, at, bt = np.intersect1d(a.step, b.step, return_indices=True)
            if not np.allclose(a.value[at], b.value[bt], rtol=_SAME, atol=0, equal_nan=True):
                return False
            n_same += at.size
    return n_same >= _ENOUGH


def _merged(line: Line, other: Line) -> Line:
    last, told = line[-1], other[-1]
    keys = {word: f"{key} of {told.place}" for word, key in told.keys.items()}
    series = dict(last.series)
    if len(line) == 1:  # of several attempts, nobody knows which the others' values are of
        series = {**stitched(other), **series}
    whole = replace(
        last,
        series=series,
        facts={**told.facts, **last.facts},
        finals={**told.finals, **last.finals},
        config={**told.config, **last.config},
        keys={**keys, **last.keys},
    )
    return (*line[:-1], whole)


def _parts(evaluation: Segment) -> list[str]:
    """Parts of the paths that say which model was evaluated."""
    said = [str(evaluation.config.get(key) or "") for key in _MODEL_KEYS]
    return [part for text in (*said, evaluation.name) for part in PurePosixPath(text).parts]


def _names(line: Line) -> set[str]:
    names = {one.name for one in line} | {one.ident for one in line}
    return {part for name in names for part in PurePosixPath(name).parts[-1:]} - {""}


def _step_of(parts: Sequence[str]) -> int | None:
    for part in parts:
        if match := _STEP.fullmatch(part):
            return int(match[1])
    return None


def _with(line: Line, evaluation: Segment, step: int | None) -> Line:
    last = line[-1]
    keys = {word: f"{key} of {evaluation.place}" for word, key in evaluation.keys.items()}
    if step is None or step >= last.last_step:
        found = replace(last, finals={**last.finals, **evaluation.finals})
    else:
        series = dict(last.series)
        for word, value in evaluation.finals.items():
            series[word] = _and_point(series.get(word), step, value)
        found = replace(last, series=series)
    return (*line[:-1], replace(found, keys={**keys, **last.keys}))


def _and_point(one: Series | None, step: int, value: float) -> Series:
    if one is None:
        none = np.zeros(0)
        one = Series(step=none.astype(np.int64), value=none, wall_s=none)
    return Series(
        step=np.append(one.step, step),
        value=np.append(one.value, value),
        wall_s=np.append(one.wall_s, np.nan),
    )
