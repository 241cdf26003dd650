"""What the sections show in numbers: tables of the page, and the plain data of its figures."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop._types import as_column
from isoflop.reports import numbers, tables
from isoflop.reports.figures import Line, Profile
from isoflop.reports.html import Content, Markup, element, join, table
from isoflop.reports.rows import Rows

if TYPE_CHECKING:
    from isoflop.fitting import Analysis
    from isoflop.reports.report import Report

_GRID = 80


def markup(rows: Rows) -> Markup:
    """A table of strings as HTML."""
    return table(rows.header, rows.rows, caption=rows.title, text_columns=rows.text_columns)


def profiles(analysis: "Analysis") -> list[Profile]:
    """The isoFLOP profiles of approach 2 with their parabolas on a grid."""
    found = analysis.allocation("isoflop")
    result = []
    for one in found.profiles if found else ():
        grid = np.geomspace(float(one.n_params.min()), float(one.n_params.max()), _GRID)
        # Without a valley the vertex means nothing: mark the best size that was run instead.
        valley = one.status != "no_minimum" and 0.5 * grid[0] <= one.vertex <= 2 * grid[-1]
        best = int(np.argmin(one.loss))
        result.append(
            Profile(
                flops=one.flops,
                n_params=one.n_params,
                loss=one.loss,
                curve_n_params=grid,
                curve_loss=one.parabola(grid),
                n_opt=one.vertex if valley else float(one.n_params[best]),
                loss_opt=one.loss_opt if valley else float(one.loss[best]),
                interior=one.status == "ok",
            )
        )
    return result


def frontier(report: "Report") -> dict[str, Any]:
    """The arguments of `figures.frontier`, drawn from the smallest run to past the largest."""
    analysis, forecast = report.analysis, report.forecast
    assert analysis is not None
    if report.column("flops").size:
        flops, loss = as_column(report.column("flops")), as_column(report.column("loss"))
    else:
        flops, loss = analysis.frontier_flops, analysis.frontier_loss
    top = max(float(flops.max()), forecast.flops if forecast else 0.0)
    grid = np.geomspace(float(flops.min()), 2 * top, _GRID)
    # The law alone: the scatter of single runs belongs to the forecast's bar.
    fitted = analysis.frontier.predict({"x": grid}, of="mean")
    held_out = None
    if forecast is not None and report.actual is not None:
        held_out = (forecast.flops, report.actual)
    return {
        "flops": flops,
        "loss": loss,
        "fitted": Line(flops=grid, loss=fitted.mean, low=fitted.low, high=fitted.high),
        "naive": Line(flops=grid, loss=analysis.naive.predict(grid)),
        "floor": analysis.frontier.theta.get("E"),
        "held_out": held_out,
        "forecast": (forecast.flops, forecast.loss) if forecast else None,
    }


def residuals(report: "Report") -> dict[str, Any] | None:
    """Measured loss over the law's minus one, per run; None without the columns for it."""
    analysis = report.analysis
    assert analysis is not None
    names = ("n_params", "n_tokens", "flops")
    if not all(report.column(name).size for name in (*names, analysis.target)):
        return None
    columns = {name: as_column(report.column(name)) for name in names}
    law = analysis.fit.predict(columns, of="mean").mean
    return {**columns, "residual": as_column(report.column(analysis.target)) / law - 1}


def law_tables(analysis: "Analysis") -> Markup:
    """Every fit: formula, source, theta with intervals, scores and certificate."""
    parts: list[Content] = []
    seen: set[int] = set()
    for title, fit in (
        ("Law used for forecasts", analysis.fit),
        ("Additive law in N and D", analysis.chinchilla),
        ("Frontier", analysis.frontier),
        ("Kaplan's joint law", analysis.kaplan),
    ):
        if id(fit) in seen:
            continue
        seen.add(id(fit))
        parts += [
            element("h3", title),
            element("p", element("code", fit.law.formula)),
            element("p", f"Source: {fit.law.source}", class_="muted"),
            markup(tables.theta_rows(fit, title)),
        ]
        if fit.scores:
            parts.append(markup(tables.score_rows(fit)))
        parts.append(
            element(
                "details",
                element("summary", "Certificate of the fit"),
                markup(tables.certificate_rows(fit)),
            )
        )
    return join(parts)


def card_tables(card: Mapping[str, Any]) -> Markup:
    """The data card: one row a domain, then everything else it records."""
    domains = [dict(domain) for domain in card.get("domains", ())]
    parts: list[Content] = []
    if domains:
        names = list(dict.fromkeys(key for domain in domains for key in domain))
        # Turned on its side: a domain has twenty facts and a phone is narrow.
        columns = [str(domain.get("name", index)) for index, domain in enumerate(domains)]
        rows = [
            (key.replace("_", " "), *(_fact(key, domain.get(key)) for domain in domains))
            for key in names
            if key != "name"
        ]
        parts.append(table(("", *columns), rows, caption="Domains"))
    rest = [
        (key.replace("_", " "), _fact(key, value))
        for key, value in card.items()
        if key != "domains"
    ]
    parts.append(table(("corpus", "value"), rest, text_columns=2))
    return join(parts)


def conventions(report: "Report") -> Markup:
    """How N, C, loss and intervals are counted on this page."""
    estimate = report.analysis.fit.estimate if report.analysis else None
    known = {
        "Parameters N": estimate.n_params_convention if estimate else "unknown",
        "Compute C": estimate.flops_convention if estimate else "unknown",
        "Loss": "mean validation loss [nats/token], domains weighted equally",
        "Intervals": f"{numbers.level(report.study.fit.level)}, from refits to losses drawn around "
        "the fit: branches of one trunk share a shock",
        "non_embedding_with_head": "every matrix that multiplies; a tied head counted once",
        "6nd": "six floating-point operations per parameter and token, with that N",
        "k, M, B, T": "thousand, million, 10^9, 10^12",
        "Study": report.study.name,
        "Seed": str(report.study.seed),
        "isoflop": report.version,
    }
    return element(
        "dl",
        *(
            element(tag, text)
            for pair in known.items()
            for tag, text in zip(("dt", "dd"), pair, strict=True)
        ),
    )


def _fact(key: str, value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return numbers.MISSING if value is None else ("yes" if value else "no")
    if isinstance(value, int):
        # Exact: a data card is a record and no headline.
        return f"{value:,}" if key != "version" else str(value)
    if isinstance(value, float):
        return numbers.general(value, 4)
    text = str(value)
    return f"{text[:16]}…" if key.endswith(("sha256", "hash")) and len(text) > 20 else text
