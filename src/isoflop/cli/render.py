"""Rich renderables of results: those of `reports.terminal`, and tables of the cli's own lists."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from isoflop._types import Problem
    from isoflop.data import DataCard, Preparation, QualityTable
    from isoflop.data.recipes import Fetched
    from isoflop.fitting import Analysis
    from isoflop.ladders import PlannedRun
    from isoflop.planning import Plan
    from isoflop.study import Outcome, RunStatusRow


def table_of(title: str, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table whose cells are shown as they are: brackets in a file are not markup."""
    table = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(headings):
        first = number == 0
        table.add_column(
            heading, justify="left" if first else "right", overflow="fold", no_wrap=first
        )
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    return table


def si(value: float) -> str:
    """A count in three digits: 1234567 -> 1.23M; FLOPs and the like keep their exponent."""
    value = float(f"{value:.3g}")  # first, or 999 936 would become 1e+03k
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if size <= abs(value) < 1e15:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """Seconds in the unit that people would say."""
    for size, unit in ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def planned_runs(runs: "Sequence[PlannedRun]") -> Table:
    """Every run that a study would start, and what all of them take."""
    headings = ["run", "kind", "shape", "N", "D", "FLOPs", "lr", "time", "memory"]
    priced = any(r.device_hours is not None for r in runs)
    if priced:
        headings += ["GPU-hours", "USD"]
    rows = []
    for r in runs:
        row = [
            r.run_id, r.kind, f"{r.width}x{r.depth}", si(r.n_params), si(r.n_tokens),
            f"{r.flops:.3g}", f"{r.lr:.3g}", duration(r.seconds), f"{r.memory_bytes / 1e9:.2f} GB",
        ]  # fmt: skip
        if priced:
            row += [_hours(r.device_hours), _dollars(r.cost_usd)]
        rows.append(row)
    # A branch's own share of the time is its cooldown, so the sum counts no token twice.
    how = "steps timed here" if all(r.measured for r in runs) else "by formula"
    if any(r.measured for r in runs) and not all(r.measured for r in runs):
        how = "steps timed here, else by formula"
    title = (
        f"{len(runs)} runs, about {duration(sum(r.seconds for r in runs))} of one process "
        f"({_range(runs)}; {how}); nothing has been started"
    )
    return table_of(title, headings, rows)


def planned_rungs(runs: "Sequence[PlannedRun]") -> Table | None:
    """What each size costs, where steps were timed or the accelerator of `[plan]` is priced."""
    priced = any(r.device_hours is not None for r in runs)
    if not priced and not any(r.measured for r in runs):
        return None
    rungs: dict[tuple[str, int, int], list[PlannedRun]] = {}
    for r in runs:
        rungs.setdefault((r.kind.removesuffix(" trunk"), r.width, r.depth), []).append(r)
    rows = [
        (
            f"{width}x{depth}", kind, len(members), si(members[0].n_params),
            si(max(r.n_tokens for r in members)), f"{max(r.flops for r in members):.3g}",
            *_cost_of(members, priced),
        )
        for (kind, width, depth), members in rungs.items()
    ]  # fmt: skip
    rows.append(("all", "", len(runs), "", "", "", *_cost_of(runs, priced)))
    headings = ["rung", "kind", "runs", "N", "largest D", "its FLOPs", "hours", "memory"]
    headings += ["GPU-hours", "USD"] if priced else []
    at = ", at the MFU and the dated prices of [plan]" if priced else ""
    return table_of(f"Rung by rung{at}", headings, rows)


def _cost_of(runs: "Sequence[PlannedRun]", priced: bool) -> tuple[str, ...]:
    """Hours with their range, the highest memory, and GPU-hours and money where they are known."""
    hours = f"{sum(r.seconds for r in runs) / 3600:.3g} ({_range(runs)})"
    memory = f"{max(r.memory_bytes for r in runs) / 1e9:.2f} GB"
    return (hours, memory, *(_price_of(runs) if priced else ()))


def _range(runs: "Sequence[PlannedRun]") -> str:
    low, high = sum(r.seconds_low for r in runs), sum(r.seconds_high for r in runs)
    return f"{duration(low)} to {duration(high)}"


def _price_of(runs: "Sequence[PlannedRun]") -> tuple[str, str]:
    hours = sum(r.device_hours or 0.0 for r in runs)
    prices = [r.cost_usd for r in runs if r.cost_usd is not None]
    if len(prices) < len(runs):  # a sum that leaves a run out would be too low
        return _hours(hours), _dollars(None)
    return _hours(hours), _dollars((sum(low for low, _ in prices), sum(up for _, up in prices)))


def _hours(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _dollars(value: tuple[float, float] | None) -> str:
    return "?" if value is None else f"{value[0]:,.2f} to {value[1]:,.2f}"


def status(rows: "Sequence[RunStatusRow]") -> Table:
    """Where every run stands."""
    headings = ("run", "kind", "state", "N", "D", "progress", "loss", "attempt", "reason")
    cells = [
        (
            r.run_id, r.kind, r.state, si(r.n_params), si(r.n_tokens), f"{r.progress:.0%}",
            "" if r.loss is None else f"{r.loss:.4f}", r.attempt, r.reason,
        )
        for r in rows
    ]  # fmt: skip
    done = sum(r.state == "done" for r in rows)
    return table_of(f"{done} of {len(rows)} runs done", headings, cells)


def recipe_rows() -> list[dict[str, Any]]:
    """The corpora that packages provide, as plain data."""
    from isoflop.data import RECIPES

    return [
        {
            "name": r.name, "version": r.version, "licence": r.licence, "text": r.description,
            "channel": r.channel or "python",
        }
        for r in RECIPES
    ]  # fmt: skip


def recipes(rows: Sequence[dict[str, Any]]) -> Table:
    """The corpora that packages provide."""
    cells = [
        (f"package:{r['name']}", r["channel"], r["version"], r["licence"], r["text"]) for r in rows
    ]
    headings = ("source", "from", "version", "licence", "text")
    return table_of("Corpora that packages carry", headings, cells)


def fetched(rows: "Sequence[Fetched]") -> Table:
    """What was fetched: one row a recipe."""
    cells = [
        (f"package:{r.name}", r.version, r.documents, f"{r.bytes / 1e6:.1f}", r.licence)
        for r in rows
    ]
    headings = ("source", "version", "documents", "MB", "licence")
    return table_of("fetched", headings, cells)


def card(card: "DataCard") -> Table:
    """A data card: one row a domain."""
    headings = ["domain", "documents", "exact dups", "near dups", "removed", "largest cluster"]
    if card.protected:
        headings.append("contaminated")
    headings += ["train tokens", "val tokens", "bytes/token", "licence"]
    rows = []
    for d in card.domains:
        removed = (d.exact_duplicates + d.near_duplicates) / max(d.documents, 1)
        row = [d.name, d.documents, d.exact_duplicates, d.near_duplicates, f"{removed:.1%}",
               d.largest_cluster]  # fmt: skip
        if card.protected:
            row.append(d.contaminated_documents)
        row += [si(d.train_tokens), si(d.val_tokens), f"{d.bytes_per_token:.3f}", d.licence]
        rows.append(tuple(row))
    title = f"corpus {card.corpus_hash[:12]}, vocabulary {card.vocab_size}"
    if card.tokenizer != "own":
        title += f" of {card.tokenizer}"
    table = table_of(title, headings, rows)
    if card.short_passages:
        table.caption = (
            f"Protected passages shorter than 8 words, not looked for: {card.short_passages}"
        )
    return table


def preparation(taken: "Preparation") -> Table:
    """Seconds and speed of every stage of a preparation."""
    rows = [
        (
            one.name, f"{one.seconds:.1f}", f"{one.bytes / 1e6:.1f}" if one.bytes else "",
            f"{one.bytes / 1e6 / one.seconds:.1f}" if one.bytes and one.seconds else "",
            "found finished" if one.found else "",
        )
        for one in taken.stages
    ]  # fmt: skip
    seconds = sum(one.seconds for one in taken.stages)
    rows.append(("in all", f"{seconds:.1f}", "", "", f"peak memory {taken.peak_memory_mb:.0f} MB"))
    return table_of("the last preparation", ("stage", "s", "MB", "MB/s", ""), rows)


def cards(card_: "DataCard", problems: "Sequence[Problem]") -> "list[RenderableType]":
    """A data card, what filters dropped rule by rule where there are any, and its problems."""
    from isoflop.reports import terminal

    parts: list[RenderableType] = [card(card_)]
    rows = []
    for d in card_.domains:
        total = d.documents + d.filtered_documents
        rows += [
            (d.name, count.rule, count.first, count.all, f"{count.all / total:.1%}")
            for count in d.filtered_by
        ]
        if d.filtered_by:
            dropped = d.filtered_documents
            rows.append((d.name, "all rules", dropped, dropped, f"{dropped / total:.1%}"))
    if rows:
        headings = ("domain", "rule", "first to fail", "fail it", "share")
        title = "Documents that quality rules dropped; each one's reasons: data/dropped.parquet"
        parts.append(table_of(title, headings, rows))
    return [*parts, *terminal.problem_lines(problems)]


def quality(tables: "Sequence[QualityTable]") -> "list[RenderableType]":
    """Percentiles of every statistic, domain by domain, and what the published rules would keep."""
    from isoflop.data.quality_filter import PERCENTILES

    parts: list[RenderableType] = []
    for table in tables:
        languages = ", ".join(
            f"{name} {count}" for name, count in list(table.languages.items())[:5]
        )
        headings = ("statistic", *(f"{p} %" for p in PERCENTILES))
        rows = [
            (name, *(f"{value:.4g}" for value in values))
            for name, values in table.percentiles.items()
        ]
        title = f"{table.domain}: {table.documents} documents; languages: {languages}"
        parts.append(table_of(title, headings, rows))
    names = list(tables[0].keeps)
    shares = [(t.domain, *(f"{t.keeps[name]:.1%}" for name in names)) for t in tables]
    parts.append(
        table_of("Documents that each published rule set keeps", ("domain", *names), shares)
    )
    return parts


def analysis(analysis: "Analysis") -> "list[RenderableType]":
    """The fits of an analysis, then its problems."""
    from isoflop.reports import terminal

    parts: list[RenderableType] = [terminal.analysis_table(analysis)]
    if analysis.sensitivity is not None:
        parts.append(terminal.sensitivity_table(analysis.sensitivity))
    return [*parts, *terminal.problem_lines(all_problems(analysis))]


def plan(plan: "Plan") -> "list[RenderableType]":
    """A plan with its intervals, what it was weighed against, then its problems."""
    from isoflop.cli import answers
    from isoflop.reports import terminal

    parts: list[RenderableType] = [terminal.plan_table(plan)]
    if plan.choice is not None:
        parts += answers.hardware(plan.choice)
    if plan.explanation is not None:
        parts += terminal.explanation_tables(plan.explanation)
    if plan.revealed is not None:
        parts.append(terminal.revealed_table(plan.revealed))
    return [*parts, *terminal.problem_lines(plan.problems)]


def outcome(outcome: "Outcome") -> "list[RenderableType]":
    """What a whole study found; parts that it has no section for are left out."""
    from isoflop.reports import terminal
    from isoflop.reports.arms import arm_tables, proposal_rows

    parts: list[RenderableType] = [terminal.analysis_table(outcome.analysis)]
    if outcome.forecast is not None:
        parts.append(terminal.forecast_table(outcome.forecast, outcome.actual))
    if outcome.plan is not None:
        parts.append(terminal.plan_table(outcome.plan))
    if outcome.arms is not None:
        parts += [terminal.rich_table(rows) for rows in arm_tables(outcome.arms)]
    if outcome.tested is not None:
        parts.append(terminal.rich_table(proposal_rows(outcome.tested.to_json())))
    return [*parts, *terminal.problem_lines(outcome.problems), f"report: {outcome.report}"]


def all_problems(analysis: "Analysis") -> "tuple[Problem, ...]":
    """The problems of an analysis and of its parts, each once."""
    found = dict.fromkeys((*analysis.problems, *analysis.fit.problems))
    # The laws differ in how far a run lies off; that it does is told once, by the forecast's law.
    told = {problem.code for problem in analysis.fit.problems}
    of_allocations = (p for one in analysis.allocations for p in one.problems)
    found |= dict.fromkeys(p for p in of_allocations if p.code not in told)
    # What only a law beside the forecast's suffers from is told with that law's name.
    told = {problem.code for problem in found}
    for name, fit in (("Frontier L(C)", analysis.frontier), ("Kaplan's law", analysis.kaplan)):
        own = (problem for problem in fit.problems if problem.code not in told)
        found |= dict.fromkeys(replace(one, text=f"{name}: {one.text}") for one in own)
    return tuple(found)
