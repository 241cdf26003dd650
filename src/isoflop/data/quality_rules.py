"""Which documents fail which rules, and what is remembered of those that go."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop._errors import InputError
from isoflop.specs.quality import MODEL_STATISTICS, QualitySection

# FineWeb's paper drops at its threshold too, Gopher's only beyond.
_STRICT = ("min_punctuated_lines", "max_short_lines", "max_dup_text_chars")
_ENDS = (0.0, 1.0)
_KEEPS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """What each rule says of each of D documents."""

    rules: tuple[str, ...]
    """Names of R rules: threshold keys, `languages`, conditions."""
    failed: NDArray[np.bool_]
    """(R, D)."""

    @property
    def kept(self) -> NDArray[np.bool_]:
        """(D,): documents that fail no rule."""
        return np.asarray(~self.failed.any(axis=0))

    def reasons(self, index: int) -> tuple[str, ...]:
        """The rules that a document fails, the first one first."""
        return tuple(self.rules[k] for k in np.flatnonzero(self.failed[:, index]))

    def counts(self) -> dict[str, tuple[int, int]]:
        """Of every rule that drops a document: (those whose first failure it is, all it fails)."""
        first = np.where(self.kept, -1, self.failed.argmax(axis=0) if self.rules else -1)
        everyone = self.failed.sum(axis=1)
        return {
            rule: (int(np.count_nonzero(first == k)), int(everyone[k]))
            for k, rule in enumerate(self.rules)
            if everyone[k]
        }


def _is_at_end(key: str, limit: float) -> bool:
    """Whether a threshold that drops at its value is at an end of a share's scale.

    There it drops only what lies beyond, like any other: nothing, which switches the rule off, or
    all but the end itself.
    """
    return key in _STRICT and limit in _ENDS


def judge(columns: Mapping[str, Any], section: QualitySection) -> Verdicts:
    """Apply the rules of a section to columns of statistics.

    Args:
        columns: those of `measure_quality`, each (D,).
        section: thresholds, languages and conditions.

    Raises:
        InputError: a rule asks for what the columns do not hold: a model's score.
    """
    if section.uses_model() and (missing := MODEL_STATISTICS.keys() - columns.keys()):
        raise InputError(
            f"columns: {', '.join(sorted(missing))} is not among them, and a rule asks for it. "
            "Add the column: `isoflop data` scores documents by a model."
        )
    n = len(columns["words"])
    failed: dict[str, NDArray[np.bool_]] = {}
    for key, limit in section.limits().items():
        bound, statistic = key.split("_", 1)
        value = columns[statistic]
        strict = key in _STRICT and not _is_at_end(key, limit)
        if bound == "min":
            failed[key] = value <= limit if strict else value < limit
        else:
            failed[key] = value >= limit if strict else value > limit
    if section.languages:
        failed["languages"] = ~np.isin(columns["language"], section.languages)
    for condition in section.conditions():
        keeps = _KEEPS[condition.operator]
        failed[condition.text] = ~keeps(columns[condition.statistic], condition.value)
    table = np.array(list(failed.values()), dtype=bool).reshape(len(failed), n)
    return Verdicts(rules=tuple(failed), failed=table)
