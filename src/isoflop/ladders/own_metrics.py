"""The measurements of a trainer of one's own, read as points.

JSON lines, CSV, and the `trainer_state.json` of Hugging Face's Trainer; tracker folders are for the
importers.
"""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from isoflop._errors import RunError
from isoflop.accounting import count_params, train_flops
from isoflop.accounting.params import PARAM_CONVENTIONS
from isoflop.runs import Point, RunFolder
from isoflop.specs import RunConfig, TrainerSection

# Hugging Face's own names, where the study maps none of its own.
_HF = {"loss": "eval_loss", "lr": "learning_rate", "n_tokens": "num_input_tokens_seen"}
_COUNT_TOLERANCE = 0.005
_MEND = "Let the trainer write it, or map its columns in [trainer.columns]."


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """What a metrics file says so far."""

    points: tuple[Point, ...]
    diverged: str = ""
    """Why the run has diverged, if a loss is no number."""


def read_points(folder: RunFolder, output: Path, section: TrainerSection) -> Measurements:
    """The points of a run's metrics file, the last one `final` where the run is complete.

    A row without a loss is no point; a step measured twice counts as measured first (a resumed
    trainer measures again what it had measured).

    Raises:
        RunError: the file is missing, corrupt or lacks a column, or its model is another one.
    """
    path, config = output / section.metrics, folder.config()
    rows = list(_rows(path, section))
    names = _names(section)
    points: dict[int, Point] = {}
    for place, row in rows:
        _check_model(place, row, names, config)
        if row.get(names["loss"]) in (None, ""):
            continue
        step, n_tokens = _progress(place, row, names, config.optimiser.batch_tokens)
        if n_tokens == 0:
            continue  # of a model that has seen nothing no law speaks
        point = _point(place, row, names, config, step=step, n_tokens=n_tokens)
        if isinstance(point, str):
            return Measurements(points=tuple(points.values()), diverged=point)
        points.setdefault(point.step, point)
    if not points:
        columns = sorted({str(key) for _, row in rows for key in row})
        raise RunError(
            f"{path}: no row has a {names['loss']!r}, only {', '.join(columns) or 'nothing'}. "
            f"{_MEND}"
        )
    return Measurements(points=tuple(points.values()))


def _names(section: TrainerSection) -> dict[str, str]:
    columns = section.columns
    given = {key: str(getattr(columns, key)) for key in columns.__dataclass_fields__}
    if section.format != "hf":
        return given
    defaults = type(columns)()
    return {k: _HF.get(k, v) if v == getattr(defaults, k) else v for k, v in given.items()}


def _rows(path: Path, section: TrainerSection) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every row with its place, for errors; a last line that is cut off is read past."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read ({error}). {_MEND}") from error
    if section.format == "csv":
        reader = csv.DictReader(io.StringIO(text))
        yield from ((f"{path}, line {reader.line_num}", row) for row in reader)
    elif section.format == "hf":
        yield from _hf_rows(path, text)
    else:
        lines = text.split("\n")
        for number, line in enumerate(lines, start=1):
            place = f"{path}, line {number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                if number == len(lines):
                    return
                raise RunError(f"{place}: not JSON ({error}). Mend the line.") from error
            if not isinstance(row, dict):
                raise RunError(f"{place}: not a JSON object. {_MEND}")
            yield place, row


def _hf_rows(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows of the log history; a row's learning rate is the last one logged."""
    try:
        history = json.loads(text)["log_history"]
        rows = [dict(row) for row in history]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: not a trainer_state.json ({error!r}). {_MEND}") from error
    rate: Any = None
    for number, row in enumerate(rows, start=1):
        rate = row.get("learning_rate", rate)
        yield f"{path}, entry {number}", {"learning_rate": rate, **row}


def _progress(
    place: str, row: Mapping[str, Any], names: Mapping[str, str], batch: int
) -> tuple[int, int]:
    """Steps and tokens of a row; either follows from the other."""
    step, n_tokens = (_number(place, row, names[key]) for key in ("step", "n_tokens"))
    if n_tokens is None:
        if step is None:
            raise RunError(
                f"{place}: has neither {names['step']!r} nor {names['n_tokens']!r}. {_MEND}"
            )
        n_tokens = step * batch
    step = n_tokens // batch if step is None else step
    if not (math.isfinite(step) and math.isfinite(n_tokens) and step >= 0 and n_tokens >= 0):
        raise RunError(f"{place}: step {step}, {n_tokens} tokens: counts are >= 0. {_MEND}")
    return int(step), int(n_tokens)


def _point(
    place: str,
    row: Mapping[str, Any],
    names: Mapping[str, str],
    config: RunConfig,
    *,
    step: int,
    n_tokens: int,
) -> Point | str:
    """One row as a point; a text where its loss is no number: the run has diverged."""
    loss = _number(place, row, names["loss"])
    if loss is None or not math.isfinite(loss):
        return f"the loss became {row[names['loss']]} at step {step}"
    if loss <= 0:
        raise RunError(f"{place}: {names['loss']} = {loss}: a loss is above 0. {_MEND}")
    # Whole batches: a trainer may count the tokens of a last, shorter one.
    target = config.schedule.n_tokens
    kind: Literal["final", "intermediate"] = "intermediate"
    if target is not None and n_tokens > target - config.optimiser.batch_tokens:
        kind = "final"
    rate = _number(place, row, names["lr"])
    return Point(
        step=step,
        n_tokens=n_tokens,
        flops=train_flops(config.shape, n_tokens),
        loss=loss,
        lr=_planned_rate(config, n_tokens) if rate is None else rate,
        kind=kind,
        loss_by_domain={
            key.removeprefix("loss_"): value
            for key in row
            if key.startswith("loss_") and (value := _number(place, row, key)) is not None
        },
        bpb=_number(place, row, names["bpb"]),
        wall_s=_number(place, row, names["wall_s"]) or 0.0,
    )


def _planned_rate(config: RunConfig, n_tokens: int) -> float:
    """What the configuration asks for where the trainer does not say."""
    before = max(0, n_tokens - config.optimiser.batch_tokens)
    return config.optimiser.lr * config.schedule.factor(before, n_tokens)


def _check_model(
    place: str, row: Mapping[str, Any], names: Mapping[str, str], config: RunConfig
) -> None:
    """A parameter count in the file must be what the run's shape counts, in some convention."""
    reported = _number(place, row, names["n_params"])
    if reported is None:
        return
    counts = count_params(config.shape)
    known = {name: counts.under(name) for name in PARAM_CONVENTIONS}
    if all(abs(reported / count - 1) > _COUNT_TOLERANCE for count in known.values()):
        says = ", ".join(f"{count} ({name})" for name, count in known.items())
        raise RunError(
            f"{place}: {names['n_params']} = {reported:g}, but the run's shape has {says}. Train "
            "the model that [model] describes, or leave the column out."
        )


def _number(place: str, row: Mapping[str, Any], name: str) -> float | None:
    """The number of a cell; None where there is none."""
    value = row.get(name) if name else None
    if value is None or value == "":
        return None
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise RunError(f"{place}: {name} = {value!r} is not a number. {_MEND}") from error
