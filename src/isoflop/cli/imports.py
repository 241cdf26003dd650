"""What `isoflop import` does and says: sources into a study's folder, or into one table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoflop._errors import InputError
from isoflop.cli.render import si, table_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from isoflop.runs import Asked, ImportedRun, Reading

_FEW = 40
"""Rows of a long table that people read; --json has all."""
_KINDS = ("final", "intermediate", "any")


def asked_of(
    columns: Sequence[str] | None, n_params: Sequence[str] | None,
    batch_tokens: Sequence[str] | None, *, convention: str, unit: str,
) -> "Asked":  # fmt: skip
    """What the options say of the sources.

    Raises:
        InputError: an option that says nothing that can be used.
    """
    from isoflop.runs import Asked

    return Asked.of(
        columns or (), n_params=n_params or (), batch_tokens=batch_tokens or (),
        convention=convention, unit=unit,
    )  # fmt: skip


def take(
    sources: Sequence[str], into: Path | None, asked: "Asked", *, dry_run: bool
) -> dict[str, Any]:
    """Bring runs into a study's folder; without one, or as a dry run, only say what is there.

    Raises:
        InputError: a source is not there, or no run of any can be taken.
    """
    from isoflop.runs import import_runs, read_foreign
    from isoflop.runs.importing import require_runs

    reading = read_foreign(sources, asked, home=into or Path())
    if into is not None and not dry_run:
        require_runs(reading)
    taken = import_runs(reading, into) if into is not None and not dry_run else None
    news = {one.run.run_id: one for one in taken or ()}
    rows = [
        {**_described(run), "new_points": news[run.run_id].n_new if taken is not None else None}
        for run in reading.runs
    ]
    return {**_found(reading), "into": into, "written": taken is not None, "runs": rows}


def table(
    sources: Sequence[str], to: Path, asked: "Asked", *, kind: str, into: Path | None,
    dry_run: bool,
) -> dict[str, Any]:  # fmt: skip
    """Write the runs of all sources, isoflop's own too, as one table.

    Raises:
        InputError: --into as well, an unknown kind or suffix; a source that cannot be read.
    """
    from isoflop.runs import read_runs, write_table
    from isoflop.runs.export import check_place

    if into is not None:
        raise InputError("--into and --to exclude each other. Import first, then write the table.")
    if kind not in _KINDS:
        raise InputError(f"`kind` must be one of {', '.join(_KINDS)}, but got {kind!r}.")
    check_place(to)
    made = read_runs(*sources, kind=kind, asked=asked)
    if not dry_run:
        write_table(to, made)
    n_rows = len(next(iter(made.values())))
    return {"to": to, "written": not dry_run, "rows": n_rows, "columns": list(made)}


def lines(made: Mapping[str, Any]) -> "list[RenderableType]":
    """What people read of either."""
    if "to" in made:
        done = "wrote" if made["written"] else "would write"
        columns = ", ".join(made["columns"])
        return [f"{done} {made['to']}: {made['rows']} rows of {columns}"]
    parts: list[RenderableType] = []
    if made["runs"]:
        parts.append(_runs_table(made["runs"]))
    if made["missing"]:
        rows = _alike(made["missing"])
        parts.append(table_of("Not taken", ("run", "place", "what is missing"), rows[:_FEW]))
    if made["bad"]:
        unread = [(one["place"], one["reason"]) for one in made["bad"]]
        parts.append(table_of("Not read", ("place", "why"), unread[:_FEW]))
    for run in made["runs"][:_FEW]:
        parts += [f"note: {run['name']}: {text}" for text in run["problems"][:3]]
    return [*parts, _last_line(made)]


def _alike(missing: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """A row for all runs of a tool that lack the same, named by the first of them."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for one in missing:
        lacks = " / ".join(text.replace(f"'{one['run']}=", "") for text in one["questions"])
        groups.setdefault((one["tool"], lacks), []).append(one)
    return [
        (
            one[0]["run"] + (f" and {len(one) - 1} more" if len(one) > 1 else ""),
            one[0]["place"], " / ".join(one[0]["questions"]),
        )
        for one in groups.values()
    ]  # fmt: skip


def _last_line(made: Mapping[str, Any]) -> str:
    n = len(made["runs"])
    left = len(made["missing"]) + len(made["bad"])
    rest = f", {left} left out" if left else ""
    if made["written"]:
        new = sum(run["new_points"] for run in made["runs"])
        return (
            f"{n} runs in {made['into']}, {new} new points{rest}; next: isoflop fit {made['into']}"
        )
    if made["into"] is None:
        return (
            f"{n} runs would be taken{rest}; to take them: --into STUDY, or --to FILE for a table"
        )
    return f"{n} runs would be taken into {made['into']}{rest}"


def _runs_table(runs: Sequence[Mapping[str, Any]]) -> "RenderableType":
    headings = ("run", "tool", "names", "state", "attempts", "N", "D", "loss", "points", "new")
    rows = [
        (
            run["name"], run["tool"], run["preset"], run["state"], run["attempts"],
            _size(run["n_params"]), si(run["n_tokens"]) if run["n_tokens"] else "-",
            f"{run['loss']:.4f}" if run["loss"] is not None else "-", run["points"],
            "-" if run["new_points"] is None else run["new_points"],
        )
        for run in runs[:_FEW]
    ]  # fmt: skip
    more = f" (first {_FEW} of {len(runs)})" if len(runs) > _FEW else ""
    return table_of(f"Runs{more}", headings, rows)


def _size(counts: Mapping[str, float]) -> str:
    name, count = next(iter(counts.items()))
    return f"{si(count)} {name}"


def _found(reading: "Reading") -> dict[str, Any]:
    sources: dict[str, int] = {}
    for one in reading.sources:
        sources[one.kind] = sources.get(one.kind, 0) + 1
    missing = [asdict(one) for one in reading.missing]
    return {"sources": sources, "missing": missing, "bad": [asdict(one) for one in reading.bad]}


def _described(run: "ImportedRun") -> dict[str, Any]:
    import numpy as np

    losses = run.points.get("loss", run.points.get("bpb", np.zeros(0)))
    known = losses[np.isfinite(losses)]
    tokens = run.points.get("n_tokens", np.zeros(0))
    return {
        "run_id": run.run_id, "name": run.name, "tool": run.tool,
        "preset": run.provenance.get("names", ""), "state": run.state,
        "attempts": max(1, len(run.segments)), "n_params": run.n_params,
        "n_tokens": float(tokens[-1]) if tokens.size else None,
        "loss": float(known[-1]) if known.size else None, "points": int(run.points["step"].size),
        "complete": run.is_complete, "provenance": run.provenance, "problems": run.problems,
    }  # fmt: skip
