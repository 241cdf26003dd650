"""A law card as JSON text and back: the same card gives the same bytes."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array, Interval
from isoflop.fitting.as_json import read_problem, to_plain
from isoflop.fitting.certificate import Basin, Certificate
from isoflop.fitting.fit_result import LawScore
from isoflop.fitting.law_card import CardAllocation, CardLaw, LawCard
from isoflop.fitting.noise import Noise
from isoflop.fitting.record import Record

KIND = "isoflop-law-card"
CARD_VERSION = 1

# A newline inside a JSON string is escaped, so this finds arrays of numbers only.
_FLAT_ARRAY = re.compile(r"\[\n\s+([^\[\]{}\"]*?)\n\s+\]")


def card_to_text(card: LawCard) -> str:
    """The card as indented JSON, an array of numbers on one line; reads back exactly."""
    record = {"kind": KIND, "version": CARD_VERSION, **to_plain(replace(card, own={}))}
    del record["own"]
    text = json.dumps(record, indent=1, allow_nan=False)
    return _FLAT_ARRAY.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def card_from_text(text: str) -> LawCard:
    """The card of a text that `card_to_text` made.

    Raises:
        InputError: no JSON, no law card, another version, a field missing or impossible.
    """
    try:
        record = json.loads(text)
    except ValueError as error:
        raise InputError(f"A law card must be JSON, but {error}. Make it again.") from error
    if not isinstance(record, dict) or record.get("kind") != KIND:
        raise InputError(
            f'A law card must have "kind": "{KIND}", but this file has not. '
            f"Make one with `isoflop fit RUNS --card FILE.json`."
        )
    if record.get("version") != CARD_VERSION:
        raise InputError(
            f"`version = {CARD_VERSION}` must hold of a law card, but got "
            f"version={record.get('version')}. Make it again with this isoflop."
        )
    try:
        card = _card(record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"A law card must have all its fields, but {error!r}. Make it again."
        ) from error
    _check(card)
    return card


def _card(record: Mapping[str, Any]) -> LawCard:
    made = record["record"]
    return LawCard(
        isoflop=str(record["isoflop"]),
        target=str(record["target"]),
        unit=str(record["unit"]),
        level=_finite(record, "level"),
        n_runs=int(record["n_runs"]),
        n_trunks=int(record["n_trunks"]),
        n_params_convention=str(record["n_params_convention"]),
        flops_convention=str(record["flops_convention"]),
        ranges={str(k): (float(low), float(up)) for k, (low, up) in record["ranges"].items()},
        laws=tuple(_law(one) for one in record["laws"]),
        scores=tuple(_score(one) for one in record["scores"]),
        sigma=_finite(record, "sigma"),
        spread=_finite(record, "spread"),
        spread_distance=_finite(record, "spread_distance"),
        certificate=_certificate(record["certificate"]),
        allocations=tuple(
            CardAllocation(
                approach=one["approach"],
                a=_interval(one["a"]),
                b=_interval(one["b"]),
                problems=tuple(map(str, one["problems"])),
            )
            for one in record["allocations"]
        ),
        problems=tuple(read_problem(one) for one in record["problems"]),
        further_problems=tuple(read_problem(one) for one in record["further_problems"]),
        record=Record(
            **{**made, "prior": tuple(map(str, made["prior"])), "noise": Noise(**made["noise"])}
        ),
    )


def _law(record: Mapping[str, Any]) -> CardLaw:
    return CardLaw(
        name=str(record["name"]),
        formula=str(record["formula"]),
        source=str(record["source"]),
        weight=_finite(record, "weight"),
        constants={str(name): _interval(one) for name, one in record["constants"].items()},
        units={str(name): str(unit) for name, unit in record["units"].items()},
        draws=np.array(record["draws"], dtype=np.float64),
    )


def _certificate(record: Mapping[str, Any]) -> Certificate:
    known = {name: math.inf if value is None else value for name, value in record.items()}
    at_bound: Any = tuple(map(str, record["at_bound"]))
    basins = tuple(Basin(**one) for one in record.get("basins", ()))
    return Certificate(**{**known, "at_bound": at_bound, "basins": basins})


def _score(record: Mapping[str, Any]) -> LawScore:
    missing = {"backtest": math.nan, "in_sample": math.nan, "window": math.inf}
    known: dict[str, Any] = {
        name: missing[name] if value is None else value for name, value in record.items()
    }
    return LawScore(**known)


def _interval(record: Mapping[str, Any]) -> Interval:
    numbers = {name: math.nan if value is None else float(value) for name, value in record.items()}
    return Interval(**numbers)


def _finite(record: Mapping[str, Any], name: str) -> float:
    value = record[name]
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name}={value}")
    return float(value)


def _check(card: LawCard) -> None:
    """Refuse a card whose numbers cannot be an estimate.

    Raises:
        InputError: the text names the field.
    """
    total = sum(law.weight for law in card.laws)
    missing = {
        "laws whose weights add up to 1": abs(total - 1) > 1e-9,
        "weights of 0 and more": min((law.weight for law in card.laws), default=-1.0) < 0,
        "0 < level < 1": not 0 < card.level < 1,
        "ranges of finite numbers": not np.isfinite(list(card.ranges.values())).all(),
        "sigma and spread of 0 and more": min(card.sigma, card.spread) < 0,
        "spread_distance > 0": card.spread_distance <= 0,
        "finite constants with as many numbers in every draw": not all(
            _sound(law.draws, law.constants) for law in card.laws
        ),
    }
    for what, is_missing in missing.items():
        if is_missing:
            raise InputError(
                f"A law card must have {what}, but this one has not. Make the card again."
            )


def _sound(draws: Array, constants: Mapping[str, Interval]) -> bool:
    values = np.array([interval.value for interval in constants.values()])
    shaped = draws.ndim == 2 and draws.shape[1:] == values.shape and len(draws) > 0
    return bool(shaped and np.isfinite(values).all() and np.isfinite(draws).all())
