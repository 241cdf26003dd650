"""Checks of what the columns of a table say, whatever law is fitted to it."""

import numpy as np

from isoflop._types import Array, Problem, Table, is_share
from isoflop.fitting.table import Runs, optional_column
from isoflop.laws import Law

SHOWN = 5
"""Rows and values that a text names, at most."""

MANY_EPOCHS = 4.0
"""Muennighoff et al. 2023, arXiv:2305.16264: up to about four epochs are nearly as good as new
tokens, more are not."""

ONE_EPOCH = 1.01
"""Tokens over unique ones above which data count as repeated; below, batches were rounded."""

UNITS = 30.0
"""FLOPs over 6 N D, or the reverse, beyond which a unit is wrong and no convention."""

SMALLEST_MODEL = 1e3
"""A ladder whose largest model has fewer parameters counts them in thousands or more."""

COUNTED = ("n_unique_tokens", "corpus_tokens")
"""Columns that say how many tokens there were to see."""

ONE_LOSS = {
    "metric": "disqualifying",
    "unit": "disqualifying",
    "loss_unit": "disqualifying",
    "tokenizer": "warning",
    "vocab_size": "warning",
    "eval_set": "warning",
}
"""Columns that must hold one value for losses to be comparable, and how grave it is if not."""


def column_problems(table: Table, runs: Runs, law: Law) -> tuple[Problem, ...]:
    """Mixed metrics, repeated data, runs entered twice, units that contradict each other."""
    return (
        *_mixed_metrics(table, runs, law),
        *_repeated(table, runs, law),
        *_duplicated(table, runs),
        *_units(table, runs),
    )


def used(table: Table, name: str, runs: Runs) -> np.ndarray | None:
    """The rows of a column that the fit uses, whatever its type; None where there is no such."""
    column = optional_column(table, name)
    if column is None or column.size != np.size(table[runs.target]):
        return None
    return np.asarray(column[runs.row])


def run_names(table: Table, runs: Runs) -> list[str]:
    """How a text names each row: `row 3 (run-name)`, rows of the table counted from 0."""
    for name in ("run", "run_name", "name", "trunk"):
        column = used(table, name, runs)
        if column is not None:
            return [f"row {row} ({what})" for row, what in zip(runs.row, column, strict=True)]
    return [f"row {row}" for row in runs.row]


def listed(items: list[str]) -> str:
    """Up to `SHOWN` items in words, and how many more there are."""
    more = len(items) - SHOWN
    return ", ".join(items[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _mixed_metrics(table: Table, runs: Runs, law: Law) -> list[Problem]:
    told, gravest = [], "warning"
    for name, severity in ONE_LOSS.items():
        column = used(table, name, runs)
        # Bits per byte are made to be compared across tokenizers.
        free = runs.target.startswith("bpb") and name in ("tokenizer", "vocab_size")
        if column is None or free or name in law.inputs:
            continue
        values = [str(value) for value in np.unique(column.astype(str))]
        if len(values) > 1:
            told.append(f"the column {name!r} holds {len(values)} values ({listed(values)})")
            gravest = "disqualifying" if severity == "disqualifying" else gravest
    if not told:
        return []
    return [
        Problem(
            code="mixed_metrics",
            severity=gravest,  # type: ignore[arg-type]
            text=f"Losses are not comparable: {'; '.join(told)}.",
            remedy="Fit each of them apart, or compare in bits per byte (bpb).",
        )
    ]


def _repeated(table: Table, runs: Runs, law: Law) -> list[Problem]:
    tokens = runs.columns.get("n_tokens")
    if tokens is None or "n_unique_tokens" in law.inputs:
        return []
    for name in COUNTED:
        column = used(table, name, runs)
        if column is None or column.dtype.kind not in "fiu":
            continue
        known = np.isfinite(column) & (column > 0)
        epochs = np.where(known, tokens / np.where(known, column, 1.0), 0.0)
        worst = float(epochs.max())
        if worst > ONE_EPOCH:
            count = int((epochs > ONE_EPOCH).sum())
            return [
                Problem(
                    code="repeated_data",
                    severity="warning" if worst > MANY_EPOCHS else "note",
                    text=f"{count} of {len(runs)} runs saw their tokens up to {worst:.1f} times "
                    f"(column {name!r}); {law.name} counts each as new.",
                    remedy='Fit law="repeated" (columns n_tokens and n_unique_tokens), or leave '
                    "these runs out.",
                )
            ]
    return []


def _duplicated(table: Table, runs: Runs) -> list[Problem]:
    """Rows alike in every input and the loss, or one run with two losses at the same inputs."""
    names = run_names(table, runs)
    inputs = list(runs.columns.values())
    twice = [names[later] for later in _repeats(np.stack([*inputs, runs.loss], axis=1))]
    run = used(table, "run", runs)
    other: list[str] = []
    if run is not None:
        number = np.unique(run.astype(str), return_inverse=True)[1].astype(np.float64)
        same = _repeats(np.stack([*inputs, number], axis=1))
        other = [names[later] for later in same if names[later] not in twice]
    if not twice and not other:
        return []
    parts = [f"entered twice: {listed(twice)}"] if twice else []
    parts += [f"one run with two losses: {listed(other)}"] if other else []
    return [
        Problem(
            code="duplicated_runs",
            severity="warning",
            text=f"{len(twice) + len(other)} of {len(runs)} rows repeat another "
            f"({'; '.join(parts)}): such a run counts twice and its noise seems smaller.",
            remedy="Keep one row a run.",
        )
    ]


def _repeats(keys: Array) -> list[int]:
    """Numbers of the rows (R, K) that equal an earlier one."""
    first = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return [int(i) for i in np.flatnonzero(first[1][first[2].ravel()] != np.arange(len(keys)))]


def _units(table: Table, runs: Runs) -> list[Problem]:
    sizes, tokens = runs.columns.get("n_params"), runs.columns.get("n_tokens")
    if sizes is None or tokens is None or any(map(is_share, runs.columns)):
        return []
    flops = used(table, "flops", runs)
    if flops is not None and flops.dtype.kind in "fiu" and (flops > 0).all():
        ratio = float(np.exp(np.median(np.log(flops / (6 * sizes * tokens)))))
        if not 1 / UNITS < ratio < UNITS:
            text = f"The table's FLOPs are {ratio:.3g} times 6 N D."
        else:
            return []
    elif sizes.max() < SMALLEST_MODEL:
        text = f"The largest model has {sizes.max():.4g} parameters."
    else:
        return []
    return [
        Problem(
            code="units_mismatch",
            severity="warning",
            text=f"{text} N, D or FLOPs seem to be in millions, billions or another unit.",
            remedy="Count parameters, tokens and FLOPs in ones: plans take C = 6 N D.",
        )
    ]
