"""Filters of a corpus: documents in, those that are good enough out, with a reason for the rest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from isoflop._errors import DataError
from isoflop._types import Problem
from isoflop.data.card import DataCard, DomainCard, RuleCount
from isoflop.data.quality_rules import Verdicts, judge
from isoflop.data.quality_store import (
    measured,
    quality_path,
    score_path,
    scored,
    write_dropped,
)
from isoflop.data.sources import Documents
from isoflop.data.store import DocumentStore
from isoflop.specs.quality import (
    MODEL_STATISTICS,
    PUBLISHED,
    STATISTICS,
    TEXT_STATISTICS,
    QualitySection,
)

DROPPED = "dropped.parquet"
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
ALARM_SHARE = 0.5
Told = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """What the filters took out of one domain."""

    domain: str
    documents: DocumentStore
    reasons: tuple[tuple[str, ...], ...]
    """Of each, the rules that it fails; the first one first."""
    rules: tuple[RuleCount, ...]


def filter_documents(
    domain: Documents, folder: Path, *, progress: Callable[[float], None]
) -> tuple[Documents, Dropped | None]:
    """Keep the documents of a domain that its `quality` section lets pass; None if it has none.

    A document's quality does not depend on other documents, so this comes before duplicates are
    removed: of two near-twins, the one that stays is a good one.

    Raises:
        DataError: no document passes; names the rules with how many fail each.
    """
    section = domain.source.section.quality
    if section is None or section.is_empty():
        return domain, None
    name = domain.source.section.name
    columns = _columns(domain, folder, scores=section.uses_model(), progress=progress)
    verdicts = judge(columns, section)
    kept = verdicts.kept
    if not kept.any():
        raise DataError(_emptied(name, verdicts))
    dropped = Dropped(
        domain=name,
        documents=domain.documents.take(~kept),
        reasons=tuple(verdicts.reasons(i) for i in np.flatnonzero(~kept).tolist()),
        rules=_rule_counts(verdicts),
    )
    return replace(domain, documents=domain.documents.take(kept)), dropped


def _columns(
    domain: Documents, folder: Path, *, scores: bool, progress: Callable[[float], None]
) -> dict[str, Any]:
    """Every statistic of a domain's documents, and those of its model where `scores` says so."""
    name, documents, model = domain.source.section.name, domain.documents, domain.source.model
    path = quality_path(folder, name)
    if model is None or not scores:
        return measured(path, documents, progress=progress)
    # ASSUMPTION: scoring takes ten times as long.
    found = measured(path, documents, progress=lambda share: progress(0.1 * share))
    path = score_path(folder, name, model)
    return found | scored(
        path, documents, model, progress=lambda share: progress(0.1 + 0.9 * share)
    )


def _rule_counts(verdicts: Verdicts) -> tuple[RuleCount, ...]:
    counts = verdicts.counts().items()
    return tuple(RuleCount(rule=rule, first=a, all=b) for rule, (a, b) in counts)


def _emptied(name: str, verdicts: Verdicts) -> str:
    worst = sorted(verdicts.counts().items(), key=lambda item: -item[1][1])
    told = ", ".join(f"{rule} {every}" for rule, (_, every) in worst)
    return (
        f"data.domains {name!r}: the filters of its quality section drop all "
        f"{verdicts.failed.shape[1]} documents (documents that fail each rule: {told}). Loosen "
        "the first of them; `isoflop data --quality` shows the statistics of the domain."
    )


def keep_reasons(folder: Path, dropped: Sequence[Dropped | None]) -> None:
    """Write `dropped.parquet`, or remove that of an earlier recipe where nothing is filtered."""
    path = folder / DROPPED
    filtered = [one for one in dropped if one is not None]
    if not filtered:
        path.unlink(missing_ok=True)
        return
    rows: dict[str, list[Any]] = {
        key: [] for key in ("domain", "name", "sha256", "bytes", "first", "all")
    }
    for one in filtered:
        for document, reasons in zip(one.documents, one.reasons, strict=True):
            row = (
                one.domain, document.name.encode("utf-8", "replace").decode(),
                document.digest.hex(), document.n_bytes, reasons[0], list(reasons),
            )  # fmt: skip
            for key, value in zip(rows, row, strict=True):
                rows[key].append(value)
    write_dropped(path, rows)


def on_card(card: DomainCard, dropped: Dropped | None) -> DomainCard:
    """The card of a domain with what the filters took."""
    if dropped is None:
        return card
    return replace(
        card,
        filtered_documents=len(dropped.documents),
        filtered_bytes=int(dropped.documents.n_bytes.sum()),
        filtered_by=dropped.rules,
    )


def quality_problems(card: DataCard) -> tuple[Problem, ...]:
    """One `filtered_domain` for each domain that lost more than half to its filters."""
    found = []
    for domain in card.domains:
        if not domain.filtered_documents:
            continue
        documents = domain.filtered_documents / (domain.filtered_documents + domain.documents)
        size = domain.filtered_bytes / (domain.filtered_bytes + domain.bytes)
        if max(documents, size) > ALARM_SHARE:
            top = max(domain.filtered_by, key=lambda count: count.first)
            found.append(
                Problem(
                    code="filtered_domain",
                    severity="warning",
                    text=f"{domain.name}: the filters dropped {documents:.0%} of the documents and "
                    f"{size:.0%} of the bytes, {top.first} documents by {top.rule} first.",
                    remedy="See `isoflop data --quality`, and loosen the rule if these documents "
                    "are what the domain is for.",
                )
            )
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityTable:
    """What the documents of one domain are like, before any filter."""

    domain: str
    documents: int
    percentiles: Mapping[str, tuple[float, ...]]
    """Of each statistic, at PERCENTILES."""
    languages: Mapping[str, int]
    """Documents in each language, most frequent first."""
    keeps: Mapping[str, float]
    """Share of the documents that each published rule set keeps."""


def quality_table(domain: Documents, folder: Path, *, progress: Told) -> QualityTable:
    """Percentiles of every statistic of a domain: what thresholds are chosen by.

    Columns are kept in the folder, so that a later preparation does not measure again.
    """
    name = domain.source.section.name
    columns = _columns(
        domain, folder, scores=True, progress=lambda share: progress(f"measuring {name}", share)
    )
    percentiles = {
        statistic: tuple(np.percentile(columns[statistic], PERCENTILES).tolist())
        for statistic in (*STATISTICS, *MODEL_STATISTICS)
        if statistic in columns and statistic not in TEXT_STATISTICS
    }
    languages, counts = np.unique(columns["language"].astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return QualityTable(
        domain=name,
        documents=len(domain.documents),
        percentiles=percentiles,
        languages={str(languages[k]): int(counts[k]) for k in order},
        keeps={
            rules: float(judge(columns, QualitySection(rules=(rules,))).kept.mean())
            for rules in PUBLISHED
        },
    )
