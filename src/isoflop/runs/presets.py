"""What training frameworks call things: one small TOML file a framework in `presets/`."""

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from isoflop.runs.vocabulary import meaning

GENERIC = "generic"
_OF_TOOL = {"trainer_state": "hf_trainer", "lm_eval": "lm_eval"}
"""Readers whose files only one framework writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Names of one framework and the words of `vocabulary` that they mean."""

    name: str
    source: str
    """Repository and files that the names are from."""
    marks: tuple[str, ...]
    """Metrics or settings that only this framework has."""
    metrics: Mapping[str, str]
    """A `*` stands for the name of a domain, in the name and in its meaning."""
    config: Mapping[str, str]
    shape: Mapping[str, bool]
    """What its models are like where the settings do not say."""
    counters: tuple[str, ...] = ()
    """Metrics that count steps, where the tracker may count something else: its own calls."""
    first_at_a_step: tuple[str, ...] = ()
    """Metrics of which the first value at a step holds, not the last."""


@cache
def presets() -> tuple[Preset, ...]:
    """Every preset, the generic one last."""
    found = [_read(one.name) for one in files("isoflop.runs").joinpath("presets").iterdir()]
    return tuple(sorted(found, key=lambda one: (one.name == GENERIC, one.name)))


def choose_preset(tool: str, names: Collection[str]) -> Preset:
    """The preset most of whose marks are among the names of a run's metrics and settings."""
    known = {one.name: one for one in presets()}
    if tool in _OF_TOOL:
        return known[_OF_TOOL[tool]]
    seen = set(names)
    best = max(presets(), key=lambda one: len(seen.intersection(one.marks)))
    return best if seen.intersection(best.marks) else known[GENERIC]


def is_known(name: str, *, columns: Mapping[str, str]) -> bool:
    """Whether a metric means something under any preset, or by the user's word."""
    if name in columns:
        return True
    return any(name in one.counters or meaning(name, one.metrics) for one in presets())


def generic() -> Preset:
    """Names that say what they are."""
    return presets()[-1]


def _read(name: str) -> Preset:
    text = files("isoflop.runs").joinpath("presets").joinpath(name).read_text(encoding="utf-8")
    data = tomllib.loads(text)
    return Preset(
        name=name.removesuffix(".toml"),
        source=data["source"],
        marks=tuple(data["marks"]),
        metrics=data["metrics"],
        config=data.get("config", {}),
        shape=data.get("shape", {}),
        counters=tuple(data.get("counters", ())),
        first_at_a_step=tuple(data.get("first_at_a_step", ())),
    )
