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


def optimum_lines(analysis: "Analysis") -> list[tuple[str, str]]:
    """The optimum of the law that forecasts at the same budgets, and how flat the loss is there."""
    found = analysis.optimum
    if found is None:
        return []
    lines = []
    for g, flops in enumerate(found.flops):
        parts = [
            f"{name} = {show(float(one.mean[g]))} [{show(float(one.low[g]))}, "
            f"{show(float(one.high[g]))}]"
            for name, one, show in (
                ("N", found.n_params, numbers.count),
                ("D", found.n_tokens, numbers.count),
                ("D/N", found.tokens_per_param, numbers.general),
                ("loss", found.loss, numbers.loss),
            )
        ]
        parts += [
            f"within {100 * one.share:g} %: N {numbers.count(one.n_low)} to "
            f"{numbers.count(one.n_high)}"
            for one in found.near[g]
        ]
        lines.append((f"best run at {numbers.scientific(float(flops))} FLOPs", "; ".join(parts)))
    return lines
