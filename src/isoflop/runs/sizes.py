"""How many parameters a foreign run has: counted from its settings, or as somebody says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isoflop._errors import InputError
from isoflop.accounting import MODEL_TYPES, Architecture, Experts, architecture_of, count_weights
from isoflop.accounting.params import PARAM_CONVENTIONS
from isoflop.runs.segment import Segment
from isoflop.runs.vocabulary import Asked, given_for

UNKNOWN = "unknown"
"""The convention of a count of which nobody says what it counts."""
_APART = 0.01
"""Counts that differ by more than this share are not of the same model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Parameters by convention, where they are from, and what is odd about them."""

    counts: Mapping[str, float]
    rule: str
    notes: tuple[str, ...] = ()
    missing: str = ""
    """Why there is no count, and what to do."""


def size_of(segment: Segment, asked: Asked) -> Size:
    """The size of a run: the user's word, else counted from its settings, else as it logged it."""
    given = given_for(asked.n_params, *segment.names_of_run)
    if given is not None:
        convention = asked.convention or UNKNOWN
        return Size(counts={convention: given}, rule="--n-params")
    logged = _logged(segment, asked)
    built, rule, why_not = _built(segment)
    if built is None:
        if logged:
            keys = [f"{segment.place}: {segment.keys[word]}" for word in _words_of(segment)]
            return Size(counts=logged, rule="; ".join(keys))
        return Size(counts={}, rule="", missing=why_not)
    counted = count_weights(built)
    counts = {str(name): float(counted.under(name)) for name in PARAM_CONVENTIONS}
    notes = [
        f"{name} is logged as {value:.6g}, but {counts[name]:.6g} follow from its settings"
        for name, value in logged.items()
        if name in counts and abs(value / counts[name] - 1) > _APART
    ]
    return Size(counts=counts, rule=rule, notes=tuple(notes))


def _words_of(segment: Segment) -> list[str]:
    return [word for word in segment.facts if word.startswith("n_params")]


def _logged(segment: Segment, asked: Asked) -> dict[str, float]:
    counts = {}
    for word in _words_of(segment):
        value = number(segment.facts[word])
        if value is not None and value >= 1:
            name = word.removeprefix("n_params").removeprefix("_")
            counts[name or asked.convention or UNKNOWN] = value
    return counts


def _built(segment: Segment) -> tuple[Architecture | None, str, str]:
    """The architecture, how it is known; or why it is not."""
    remedy = (
        f"Give its parameters: --n-params '{segment.name or segment.run_id}=COUNT' --convention "
        f"{PARAM_CONVENTIONS[0]}"
    )
    if segment.config.get("model_type") in MODEL_TYPES:
        values = {key: _spoken(value) for key, value in segment.config.items()}
        try:
            built = architecture_of(values, place=segment.place)
        except InputError as error:
            return None, "", f"{error} {remedy}"
        return built, f"{segment.place}: counted from its Hugging Face configuration", ""
    facts, missing = (
        segment.facts,
        [w for w in ("width", "depth", "vocab_size") if w not in segment.facts],
    )
    if missing:
        return None, "", f"its settings say no {', '.join(missing)}. {remedy}"
    try:
        built, assumed = _plain(segment, facts)
    except (InputError, TypeError, ValueError, OverflowError) as error:
        return None, "", f"its settings describe no decoder ({error}). {remedy}"
    keys = ", ".join(segment.keys[w] for w in ("width", "depth", "vocab_size"))
    return built, f"{segment.place}: counted from {keys}{assumed}", ""


def _plain(segment: Segment, facts: Mapping[str, Any]) -> tuple[Architecture, str]:
    """A decoder of the usual make, and what had to be assumed of it."""
    shape = segment.preset.shape
    width, heads = whole(facts["width"]), whole(facts.get("n_heads", 1))
    gated = flag(facts.get("gated", shape.get("gated", False)))
    tied = flag(facts.get("tied_head", shape.get("tied_head", False)))
    if "untied_head" in facts:
        tied = not flag(facts["untied_head"])
    # Megatron has one group by default, which it ignores unless queries are grouped.
    grouped = flag(facts.get("grouped_queries", True))
    assumed = [
        word
        for word, known in (
            ("MLP of 4 widths", "ff_width" in facts),
            ("plain MLP", "gated" in facts or "gated" in shape),
            ("untied head", {"tied_head", "untied_head"} & set(facts) or "tied_head" in shape),
        )
        if not known
    ]
    if gated and "ff_width" not in facts:
        raise ValueError("a gated MLP of unknown width")
    built = Architecture(
        name=segment.name or segment.run_id,
        n_layers=whole(facts["depth"]),
        width=width,
        n_heads=heads,
        n_kv_heads=whole(facts.get("n_kv_heads") or heads) if grouped else heads,
        head_dim=whole(facts.get("head_dim") or width // heads),
        ff_width=whole(facts.get("ff_width") or 4 * width),
        vocab_size=whole(facts["vocab_size"]),
        mlp_matrices=3 if gated else 2,
        tied_head=tied,
        experts=_experts(facts),
    )
    return built, f" (assumed: {', '.join(assumed)})" if assumed else ""


def _spoken(value: Any) -> Any:
    """A setting that a tracker keeps as text, as what it is text of."""
    if not isinstance(value, str):
        return value
    if value in _SPOKEN:
        return _SPOKEN[value]
    found = number(value)
    if found is None:
        return value
    return int(found) if found == int(found) and "." not in value else found


_SPOKEN: Mapping[str, bool | None] = {"True": True, "False": False, "None": None, "null": None}


def _experts(facts: Mapping[str, Any]) -> Experts | None:
    """The experts of a layer, where all of them are known; none of a dense model."""
    if not facts.get("n_experts"):
        return None
    if not {"n_active_experts", "expert_width"} <= set(facts):
        raise ValueError("a mixture of experts, of which not every part is known")
    width, shared = whole(facts["expert_width"]), number(facts.get("shared_width")) or 0.0
    if shared % width:
        raise ValueError("shared experts that are not as wide as the others")
    return Experts(
        n_experts=whole(facts["n_experts"]),
        experts_per_token=whole(facts["n_active_experts"]),
        ff_width=width,
        n_shared=int(shared // width),
        every=whole(facts.get("experts_every") or 1),
    )


def number(value: Any) -> float | None:
    """A setting as a number, or None where it is none."""
    if isinstance(value, bool):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if abs(found) < 1e300 else None


def whole(value: Any) -> int:
    """A setting as a count; ValueError where it is none."""
    found = number(value)
    if found is None or found != int(found) or found < 1:
        raise ValueError(f"{value!r} is no count")
    return int(found)


def flag(value: Any) -> bool:
    """A setting that is on or off, as it is or as text; ValueError where it is neither."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in ("true", "1", "1.0", "yes"):
        return True
    if text in ("false", "0", "0.0", "no", "none", ""):
        return False
    raise ValueError(f"{value!r} is neither true nor false")
