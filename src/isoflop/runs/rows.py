"""Imported runs as rows of a table, sizes counted alike."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from isoflop._errors import RunError
from isoflop.accounting import flops_6nd
from isoflop.accounting.params import PARAM_CONVENTIONS
from isoflop.runs.imported import ImportedRun
from isoflop.runs.sizes import UNKNOWN
from isoflop.runs.vocabulary import BY_NAME

_NEAR_END = 0.99
"""From this share of the steps on a measurement is of the finished model."""
_COLUMNS = (
    "batch_tokens",
    "width",
    "depth",
    "n_heads",
    "seed",
    "vocab_size",
    "schedule",
    "tokenizer",
)
_MEASURED = ("loss", "train_loss", "bpb")
_OWN = ("step", "n_tokens", "flops", "lr", "unix_s")


def imported_rows(
    runs: Sequence[ImportedRun], kind: str, convention: str = ""
) -> list[dict[str, Any]]:
    """Rows of the given kind: `final`, `intermediate` or `any`.

    Columns as `read_runs`; `flops` is 6·N·D, `flops_logged` what the run itself counted.

    Raises:
        RunError: the runs have no convention of counting parameters in common.
    """
    if not runs:
        return []
    counted = _common(runs, convention)
    return [row for run in runs for row in _rows(run, kind, counted)]


def imported_curves(runs: Sequence[ImportedRun]) -> list[dict[str, Any]]:
    """Rows of whole curves, as `read_curves`: points with a loss, and the rate as it was logged.

    Raises:
        RunError: a run logged no rate, or sizes are counted in different ways.
    """
    counted = _common(runs, "")
    return [row for run in runs for row in _curve(run, counted)]


def _curve(run: ImportedRun, convention: str) -> Iterator[dict[str, Any]]:
    rate = run.points.get("lr", np.zeros(0))
    known = np.isfinite(rate)
    if not known.any():
        raise RunError(
            f"run {run.name!r}: no learning rate was logged, and a curve needs it. Map it with "
            "--map NAME=lr and import again, or leave the run out."
        )
    loss = run.points.get("loss", np.full(rate.size, math.nan))
    seen = np.isfinite(loss) & known
    last = np.flatnonzero(seen)[-1] if seen.any() else -1
    same = {"run": run.run_id, "trunk": _trunk(run), "n_params": run.n_params[convention]}
    for index in np.flatnonzero(known).tolist():
        at = {"n_tokens": float(run.points["n_tokens"][index]), "lr": float(rate[index])}
        yield {**same, "kind": "schedule", **at, "loss": math.nan}
        if seen[index]:
            kind = "final" if index == last and run.is_complete else "intermediate"
            yield {**same, "kind": kind, **at, "loss": float(loss[index])}


def like_columns(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with equal columns: those that all have, and what some measured, NaN for the others."""
    names = dict.fromkeys(name for row in rows for name in row)
    kept = [
        name
        for name in names
        if name in _MEASURED or name.startswith(BY_NAME) or all(name in row for row in rows)
    ]
    return [{name: row.get(name, math.nan) for name in kept} for row in rows]


def _common(runs: Sequence[ImportedRun], wanted: str) -> str:
    """The convention that all runs are counted by; `active` where a mixture is among them."""
    names = (wanted, *PARAM_CONVENTIONS, UNKNOWN) if wanted else (*PARAM_CONVENTIONS, UNKNOWN)
    common = [name for name in names if all(name in run.n_params for run in runs)]
    if wanted and common[:1] != [wanted]:
        lacks = next(run for run in runs if wanted not in run.n_params)
        raise RunError(
            f"run {lacks.name!r}: its parameters are not known as {wanted!r}, only as "
            f"{', '.join(lacks.n_params)}. Give them with --n-params, or ask for no convention."
        )
    if not common:
        ways = "; ".join(f"{run.name!r} as {', '.join(run.n_params)}" for run in _unlike(runs))
        raise RunError(
            f"the runs' parameters are counted in different ways: {ways}. "
            "Give those of some with --n-params and --convention."
        )
    head = common[0]
    if not wanted and "active" in common and head != "active":
        mixture = any(run.n_params[head] != run.n_params["active"] for run in runs)
        return "active" if mixture else head
    return head


def _unlike(runs: Sequence[ImportedRun]) -> list[ImportedRun]:
    by_way = {tuple(sorted(run.n_params)): run for run in runs}
    return list(by_way.values())


def _rows(run: ImportedRun, kind: str, convention: str) -> Iterator[dict[str, Any]]:
    points = run.points
    measured = [name for name in ("loss", "bpb") if name in points]
    if not measured or not points["step"].size:
        return
    seen = np.isfinite(points[measured[0]])
    last = int(np.flatnonzero(seen)[-1]) if seen.any() else -1
    for index in np.flatnonzero(seen).tolist():
        final = index == last and run.is_complete
        if kind not in ("any", "final" if final else "intermediate"):
            continue
        row = _row(run, index, convention)
        if final:
            _fill_end(row, run)
        yield {**row, "kind": "final" if final else "intermediate"}


def _row(run: ImportedRun, index: int, convention: str) -> dict[str, Any]:
    n_params, n_tokens = run.n_params[convention], float(run.points["n_tokens"][index])
    row: dict[str, Any] = {
        "run": run.run_id, "trunk": _trunk(run), "kind": "", "run_name": run.name,
        "n_params": n_params, "n_tokens": n_tokens, "flops": float(flops_6nd(n_params, n_tokens)),
        "n_params_convention": convention, "flops_convention": "6nd",
    }  # fmt: skip
    row |= {f"n_params_{name}": n for name, n in run.n_params.items() if name != UNKNOWN}
    if "flops" in run.points:
        row["flops_logged"] = float(run.points["flops"][index])
    row |= {name: run.facts[name] for name in _COLUMNS if name in run.facts}
    if (peak := _peak(run)) is not None:
        row["lr"] = peak
    return row | {
        name: float(column[index]) for name, column in run.points.items() if name not in _OWN
    }


def _trunk(run: ImportedRun) -> str:
    """What it shares its noise with: the training that it branched from, or its own."""
    return str(run.facts.get("trunk", run.run_id))


def _peak(run: ImportedRun) -> float | None:
    """The peak learning rate: as set, else the highest that was logged."""
    if isinstance(run.facts.get("lr"), int | float):
        return float(run.facts["lr"])
    rates = run.points.get("lr", np.zeros(0))
    known = rates[np.isfinite(rates)]
    return float(known.max()) if known.size else None


def _fill_end(row: dict[str, Any], run: ImportedRun) -> None:
    """What was measured near the end, if not at the very last point, and what only once."""
    step = run.points["step"]
    near = step >= _NEAR_END * step[-1]
    for name, column in run.points.items():
        if name not in _OWN and math.isnan(row[name]):
            there = np.flatnonzero(near & np.isfinite(column))
            row[name] = float(column[there[-1]]) if there.size else math.nan
    row |= run.finals
