"""Attempts of a training -> `ImportedRun`, or what is missing before it can be one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import numpy as np

from isoflop._types import Array
from isoflop.runs.foreign import Series
from isoflop.runs.imported import ImportedRun
from isoflop.runs.segment import MOST_PROBLEMS, Segment
from isoflop.runs.sizes import Size, number, size_of
from isoflop.runs.stitch import is_orphan, stitched
from isoflop.runs.units import flops_question, loss_unit, tokens_question
from isoflop.runs.vocabulary import BY_NAME, PROGRESS, SETTINGS, SHAPE, Asked, given_for

_LOSSES = ("loss_", "task_loss_")
_WHOLE = ("loss", "train_loss", "bpb")
"""Losses of the whole model, not of a domain."""
_LENGTH = "sequence_length"
_NONE = np.zeros(0, dtype=np.int64)
_KEPT = (*SHAPE, *SETTINGS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A training that was not taken: what it lacks, and what the user can do."""

    run: str
    tool: str
    place: str
    questions: tuple[str, ...]


def understand(line: Sequence[Segment], asked: Asked) -> ImportedRun | Missing:
    """A training in our words and units, from its attempts in order.

    Losses in nats a token; tokens as logged, or from sequences or steps; parameters as `size_of`.
    Nothing is guessed: where a number may be something else, the training is `Missing` it.
    """
    run = _whole(line)
    if absent := _absent(run):
        return Missing(run=run.name, tool=run.tool, place=run.place, questions=(absent,))
    size = size_of(run, asked)
    unit, unit_rule, unit_question = loss_unit(run, run.series, asked)
    tokens, tokens_rule, tokens_missing = _tokens(run, asked)
    factor = math.log(2) if unit == "bits" else 1.0
    targets, note = _targets(run.series, factor)
    flops, flops_key = _flops(run.series)
    questions = [size.missing, unit_question, tokens_missing]
    if not targets:
        questions.append(_which_loss(run))
    elif tokens is not None and size.counts:
        questions.append(flops_question(run, flops, _flops_6nd(size, tokens, targets)))
    if left := tuple(question for question in questions if question):
        return Missing(run=run.name, tool=run.tool, place=run.place, questions=left)
    assert tokens is not None
    points = _points(targets, factor, tokens, flops, run.series.get("lr"))
    rules = {word: f"{run.place}: {key}" for word, key in run.keys.items()}
    rules |= {"names": run.preset.name, "loss unit": unit_rule, "n_tokens": tokens_rule}
    rules["n_params"] = size.rule
    if len(line) > 1:
        rules["attempts"] = "; ".join(one.place for one in line)
    if flops is not None:
        rules["flops"] = f"{run.place}: {flops_key}"
    return ImportedRun(
        id=line[0].ident, tool=run.tool, name=run.name, state=_state(run, targets),
        n_params=size.counts, facts=_facts(run), points=points, finals=dict(run.finals),
        provenance=rules, segments=tuple(one.ident for one in line),
        problems=_problems(line, (*size.notes, note)),
    )  # fmt: skip


def _whole(line: Sequence[Segment]) -> Segment:
    """All attempts as one: what the later ones say holds."""
    return replace(
        line[-1],
        series=stitched(line),
        facts={word: value for one in line for word, value in one.facts.items()},
        finals={word: value for one in line for word, value in one.finals.items()},
        keys={word: key for one in line for word, key in one.keys.items()},
        config={key: value for one in line for key, value in one.config.items()},
    )


def _absent(run: Segment) -> str:
    """Why there is no training to understand; "" where there is one."""
    if run.state == "deleted":
        return f"it was deleted in {run.tool}"
    if not run.series and run.finals:
        return "it is an evaluation of a training that is not here. Import both at once"
    return ""


def _which_loss(run: Segment) -> str:
    some = ", ".join(sorted(run.names)[:12]) or "none"
    return (
        "no loss is known by its name. Say which one is meant: --map 'NAME=loss'. Its metrics: "
        f"{some}"
    )


def _flops_6nd(size: Size, tokens: Series, targets: Mapping[str, Series]) -> float:
    """6·N·D at the end."""
    reached = float(max(one.step[-1] for one in targets.values()))
    return float(6 * next(iter(size.counts.values())) * _at(tokens, np.array([reached]))[0])


def _state(run: Segment, targets: Mapping[str, Series]) -> str:
    """As the tool has it, but diverged where the last loss is no number."""
    ends = [targets[word].value[-1] for word in _WHOLE if word in targets]
    return run.state if all(map(math.isfinite, ends)) else "diverged"


def _facts(run: Segment) -> dict[str, Any]:
    kept = {word: _plain(run.facts[word]) for word in _KEPT if word in run.facts}
    return {word: value for word, value in kept.items() if value is not None}


def _problems(line: Sequence[Segment], notes: Sequence[str]) -> tuple[str, ...]:
    found = [text for one in line for text in one.problems]
    found += [note for note in notes if note]
    if is_orphan(line):
        first = line[0].first_step
        found.append(f"begins at step {first}: an earlier attempt is not here. Import both at once")
    return tuple(dict.fromkeys(found))[:MOST_PROBLEMS]


def _targets(series: Mapping[str, Series], factor: float) -> tuple[dict[str, Series], str]:
    """What a point is made of, `loss` among it; and what to say of where that is from."""
    found = {
        word: one
        for word, one in series.items()
        if word in ("loss", "train_loss", "bpb", "n_unique_tokens") or word.startswith(BY_NAME)
        if one.step.size
    }
    domains = [word for word in found if word.startswith("loss_")]
    if "loss" in found:
        return found, ""
    if "perplexity" in series and series["perplexity"].step.size:
        one = series["perplexity"]
        with np.errstate(divide="ignore", invalid="ignore"):
            # In nats, whatever the losses are in.
            found["loss"] = replace(one, value=np.log(one.value) / factor)
        return found, "loss is ln of the perplexity that was logged"
    if not found:
        return found, ""
    if domains:
        found["loss"] = _mean([found[word] for word in domains])
        return found, f"loss is the mean of {', '.join(sorted(domains))}"
    if "train_loss" in found:
        found["loss"] = found.pop("train_loss")
        return found, "loss is the training loss of single batches: no other is logged"
    return (found, "") if "bpb" in found else ({}, "")


def _mean(parts: Sequence[Series]) -> Series:
    """The mean over domains at the steps where all are measured."""
    common = set(parts[0].step.tolist()).intersection(*(one.step.tolist() for one in parts[1:]))
    step = np.array(sorted(common), dtype=np.int64)
    values = [one.value[np.searchsorted(one.step, step)] for one in parts]
    wall_s = parts[0].wall_s[np.searchsorted(parts[0].step, step)]
    return Series(
        step=step, value=np.asarray(np.mean(values, axis=0), dtype=np.float64), wall_s=wall_s
    )


def _tokens(run: Segment, asked: Asked) -> tuple[Series | None, str, str]:
    """Tokens along the steps, how they are known; or what is missing."""
    given = given_for(asked.batch_tokens, *run.names_of_run)
    batch, length = number(run.facts.get("batch_sequences")), number(run.facts.get(_LENGTH))
    series, place = run.series, run.place
    if given is not None:
        return _steps_times(series, given), f"--batch-tokens {given:.6g} times step", ""
    if question := tokens_question(run, series):
        return None, "", question
    if "n_tokens" in series:
        return series["n_tokens"], f"{place}: {run.keys['n_tokens']}", ""
    if "n_sequences" in series and length is not None:
        one = series["n_sequences"]
        rule = f"{place}: {run.keys['n_sequences']} times sequence length {length:.0f}"
        return Series(step=one.step, value=one.value * length, wall_s=one.wall_s), rule, ""
    per_step = number(run.facts.get("batch_tokens"))
    if per_step is not None and per_step >= 1:
        rule = f"{place}: {run.keys.get('batch_tokens')} {per_step:.6g} times step"
        return _steps_times(series, per_step), rule, ""
    if batch is not None and length is not None and batch * length >= 1:
        rule = f"{place}: batch {batch:.0f} times sequence length {length:.0f} times step"
        return _steps_times(series, batch * length), rule, ""
    remedy = f"Give the tokens of a step: --batch-tokens '{run.name}=COUNT'"
    return None, "", f"nothing says how many tokens it has seen. {remedy}"


def _steps_times(series: Mapping[str, Series], batch: float) -> Series:
    steps = np.unique(np.concatenate([one.step for one in series.values()] or [_NONE]))
    return Series(step=steps, value=steps * float(batch), wall_s=np.full(steps.shape, math.nan))


def _flops(series: Mapping[str, Series]) -> tuple[Series | None, str]:
    for word, (quantity, factor) in PROGRESS.items():
        if quantity == "flops" and word in series:
            one = series[word]
            rule = f"{word} times {factor:g}" if factor != 1 else word
            return Series(step=one.step, value=one.value * factor, wall_s=one.wall_s), rule
    return None, ""


def _points(
    targets: Mapping[str, Series],
    factor: float,
    tokens: Series,
    flops: Series | None,
    lr: Series | None,
) -> dict[str, Array]:
    """Columns over every step at which something was measured and tokens had been seen."""
    step = np.unique(np.concatenate([one.step for one in targets.values()]))
    n_tokens = _at(tokens, step.astype(np.float64))
    begun = n_tokens > 0
    step, n_tokens = step[begun], n_tokens[begun]
    columns: dict[str, Array] = {"step": step.astype(np.float64), "n_tokens": n_tokens}
    if flops is not None:
        columns["flops"] = _at(flops, columns["step"])
    if lr is not None:
        columns["lr"] = _held(lr, columns["step"])
    unix_s = np.full(step.size, math.nan)
    for word, one in targets.items():
        scale = factor if word in ("loss", "train_loss") or word.startswith(_LOSSES) else 1.0
        column = np.full(step.size, math.nan)
        place = np.searchsorted(step, one.step)
        inside = (place < step.size) & np.isin(one.step, step)
        # A loss that is no number was measured: inf, where NaN says that nothing was.
        value = np.where(np.isfinite(one.value), one.value * scale, math.inf)
        column[place[inside]] = value[inside]
        unix_s[place[inside]] = np.fmax(unix_s[place[inside]], one.wall_s[inside])
        columns[word] = column
    if np.isfinite(unix_s).any():
        columns["unix_s"] = unix_s
    return columns


def _at(one: Series, step: Array) -> Array:
    """A count at other steps: as logged, or on the line of its two nearest entries."""
    known = np.isfinite(one.value)
    x, y = one.step[known].astype(np.float64), one.value[known]
    if x.size == 0:
        return np.full(step.shape, math.nan)
    found = np.interp(step, x, y)
    slope = (y[-1] - y[-2]) / (x[-1] - x[-2]) if x.size > 1 else (y[-1] / x[-1] if x[-1] else 0.0)
    beyond = step > x[-1]
    found[beyond] = y[-1] + slope * (step[beyond] - x[-1])
    if x.size > 1:
        before = step < x[0]
        found[before] = y[0] - (y[1] - y[0]) / (x[1] - x[0]) * (x[0] - step[before])
    return np.asarray(found, dtype=np.float64)


def _held(one: Series, step: Array) -> Array:
    """A rate at other steps: the last one logged; NaN before the first."""
    place = np.searchsorted(one.step, step, side="right") - 1
    known = np.where(place < 0, math.nan, one.value[np.maximum(place, 0)])
    return np.where(np.isfinite(known), known, math.nan)


def _plain(value: Any) -> Any:
    """A setting as it goes into a record: a finite number where it is one, else its text."""
    found = number(value)
    if found is not None:
        return int(found) if found == int(found) and abs(found) < 2**53 else found
    if isinstance(value, bool):
        return value
    text = str(value)[:200]
    # The name of a file is told, not where it lay on some machine.
    return PurePath(text).name if text.startswith("/") else text
