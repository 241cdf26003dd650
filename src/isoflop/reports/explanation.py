"""Tables of an explanation and of a revealed demand, as strings for terminal and page."""

from typing import TYPE_CHECKING

from isoflop._types import Interval
from isoflop.reports import numbers
from isoflop.reports.rows import Rows

if TYPE_CHECKING:
    from isoflop.planning.explain import Allocation, Counted, Explanation
    from isoflop.planning.revealed import Revealed, SizeOverhead

_WORDS = {
    "unknown": "not told",
    "total": "all weights",
    "non_embedding": "blocks",
    "non_embedding_with_head": "blocks, head",
    "active": "active, head",
    "block_flops/6": "blocks, scores",  # planning.counts.BLOCK_FLOPS
}


def explanation_tables(explanation: "Explanation") -> tuple[Rows, ...]:
    """All tables of an explanation, in the order in which to read them."""
    return (
        explanation_rows(explanation),
        advice_rows(explanation),
        counted_rows(explanation),
        reason_rows(explanation),
    )


def explanation_rows(explanation: "Explanation") -> Rows:
    """Every rule's allocation in our law's count, and what our law makes of it."""
    here = _words(explanation.n_params_convention)
    return Rows(
        title=f"{numbers.scientific(explanation.flops)} FLOPs by every rule; N counts {here}",
        header=("rule", "N", "D = C/6N", "D/N", "a", _loss_label(explanation.target), "wasted"),
        rows=tuple(
            (
                one.title,
                _or_missing(one.n_params_here, "count"),
                _or_missing(one.n_tokens_here, "count"),
                _or_missing(one.tokens_per_param_here, "general"),
                numbers.MISSING if one.a_here is None else f"{one.a_here:.2f}",
                _or_missing(one.loss, "loss"),
                _wasted(one.wasted),
            )
            for one in (explanation.ours, *explanation.others)
        ),
    )


def advice_rows(explanation: "Explanation") -> Rows:
    """Every rule's allocation as its own paper counts."""
    return Rows(
        title="The same rules as their papers count",
        header=("rule", "N counts", "N", "N in all", "D", "D/N", "a", "runs reach it"),
        rows=tuple(_as_printed(one) for one in (explanation.ours, *explanation.others)),
        text_columns=2,
    )


def counted_rows(explanation: "Explanation") -> Rows:
    """Our allocation as every way of counting would report it."""
    return Rows(
        title="Our allocation under every way of counting N and FLOPs",
        header=("N counts", "FLOPs count", "N", "D for the budget", "D/N", "FLOPs of ours"),
        # A family of dense decoders: what is active is blocks and head.
        rows=tuple(
            _counted(one) for one in explanation.counted if one.n_params_convention != "active"
        ),
        text_columns=2,
    )


def reason_rows(explanation: "Explanation") -> Rows:
    """Why the rules differ, in sentences."""
    return Rows(
        title="Why they differ",
        header=("cause", "at this budget"),
        rows=tuple((one.code, one.text) for one in explanation.reasons),
        text_columns=2,
    )


def revealed_rows(revealed: "Revealed") -> Rows:
    """What a trained model's size says of the demand that it was made for."""
    demand = revealed.inference_tokens
    return Rows(
        title="The demand that the size reveals",
        header=("what", "value"),
        rows=(
            (
                "model",
                f"N = {numbers.count(revealed.n_params)}, D = {numbers.count(revealed.n_tokens)}",
            ),
            ("tokens served", "none" if demand is None else _range(demand, "count")),
            ("FLOPs over compute-optimal", _range(revealed.overhead, "general")),
            ("in words", revealed.text),
        ),
        text_columns=2,
    )


def overhead_rows(overheads: "tuple[SizeOverhead, ...]") -> Rows:
    """What smaller models of the same loss cost to train."""
    return Rows(
        title="Smaller models of the same loss",
        header=("share of the optimal N", "times its tokens", "more training FLOPs"),
        rows=tuple(
            (
                numbers.general(one.share),
                _range(one.tokens, "general"),
                numbers.percent(one.overhead.value),
            )
            for one in overheads
        ),
        text_columns=0,
    )


def _as_printed(one: "Allocation") -> tuple[str, ...]:
    return (
        one.title,
        _words(one.counts),
        numbers.count(one.n_params),
        _or_missing(one.n_params_total, "count"),
        numbers.count(one.n_tokens),
        numbers.general(one.tokens_per_param),
        f"{one.a:.2f}",
        numbers.MISSING if one.outside is None else "no" if one.outside else "yes",
    )


def _counted(one: "Counted") -> tuple[str, ...]:
    return (
        _words(one.n_params_convention),
        one.flops_convention,
        numbers.count(one.n_params),
        numbers.count(one.n_tokens),
        numbers.general(one.tokens_per_param),
        numbers.scientific(one.flops),
    )


def _words(counts: str) -> str:
    return _WORDS.get(counts, counts)


def _or_missing(value: float | None, show: str) -> str:
    formatter = {"general": numbers.general, "count": numbers.count, "loss": numbers.loss}[show]
    return numbers.MISSING if value is None else formatter(value)


def _wasted(value: Interval | None) -> str:
    if value is None:
        return numbers.MISSING
    text = numbers.percent(value.value)
    if value.low == value.high:
        return text
    return f"{text} [{numbers.percent(value.low)}, {numbers.percent(value.high)}]"


def _range(value: Interval, show: str) -> str:
    if value.low == value.high:
        return numbers.count(value.value) if show == "count" else numbers.general(value.value)
    return numbers.interval(value, show=show)


def _loss_label(target: str) -> str:
    return "loss by our law" if target == "loss" else f"{target} by our law"
