"""The sensitivity panel as a table of strings, for terminal and page."""

from typing import TYPE_CHECKING

from isoflop.reports import numbers
from isoflop.reports.rows import Rows

if TYPE_CHECKING:
    from isoflop.fitting import Sensitivity


def sensitivity_rows(panel: "Sensitivity") -> Rows:
    """One line a choice: the key answers at the panel's compute."""
    rows = [
        (
            one.name,
            str(one.n_runs),
            f"{100 * one.rms:.2f} %",
            numbers.general(one.alpha),
            numbers.general(one.beta),
            numbers.loss(one.entropy),
            f"{one.a:.3f}",
            numbers.count(one.n_params),
            numbers.general(one.tokens_per_param),
            numbers.interval(one.loss, show="loss") if one.loss else numbers.MISSING,
        )
        for one in panel.answers
        if one.possible
    ]
    header = ("choice", "runs", "rms", "alpha", "beta", "E", "a", "N_opt", "D/N", panel.target)
    return Rows(
        title=f"How the answers move with the choices, at C = {panel.flops:.3g} FLOPs",
        header=header,
        rows=tuple(rows),
    )


def impossible_lines(panel: "Sensitivity") -> str:
    """The lines that the table does not allow, and why; empty where it allows all."""
    whys: dict[str, list[str]] = {}
    for one in panel.answers:
        if not one.possible:
            whys.setdefault(one.missing, []).append(one.name)
    told = [f"{', '.join(names)} ({why})" for why, names in whys.items()]
    return f"Not possible: {'; '.join(told)}." if told else ""
