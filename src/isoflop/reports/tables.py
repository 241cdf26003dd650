"""Tables of a study as strings: the one source of what the terminal and the page print."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop._types import Interval, Problem, Table
from isoflop.reports import numbers
from isoflop.reports.agreement import APPROACHES, agreement_lines, optimum_lines
from isoflop.reports.rows import Rows

if TYPE_CHECKING:
    from isoflop.fitting import Allocation, Analysis, Ceiling, Fit, Forecast
    from isoflop.planning import Plan


_FEW = 12
"""Sizes whose ceiling the terminal shows; isoFLOP tables have a size of its own for every run."""


def theta_rows(fit: "Fit", title: str) -> Rows:
    """Every parameter of a fit with its interval and unit."""
    units = {param.name: param.unit for param in fit.law.params}
    rows = [
        (
            name,
            numbers.general(value.value, 4),
            numbers.general(value.low, 4),
            numbers.general(value.high, 4),
            units.get(name, "") or numbers.MISSING,
        )
        for name, value in fit.theta.items()
    ]
    level = next((value.level for value in fit.theta.values()), fit.estimate.level)
    return Rows(
        title=f"{title}: {fit.law.name}, {numbers.level(level)} intervals",
        header=("parameter", "value", "low", "high", "unit"),
        rows=tuple(rows),
    )


def score_rows(fit: "Fit") -> Rows:
    """The laws weighed in a fit: back-test and in-sample error of log loss, weight."""
    rows = [
        (
            score.label,
            numbers.percent(score.backtest),
            numbers.percent(score.in_sample),
            f"{score.weight:.2f}",
        )
        for score in sorted(fit.scores, key=lambda score: -score.weight)
    ]
    return Rows(
        title="Laws by back-test (fitted on the smaller runs, scored on the larger ones)",
        header=("law", "back-test error", "in-sample error", "weight"),
        rows=tuple(rows),
    )


def certificate_rows(fit: "Fit") -> Rows:
    """What shows that the optimiser found the minimum."""
    certificate = fit.certificate
    rows = (
        ("converged", "yes" if certificate.converged else "no"),
        ("starts", str(certificate.starts)),
        ("starts that reached the best objective", numbers.percent(certificate.share_reached)),
        ("distinct minima that starts ended in", str(certificate.n_basins)),
        ("largest gradient, relative", numbers.general(certificate.gradient_norm, 2)),
        ("condition number", numbers.general(certificate.condition_number)),
        ("parameters at a bound", ", ".join(certificate.at_bound) or "none"),
        ("runs, trunks", f"{fit.n_runs}, {fit.n_trunks}"),
        ("noise of a run, log loss", numbers.percent(fit.estimate.sigma)),
        ("extra spread beyond the runs", numbers.percent(fit.estimate.spread)),
    )
    return Rows(title="Certificate", header=("check", "value"), rows=rows)


def allocation_rows(analysis: "Analysis") -> Rows:
    """Exponents of compute-optimal size and tokens by each approach, and whether to use them."""
    own = {problem for one in analysis.allocations for problem in one.problems}
    # A problem of the table as a whole (all runs on one ray) refuses every approach.
    shared = tuple(problem for problem in analysis.problems if problem not in own)
    rows = [
        (
            APPROACHES.get(one.approach, one.approach),
            _range(one.a),
            _range(one.b),
            numbers.general(one.sum_ab),
            _verdict(one, shared),
        )
        for one in analysis.allocations
    ]
    return Rows(
        title="Allocation: N_opt ~ C^a, D_opt ~ C^b",
        header=("approach", "a", "b", "a + b", "verdict"),
        rows=tuple(rows),
    )


def _verdict(one: "Allocation", shared: tuple[Problem, ...]) -> str:
    if any(problem.disqualifies("allocation") for problem in (*one.problems, *shared)):
        return "refused"
    known = np.isfinite([one.a.low, one.a.high, one.b.low, one.b.high]).all()
    return "usable" if known else "unknown"


def ceiling_rows(analysis: "Analysis") -> Rows:
    """Loss per size split into irreducible, removable by size, and removable by data."""
    rows = [
        (
            numbers.count(one.n_params),
            numbers.loss(one.best_loss),
            numbers.interval(one.ceiling, show="loss"),
            numbers.loss(one.reducible_by_data),
            numbers.loss(one.ceiling.value - analysis.entropy.value),
            numbers.loss(analysis.entropy.value),
        )
        for one in analysis.ceilings
    ]
    return Rows(
        title="Loss per size [nats/token]",
        header=(
            "N",
            "best run",
            "ceiling E + A/N^alpha",
            "reducible by data",
            "reducible by size",
            "irreducible E",
        ),
        rows=tuple(rows),
    )


def analysis_rows(analysis: "Analysis") -> Rows:
    """The few numbers of an analysis that a terminal shows."""
    fit = analysis.fit
    rows = [
        ("runs, trunks", f"{fit.n_runs}, {fit.n_trunks}"),
        *_law_rows("law (largest weight)", fit, analysis),
        *_frontier_rows(analysis.frontier),
        *_law_rows("Kaplan's joint law", analysis.kaplan),
        (
            "irreducible loss E",
            numbers.interval(analysis.entropy, show="loss")
            + _profile(analysis, analysis.chinchilla.law.name, "E"),
        ),
        *(
            (
                f"allocation {APPROACHES.get(one.approach, one.approach)}",
                f"a = {_range(one.a)}, b = {_range(one.b)}, a + b = {numbers.general(one.sum_ab)}",
            )
            for one in analysis.allocations
        ),
        *agreement_lines(analysis),
        *optimum_lines(analysis),
        *(
            (
                f"ceiling at N = {numbers.count(one.n_params)}",
                f"{numbers.interval(one.ceiling, show='loss')}; best {numbers.loss(one.best_loss)}",
            )
            for one in _some(analysis.ceilings)
        ),
    ]
    return Rows(
        title=f"Scaling of {analysis.target} ({numbers.level(fit.estimate.level)} intervals)",
        header=("what", "value"),
        rows=tuple(rows),
        text_columns=2,
    )


def _some(ceilings: "Sequence[Ceiling]") -> "list[Ceiling]":
    """As many sizes as people read, the smallest and the largest among them."""
    last = len(ceilings) - 1
    if last < _FEW:
        return list(ceilings)
    return [ceilings[round(last * i / (_FEW - 1))] for i in range(_FEW)]


def _law_rows(what: str, fit: "Fit", within: "Analysis | None" = None) -> list[tuple[str, str]]:
    """A law's name and formula, then its parameters with their intervals, profiles beside them."""
    law = (what, f"{fit.law.name}:  {fit.law.formula}")
    rows = [law]
    for name, value in fit.theta.items():
        beside = "" if within is None else _profile(within, fit.law.name, name)
        rows.append((f"  {name}", _range(value, 4) + beside))
    return rows


def _profile(analysis: "Analysis", law: str, name: str) -> str:
    """The profile likelihood interval as words to stand beside that of the draws."""
    found = analysis.profile(law, name)
    if found is None:
        return ""
    ends = ["open" if found.open_low else numbers.general(found.low, 4)]
    ends.append("open" if found.open_high else numbers.general(found.high, 4))
    return f"; profile [{', '.join(ends)}]"


def _frontier_rows(fit: "Fit") -> list[tuple[str, str]]:
    """The law of the frontier in the words of compute: `x` is C [FLOPs] there."""
    _, *thetas = _law_rows("", fit)
    names = {"  x0": "  C0 [FLOPs]"}
    law = ("loss frontier", "L(C) = E + (C0/C)^alpha")
    return [law, *((names.get(name, name), value) for name, value in thetas)]


def forecast_rows(forecast: "Forecast", actual: float | None) -> Rows:
    """A forecast, the straight line's, and the measured loss where it is known."""
    rows = [
        ("run", f"N = {numbers.count(forecast.n_params)}, D = {numbers.count(forecast.n_tokens)}"),
        ("compute", f"{numbers.scientific(forecast.flops)} FLOPs"),
        (
            f"forecast, {numbers.level(forecast.loss.level)} interval",
            numbers.interval(forecast.loss, show="loss"),
        ),
        ("straight line", numbers.loss(forecast.naive_loss)),
    ]
    if actual is not None:
        inside = forecast.loss.low <= actual <= forecast.loss.high
        rows += [
            (
                "measured",
                f"{numbers.loss(actual)}, {'inside' if inside else 'outside'} the interval",
            ),
            ("error of the forecast", numbers.percent(forecast.loss.value / actual - 1)),
            ("error of the straight line", numbers.percent(forecast.naive_loss / actual - 1)),
        ]
    half = (forecast.loss.high - forecast.loss.low) / 2 / forecast.loss.value
    rows += [
        ("half-width of the interval", numbers.percent(half)),
        ("laws (weights)", forecast.law),
        ("SHA-256", forecast.sha256),
    ]
    return Rows(
        title="Forecast of the held-out run [nats/token]",
        header=("what", "value"),
        rows=tuple(rows),
        text_columns=2,
    )


def plan_rows(plan: "Plan") -> Rows:
    """The planned run, as `planning.summary_lines` words it."""
    from isoflop.planning import summary_lines

    return Rows(
        title="The planned run",
        header=("what", "value"),
        rows=tuple(summary_lines(plan)),
        text_columns=2,
    )


def ladder_rows(table: Table) -> Rows:
    """Every run of a table: N, D, FLOPs, loss, tokens per parameter; absent columns left out."""
    columns = {name: np.asarray(table[name]) for name in table}
    size = len(columns["loss"])
    formats: dict[str, tuple[str, Any]] = {
        "run": ("run", str),
        "trunk": ("trunk", str),
        "n_params": ("N", numbers.count),
        "n_tokens": ("D", numbers.count),
        "flops": ("FLOPs", numbers.scientific),
        "loss": ("loss", numbers.loss),
        **{
            name: (name.removeprefix("loss_"), numbers.loss)
            for name in columns
            if name.startswith("loss_")
        },
        "bpb": ("bits/byte", numbers.loss),
    }
    present = {name: pair for name, pair in formats.items() if name in columns}
    per_parameter = "n_params" in columns and "n_tokens" in columns
    order = np.lexsort((columns["n_tokens"], columns["n_params"])) if per_parameter else range(size)
    rows = []
    for i in order:
        cells = [show(columns[name][i]) for name, (_, show) in present.items()]
        if per_parameter:
            cells.append(numbers.general(float(columns["n_tokens"][i] / columns["n_params"][i])))
        rows.append(tuple(cells))
    header = [title for title, _ in present.values()]
    return Rows(
        title=f"{size} runs",
        header=(*header, *(["tokens/param"] if per_parameter else [])),
        rows=tuple(rows),
        text_columns=sum(name in ("run", "trunk") for name in present),
    )


def _range(value: Interval, digits: int = 3) -> str:
    def show(number: float) -> str:
        # A bound that is zero but for rounding is printed as zero, not as -1.3e-13.
        tiny = abs(number) < 1e-9 * abs(value.value)
        return numbers.general(0.0 if tiny else number, digits)

    return f"{show(value.value)} [{show(value.low)}, {show(value.high)}]"
