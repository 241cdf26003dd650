"""Rich renderables of `compare`, `next` and `fit --curves`: the headline, then the tables."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from isoflop.cli.render import si, table_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from isoflop._types import Interval, Problem
    from isoflop.fitting import Comparison, CurveFit, Design, OneMore
    from isoflop.planning import HardwareChoice

_FEW = 10
"""Rows of a long table that people read."""


def comparison(made: "Comparison") -> "list[RenderableType]":
    """The multiplier, along the range, by model and at equal size; then the problems."""
    from isoflop.reports import terminal

    parts: list[RenderableType] = [_headline(made), _multipliers(made), _models(made)]
    if made.tokens:
        parts.append(_tokens(made))
    return [*parts, *terminal.problem_lines(made.problems)]


def arms(made: "Mapping[str, Any]", problems: "Sequence[Problem]") -> "list[RenderableType]":
    """What every arm is worth, its floors and its law; then the problems."""
    from isoflop.reports import terminal
    from isoflop.reports.arms import arm_tables

    tables = [terminal.rich_table(rows) for rows in arm_tables(made)]
    return [*tables, *terminal.problem_lines(problems)]


def hardware(choice: "HardwareChoice") -> "list[RenderableType]":
    """Days against money, the best option marked; what was left out; then the problems."""
    from rich.text import Text

    from isoflop.reports import terminal
    from isoflop.reports.hardware_rows import hardware_rows

    table = terminal.rich_table(hardware_rows(choice))
    left_out = [Text(line) for line in choice.left_out]
    return [table, *left_out, *terminal.problem_lines(choice.problems)]


def design(made: "Design") -> "list[RenderableType]":
    """The chosen runs, the best single ones, one more pilot or launch; then the problems."""
    from isoflop.reports import terminal

    what = "log loss" if made.of == "loss" else "log of the best size"
    headline = (
        f"{len(made.runs)} runs for {made.flops:.3g} of {made.budget_flops:.3g} FLOPs bring the sd "
        f"of the {what} from {made.sd_before:.3g} to {made.sd_after:.3g} (target: N = "
        f"{si(made.target['n_params'])}, D = {si(made.target['n_tokens'])}, {made.source})"
    )
    headings = ("trunk", "N", "D", "D/N", "FLOPs", "sd after")
    rows = [
        (r.trunk, si(r.n_params), si(r.n_tokens), f"{r.n_tokens / r.n_params:.3g}",
         f"{r.flops:.3g}", f"{r.sd_after:.3g}")
        for r in made.runs
    ]  # fmt: skip
    parts: list[RenderableType] = [headline, table_of("Next runs", headings, rows)]
    if made.candidates:
        alone = [
            (si(c.n_params), si(c.n_tokens), f"{c.flops:.3g}", f"{c.sd_after:.3g}")
            for c in made.candidates
            if c.flops <= made.budget_flops
        ]
        heading = ("N", "D", "FLOPs", "sd after")
        parts.append(table_of("The best single runs", heading, alone[:_FEW]))
    if made.one_more is not None:
        parts.append(_one_more(made.one_more))
    return [*parts, *terminal.problem_lines(made.problems)]


def curve_fit(made: "CurveFit") -> "list[RenderableType]":
    """The law along a run with its parameters and errors; then the problems."""
    from isoflop.reports import terminal

    headline = (
        f"{made.law.name}: {made.law.formula}, fitted to {made.n_points} points of "
        f"{made.n_curves} curves on {made.n_trunks} trunks"
    )
    rows = [(name, _range(value)) for name, value in made.theta.items()]
    if len(made.law.inputs) > 1 and "drop" not in made.law.inputs:
        rows.append(("memory of the rate", f"{si(made.memory)} tokens"))
    rows += [
        ("sd of a new run", f"{100 * made.sigma:.2g} %"),
        (
            "more beyond the curves",
            f"{100 * made.spread:.2g} % at {math.exp(made.spread_distance):.3g} times",
        ),
        ("points left out", f"{made.n_left_out}, before {si(made.first_tokens)} tokens"),
    ]
    heading = ("parameter", f"value [{100 * next(iter(made.theta.values())).level:.0f} %]")
    table = table_of("Law along a run", heading, rows)
    return [headline, table, *terminal.problem_lines(made.problems)]


def _headline(made: "Comparison") -> str:
    if not made.at:
        return "A and B reach no loss in common."
    return (
        f"B needs {_range(made.multiplier)} times the compute of A for the same {made.target} "
        f"(constant multiplier of the joint fit: {_range(made.shared)})"
    )


def _multipliers(made: "Comparison") -> "RenderableType":
    rows = [
        (
            one.where,
            f"{one.loss:.4g}",
            f"{one.flops_a:.3g}",
            f"{one.flops_b:.3g}",
            _range(one.value),
        )
        for one in made.at
    ]
    rows.append(("top over low", "", "", "", _range(made.trend)))
    title = f"Compute at equal {made.target}, along the {made.along}"
    return table_of(title, ("where", made.target, "A", "B", "multiplier"), rows)


def _models(made: "Comparison") -> "RenderableType":
    rows = [
        (one.model, f"{one.weight:.2f}", f"{one.p_value:.3f}", f"{100 * one.error:.2f} %",
         *(_range(at.value) for at in one.at if at.where == "middle"))
        for one in made.models
    ]  # fmt: skip
    headings = ("model", "weight", "p", "error", *(("middle",) if made.at else ()))
    return table_of(f"Models of both arms ({made.law})", headings, rows)


def _tokens(made: "Comparison") -> "RenderableType":
    rows = [
        (si(one.n_params), f"{one.loss:.4g}", si(one.n_tokens_a), si(one.n_tokens_b),
         _range(one.ratio))
        for one in made.tokens
    ]  # fmt: skip
    title = f"Tokens to the same {made.target} at equal size ({made.tokens[0].kind} points)"
    return table_of(title, ("N", made.target, "D of A", "D of B", "ratio"), rows)


def _one_more(one: "OneMore") -> str:
    run = f"N = {si(one.n_params)}, D = {si(one.n_tokens)}"
    cost = f"costs {100 * one.cost_share:.2g} % of the target's compute"
    narrows = f"narrows its loss interval to {100 * one.narrowing:.0f} %"
    if one.verdict is None or one.saved_share is None:
        return f"one more pilot ({run}): {cost} and {narrows}."
    saves = f"is expected to save {100 * one.saved_share:.2g} %"
    return f"one more pilot, or launch? {one.verdict}: {run} {cost}, {saves} and {narrows}."


def _range(value: "Interval") -> str:
    return f"{value.value:.3g} [{value.low:.3g}, {value.high:.3g}]"
