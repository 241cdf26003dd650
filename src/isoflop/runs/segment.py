"""`Segment`: one attempt of a training, its metrics and settings in our words."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isoflop.runs.foreign import ForeignRun, Series
from isoflop.runs.presets import Preset, choose_preset, generic
from isoflop.runs.vocabulary import BY_NAME, FACTS, Asked, is_series, meaning

_GROUPS = ("group", "wandb.group")
MOST_PROBLEMS = 20
"""Sentences kept of one run: a torn file can have thousands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """What one attempt recorded, only what we have a word for."""

    tool: str
    place: str
    run_id: str
    name: str
    group: str
    """What attempts of one training share, by the tool's own word."""
    state: str
    preset: Preset
    series: Mapping[str, Series]
    keys: Mapping[str, str]
    """Word -> the foreign name it was read from."""
    facts: Mapping[str, Any]
    finals: Mapping[str, float] = field(default_factory=dict)
    """What was measured once, at the end: tasks, domains."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """All settings, for what only counting parameters needs."""
    names: tuple[str, ...] = ()
    """Names of all metrics, for who has to choose among them."""
    problems: tuple[str, ...] = ()

    @property
    def ident(self) -> str:
        """What names its training: one and the same for attempts that the tool holds together."""
        return self.group or self.run_id

    @property
    def training_id(self) -> str:
        """The id of its training in the store."""
        return training_id(self.tool, self.ident)

    @property
    def names_of_run(self) -> tuple[str, ...]:
        """What the user may call its training."""
        return self.name, self.ident, self.run_id

    @property
    def labels(self) -> frozenset[str]:
        """Names that it may share with other attempts of its training, and with other trainings."""
        said = (self.name, *(str(self.config.get(key) or "") for key in _GROUPS))
        if self.tool == "tensorboard":  # a folder for each attempt, side by side
            said = (*said, self.run_id.rpartition("/")[0])
        return frozenset(said) - {""}

    @property
    def first_step(self) -> int:
        """The first step of any series; what a later attempt takes the place of."""
        return min((int(one.step.min()) for one in self.series.values()), default=0)

    @property
    def last_step(self) -> int:
        """The last step of any series."""
        return max((int(one.step.max()) for one in self.series.values()), default=0)

    @property
    def started(self) -> float:
        """Unix time of its first value; NaN where no times are known."""
        times = [float(one.wall_s[0]) for one in self.series.values() if one.wall_s.size]
        return min((time for time in times if math.isfinite(time)), default=math.nan)


def training_id(tool: str, ident: str) -> str:
    """First 12 hex digits of the SHA-256 of tool and the tool's own id."""
    return hashlib.sha256(f"{tool}\0{ident}".encode()).hexdigest()[:12]


def segment_of(run: ForeignRun, asked: Asked) -> Segment:
    """The segment of a foreign run; names that mean nothing to us are left out."""
    preset = choose_preset(run.tool, (*run.series, *run.summary, *run.config))
    series: dict[str, Series] = {}
    facts: dict[str, Any] = {}
    finals: dict[str, float] = {}
    keys: dict[str, str] = {}
    counter = next((run.series[name] for name in preset.counters if name in run.series), None)
    for name, word in _words(run.series, preset.metrics, asked):
        one = run.series[name]
        if is_series(word) and word not in series and one.step.size:
            counted = _counted(one, counter, first=name in preset.first_at_a_step)
            if counted.step.size:
                series[word], keys[word] = counted, name
        elif word in FACTS and word not in facts and one.value.size:
            facts[word], keys[word] = float(one.value[-1]), name
    for values in (run.config, run.summary):
        names = {**preset.config, **preset.metrics} if values is run.summary else preset.config
        for name, word in _words(values, names, asked):
            if word in FACTS and word not in facts and values[name] is not None:
                facts[word], keys[word] = values[name], name
            elif values is run.summary and word.startswith(BY_NAME) and word not in series:
                finals[word], keys[word] = float(run.summary[name]), name
    return Segment(
        tool=run.tool, place=run.place, run_id=run.run_id, name=run.name or run.run_id,
        group=run.group, state=run.state, preset=preset, series=series, keys=keys, facts=facts,
        finals=finals, config=run.config, names=tuple(run.series),
        problems=run.problems[:MOST_PROBLEMS],
    )  # fmt: skip


def _words(
    names: Mapping[str, Any], preset: Mapping[str, str], asked: Asked
) -> Iterator[tuple[str, str]]:
    """Names with their words: the user's word before the preset's before the generic one."""
    known = {**generic().config, **generic().metrics}
    left = list(names)
    for table in (asked.columns, preset, known):
        found = {name: word for name in left if (word := meaning(name, table)) is not None}
        yield from found.items()
        left = [name for name in left if name not in found]


def _counted(one: Series, counter: Series | None, *, first: bool) -> Series:
    """A series over the framework's own steps, each at most once where the first holds."""
    if counter is not None and one is not counter:
        known = np.isfinite(counter.value)
        at, count = counter.step[known], counter.value[known].astype(np.int64)
        # A row without the counter is of the step that was counted last.
        place = np.searchsorted(at, one.step, side="right") - 1
        begun = place >= 0
        one = Series(step=count[place[begun]], value=one.value[begun], wall_s=one.wall_s[begun])
    if first:
        again = np.concatenate([[False], one.step[1:] == one.step[:-1]])
        one = Series(step=one.step[~again], value=one.value[~again], wall_s=one.wall_s[~again])
    return one
