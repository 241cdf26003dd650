"""Tokens to a loss at equal size: how much earlier one recipe's curve reaches what the other does.

Early convergence shows here first: at one size, along the training or over its horizons, before a
ladder says anything about the optimum.
"""

import numpy as np
from scipy.special import ndtri

from isoflop._types import Array, Interval, Table
from isoflop.fitting.arm_table import SAME_CELL, shared_sizes
from isoflop.fitting.comparison import TokensToLoss
from isoflop.fitting.table import optional_column

ALONG = 3
"""Losses at which a pair of curves is read: first, middle and last of what both reach."""


def tokens_to_loss(
    table_a: Table, table_b: Table, target: str, noise: float, level: float
) -> tuple[TokensToLoss, ...]:
    """Ratios D_B/D_A at three losses for every size that both tables have.

    Intermediate points are used where both tables have them, final ones else. The interval is
    that of two curves whose heights have the noise of a run: sd of ln D = noise / slope.

    Args:
        table_a: columns n_params, n_tokens, the target; optionally `kind`.
        table_b: the same of the other recipe.
        target: the column read along.
        noise: sd of log loss of one run.
        level: level of the intervals.
    """
    if any("n_tokens" not in table for table in (table_a, table_b)):
        return ()
    kind = _kind(table_a, table_b)
    found: list[TokensToLoss] = []
    for size in shared_sizes(table_a, table_b):
        a, b = (_curve(table, target, kind, float(size)) for table in (table_a, table_b))
        if len(a) < 2 or len(b) < 2:
            continue
        first, last = min(a[0, 0], b[0, 0]), max(a[-1, 0], b[-1, 0])
        if last >= first:
            continue
        for height in np.linspace(first, last, ALONG):
            ratio, (one, two) = _ratio(height, a, b, noise, level)
            found.append(
                TokensToLoss(
                    n_params=float(size),
                    loss=float(np.exp(height)),
                    n_tokens_a=one,
                    n_tokens_b=two,
                    ratio=ratio,
                    kind=kind,
                )
            )
    return tuple(found)


def _ratio(
    height: float, a: Array, b: Array, noise: float, level: float
) -> tuple[Interval, tuple[float, float]]:
    """D_B/D_A at one log loss, and both token counts."""
    reach = [float(np.interp(-height, -one[:, 0], one[:, 1])) for one in (a, b)]
    slopes = np.array([_slope(one, height) for one in (a, b)])
    log_ratio = reach[1] - reach[0]
    half = float(ndtri((1 + level) / 2) * np.hypot(*(noise / slopes)))
    low, value, high = np.exp([log_ratio - half, log_ratio, log_ratio + half])
    interval = Interval(value=float(value), low=float(low), high=float(high), level=level)
    return interval, (float(np.exp(reach[0])), float(np.exp(reach[1])))


def _kind(table_a: Table, table_b: Table) -> str:
    kinds = [optional_column(table, "kind") for table in (table_a, table_b)]
    both = all(kind is not None and (kind.astype(str) == "intermediate").any() for kind in kinds)
    return "intermediate" if both else "final"


def _curve(table: Table, target: str, kind: str, size: float) -> Array:
    """Falling (ln loss, ln D) (K, 2) of one size: the mean over seeds, only new lows kept."""
    columns = [
        np.asarray(table[name], dtype=np.float64) for name in ("n_params", "n_tokens", target)
    ]
    rows = np.abs(np.log(columns[0] / size)) < SAME_CELL
    of = optional_column(table, "kind")
    if of is not None and (of.astype(str) == kind).any():
        rows &= of.astype(str) == kind
    tokens, where = np.unique(columns[1][rows], return_inverse=True)
    if tokens.size == 0:
        return np.empty((0, 2))
    height = np.bincount(where, np.log(columns[2][rows])) / np.bincount(where)
    lower = np.concatenate([[True], height[1:] < np.minimum.accumulate(height)[:-1]])
    return np.stack([height[lower], np.log(tokens[lower])], axis=1)


def _slope(curve: Array, height: float) -> float:
    """-d ln loss / d ln D of the piece of the curve that crosses the height."""
    right = int(np.clip(np.searchsorted(-curve[:, 0], -height), 1, len(curve) - 1))
    fall = curve[right - 1, 0] - curve[right, 0]
    return float(max(fall / (curve[right, 1] - curve[right - 1, 1]), 1e-6))
