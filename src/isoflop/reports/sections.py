"""The sections of the page, in reading order; each turns a `Report` into markup."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from isoflop.reports import comparisons, details, figures, numbers, panel, tables
from isoflop.reports.agreement import APPROACHES, agreement_rows
from isoflop.reports.arms import arm_tables, proposal_rows
from isoflop.reports.html import Content, Markup, element, join, page, picture, section
from isoflop.reports.report import Report, collect_problems
from isoflop.reports.style import DARK, LIGHT, svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Section = tuple[str, str, Callable[[Report], Content]]


def render(report: Report) -> str:
    """The whole page as HTML text; the same report gives the same bytes."""
    nav = element(
        "nav",
        join(element("a", title, href=f"#{name}") for name, title, _ in SECTIONS),
        aria_label="Sections",
    )
    header = element(
        "header",
        element("h1", report.title),
        element("p", f"Scaling-law report, isoflop {report.version}"),
    )
    body = [section(name, title, build(report)) for name, title, build in SECTIONS]
    footer = element("footer", f"Written by isoflop {report.version}.")
    return page(report.title, join([header, element("main", nav, *body), footer]))


def headline(report: Report) -> Content:
    """Forecast against truth in one sentence."""
    forecast, actual = report.forecast, report.actual
    if forecast is None:
        return _absent("No forecast of a held-out run has been made yet.")
    loss = forecast.loss
    run = (
        f"N = {numbers.count(forecast.n_params)} parameters on "
        f"D = {numbers.count(forecast.n_tokens)} tokens"
    )
    promise = f"{numbers.loss(loss.value)} [{numbers.loss(loss.low)}, {numbers.loss(loss.high)}]"
    if actual is None:
        sentence = f"The loss of the held-out run ({run}) is forecast as {promise} nats/token."
        return element("div", element("p", sentence), class_="headline")
    inside = loss.low <= actual <= loss.high
    error, naive = loss.value / actual - 1, forecast.naive_loss / actual - 1
    sentence = (
        f"The held-out run ({run}) reached {numbers.loss(actual)} nats/token; the forecast was "
        f"{promise}: {numbers.percent(abs(error))} off and "
        f"{'inside' if inside else 'outside'} the {numbers.level(loss.level)} interval."
    )
    second = (
        f"A straight line in log-log through the frontier is {numbers.percent(abs(naive))} off."
    )
    return element(
        "div",
        element("p", sentence),
        element("p", second),
        class_=f"headline {'hit' if inside else 'miss'}",
    )


def caveats(report: Report) -> Content:
    """Every problem: severity, code, text, remedy, and where it arose."""
    found = collect_problems(report)
    if not found:
        return element("p", "No problem was found.")
    items = []
    for problem, places in found:
        title = element(
            "p",
            element("span", problem.severity, class_="severity"),
            Markup(" · "),
            element("code", problem.code),
            element(
                "span",
                f" · in {', '.join(places)}; affects {' and '.join(problem.affects)}",
                class_="muted",
            ),
        )
        remedy = element("p", element("strong", "Remedy: "), problem.remedy)
        items.append(
            element("li", title, element("p", problem.text), remedy, class_=problem.severity)
        )
    return element("ul", *items, class_="problems")


def loss_curves(report: Report) -> Content:
    """Loss against tokens along every training."""
    curves = [curve for curve in report.curves if len(curve.loss)]
    if not curves:
        return _absent("No training has reported a point yet.")
    return _figure(
        functools.partial(figures.loss_curves, curves),
        alt=f"Loss against tokens for {len(curves)} trainings, one colour a model size",
        caption="Thin: trunks at constant learning rate. Bold: branches cooling down; the dot at "
        "the end is the run that the laws see.",
    )


def isoflop(report: Report) -> Content:
    """Loss against size at equal compute."""
    analysis = report.analysis
    profiles = details.profiles(analysis) if analysis else []
    if not profiles:
        return _absent("The runs hold no isoFLOP profile.")
    interior = sum(profile.interior for profile in profiles)
    return _figure(
        functools.partial(figures.isoflop_profiles, profiles),
        alt=f"{len(profiles)} isoFLOP profiles, {interior} with a minimum inside",
        caption="Each curve joins runs of about equal compute; the diamond is its minimum, the "
        "best size for that budget (hollow: at the edge, so the optimum lies outside).",
    )


def frontier(report: Report) -> Content:
    """L(C), its floor, the straight line and the held-out run."""
    if report.analysis is None:
        return _absent("No law has been fitted yet.")
    data = details.frontier(report)
    return _figure(
        functools.partial(figures.frontier, **data),
        alt="Loss against compute: pilots, the fitted frontier with its band and floor, the "
        "straight log-log line and the held-out run",
        caption="The fitted frontier bends towards its floor, the straight line does not. The "
        "forecast comes from the law in N and D at the held-out run's own size and tokens, which "
        "need not lie on the frontier.",
    )


def residuals(report: Report) -> Content:
    """What the law leaves unexplained."""
    if report.analysis is None:
        return _absent("No law has been fitted yet.")
    data = details.residuals(report)
    if data is None:
        return _absent("The table lacks a column that the law needs.")
    worst = float(abs(data["residual"]).max())
    return _figure(
        functools.partial(comparisons.residuals, **data),
        alt=f"Residuals against parameters, tokens and compute, at most {numbers.percent(worst)}",
        caption="Measured loss over the law's, minus one. A trend in any panel means that the law "
        "has the wrong form there. Colour: model size.",
    )


def ceilings(report: Report) -> Content:
    """What each size could reach with endless data."""
    analysis = report.analysis
    if analysis is None or not analysis.ceilings:
        return _absent("No law with a size term has been fitted yet.")
    rows = [(c.n_params, c.ceiling, c.best_loss) for c in analysis.ceilings]
    chart = _figure(
        functools.partial(comparisons.ceilings, rows, analysis.entropy),
        alt="Best loss and ceiling per model size, beside the irreducible loss",
        caption="The ceiling E + A/N^alpha is what a size reaches with endless data; the bar from "
        "the best run to it is what more data can still remove. Below it, only size helps; below "
        "E, nothing does.",
    )
    return join([chart, details.markup(tables.ceiling_rows(analysis))])


def allocation(report: Report) -> Content:
    """Chinchilla's three approaches side by side."""
    analysis = report.analysis
    if analysis is None or not analysis.allocations:
        return _absent("No allocation has been fitted yet.")
    lines = [
        (APPROACHES.get(a.approach, a.approach), a.flops, a.n_opt, a.d_opt)
        for a in analysis.allocations
        if len(a.flops)
    ]
    chart: Content = ""
    if lines:
        chart = _figure(
            functools.partial(comparisons.allocations, lines),
            alt="Optimal parameters and tokens against compute by each approach",
            caption="N_opt grows as C^a and D_opt as C^b; a and b are fitted apart.",
        )
    agree = agreement_rows(analysis)
    return join(
        [
            chart,
            details.markup(tables.allocation_rows(analysis)),
            *([details.markup(agree)] if agree.rows else []),
        ]
    )


def sensitivity(report: Report) -> Content:
    """The key answers under each choice that people make differently."""
    found = report.analysis.sensitivity if report.analysis else None
    if found is None:
        return _absent("The runs allow no allocation whose choices could be compared.")
    lines = details.markup(panel.sensitivity_rows(found))
    return join([lines, element("p", panel.impossible_lines(found), class_="muted")])


def forecast(report: Report) -> Content:
    """The registered forecast beside what was measured."""
    promise = report.forecast
    if promise is None:
        return _absent("No forecast of a held-out run has been made yet.")
    draw = functools.partial(
        comparisons.forecast_against_truth,
        promise.loss,
        naive=promise.naive_loss,
        actual=report.actual,
    )
    chart = _figure(
        draw,
        alt="The forecast interval, the straight line's forecast and the measured loss",
        caption="The forecast was written and hashed before the held-out run started.",
    )
    return join([chart, details.markup(tables.forecast_rows(promise, report.actual))])


def plan(report: Report) -> Content:
    """The planned run."""
    if report.plan is None:
        return _absent("No run has been planned yet: give the study a [plan] section.")
    return details.markup(tables.plan_rows(report.plan))


def laws(report: Report) -> Content:
    """Every parameter of every law with its interval, certificate and back-test."""
    if report.analysis is None:
        return _absent("No law has been fitted yet.")
    return details.law_tables(report.analysis)


def ladder(report: Report) -> Content:
    """Every run of the ladder."""
    if not report.column("loss").size:
        return _absent("No pilot has finished yet.")
    return details.markup(tables.ladder_rows(report.table))


def data(report: Report) -> Content:
    """The corpus."""
    if report.card is None:
        return _absent("The runs were given as a table: there is no data card.")
    return details.card_tables(report.card)


def arms(report: Report) -> Content:
    """Other data recipes beside the study's own."""
    if report.arms is None:
        return _absent("The study compares no data recipes: give it [[data.arms]].")
    parts = [details.markup(rows) for rows in arm_tables(report.arms)]
    if report.proposal is not None:
        parts.append(details.markup(proposal_rows(report.proposal)))
    return join(parts)


SECTIONS: tuple[Section, ...] = (
    ("headline", "Headline", headline),
    ("caveats", "Caveats", caveats),
    ("forecast", "Forecast against truth", forecast),
    ("plan", "Plan", plan),
    ("curves", "Loss curves", loss_curves),
    ("isoflop", "IsoFLOP profiles", isoflop),
    ("frontier", "Frontier L(C)", frontier),
    ("residuals", "Residuals", residuals),
    ("laws", "Laws", laws),
    ("allocation", "Allocation", allocation),
    ("sensitivity", "Sensitivity", sensitivity),
    ("ceilings", "Ceilings per size", ceilings),
    ("ladder", "Ladder", ladder),
    ("data", "Data card", data),
    ("arms", "Data recipes", arms),
    ("conventions", "Conventions", details.conventions),
)


def _figure(draw: "Callable[..., Figure]", *, alt: str, caption: str) -> Markup:
    light, dark = (svg(draw(theme=theme), theme) for theme in (LIGHT, DARK))
    return picture(light=light, dark=dark, alt=alt, caption=caption)


def _absent(why: str) -> Markup:
    return element("p", why, class_="muted absent")
