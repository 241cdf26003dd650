"""How far the approaches to the optimum agree: one table for the page, lines for the terminal."""

from typing import TYPE_CHECKING

from isoflop.reports import numbers
from isoflop.reports.rows import Rows

if TYPE_CHECKING:
    from isoflop.fitting import Analysis

APPROACHES = {
    "envelope": "1 envelope",
    "isoflop": "2 isoFLOP profiles",
    "parametric": "3 parametric law",
}


def agreement_rows(analysis: "Analysis") -> Rows:
    """N_opt, D_opt and D/N at common budgets by every approach, with intervals."""
    rows = [
        (
            numbers.scientific(one.flops),
            APPROACHES.get(one.approach, one.approach),
            numbers.interval(one.n_opt, show="count"),
            numbers.interval(one.d_opt, show="count"),
            numbers.interval(one.tokens_per_param),
        )
        for one in analysis.agreement
    ]
    return Rows(
        title="How far the approaches agree",
        header=("C [FLOPs]", "approach", "N_opt", "D_opt", "D/N"),
        rows=tuple(rows),
        text_columns=2,
    )


def agreement_lines(analysis: "Analysis") -> list[tuple[str, str]]:
    """The same, one line a budget and approach."""
    return [
        (f"optimum at {flops} FLOPs, {approach}", f"N = {n}, D = {d}, D/N = {ratio}")
        for flops, approach, n, d, ratio in agreement_rows(analysis).rows
    ]
