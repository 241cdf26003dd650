"""Whether the loss curves of a ladder, normalised by their end, collapse on one another.

y(x) = ln L(xT) - ln L(T) against x = t/T. Where rungs are tuned alike, y at a given x moves
smoothly with size and horizon: by a regression on ln N and ln T, since the floor of the loss is not
taken off. Each rung is left out in turn and held against the others; it is off where it leaves them
by more than their own scatter and the roughness along the curves allow. A loss that is too high by
one factor all along cancels out: that is for the fit to find (`under_tuned`).

Source: Qiu et al. 2025, arXiv:2507.02119 (collapse of normalised curves, which breaks down where
hyperparameters are scaled badly).
"""

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy.special import stdtr

from isoflop._types import Array, Problem, Table
from isoflop.fitting.collapse_curves import LEAST_RUNGS, Curves, read_normalised

ODDS = 0.05
"""False alarms among clean ladders, at most: shared out among rungs and places (Bonferroni)."""

LEAST = 0.005
"""Departure of the normalised curve (log) below which a rung is not worth telling."""

PAIR_RUNGS = 7
"""Rungs from which on two that hide each other are looked for: five others are left to judge by."""

PRIOR_RATIO = 2.0
"""ASSUMPTION: before any evidence, scatter between rungs over the roughness along their curves. The
shipped ladder of seven rungs has 4 early and 0.5 late."""

PRIOR_FREEDOM = 4.0
"""Weight of that prior, in rungs: five rungs alone leave two degrees of freedom."""

ALIKE = 3.0
"""Places that count as one test, as a curve that is off at one is off at the next."""

DRIFT = 0.005
"""ASSUMPTION: error of the straight line in ln N, a factor e beyond the other rungs (sd of y)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RungShape:
    """How one rung's curves lie against the others'."""

    rung: str
    n_params: float
    deviation: float
    """ln of the normalised loss over what the others say, where it stands out most."""
    at: float
    """Share of the training t/T at that place."""
    floor: float
    """One standard deviation of it for a rung that is like the others."""
    odds: float
    """Two-sided, shared out among places and rungs: at most 1."""
    off: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Collapse:
    """The verdict on every rung, in the order of size; those off in the order of finding."""

    rungs: tuple[RungShape, ...]
    noise: float
    """Typical scatter of the rungs that collapse, one standard deviation of ln L(t)/L(T)."""

    @property
    def off(self) -> tuple[RungShape, ...]:
        """The rungs that do not collapse on the others."""
        return tuple(one for one in self.rungs if one.off)


def check_collapse(table: Table) -> Collapse:
    """Hold every rung's normalised loss curve against the others'.

    Args:
        table: one row a point of a curve: `run`, `trunk` (the run itself where it has none),
            `kind` (`final` once a run, at its end; rows of `schedule` are passed over),
            `n_params`, `n_tokens`, `loss` [nats/token]; optionally `hold_tokens`, up to where a
            branch is its trunk, and `schedule`: only runs whose shape most runs have are compared.

    Raises:
        FitError: a column is missing, or fewer than 4 rungs have a curve with an end.
    """
    curves = read_normalised(table)
    alive = np.ones(len(curves.names), dtype=bool)
    found = _masking_pair(curves, alive)
    alive[list(found)] = False
    while True:
        judged = {k: _judge(curves, k, alive) for k in np.flatnonzero(alive).tolist()}
        worst = min(judged.values(), key=lambda one: one.odds)
        number = next(k for k, one in judged.items() if one is worst)
        if not worst.off or alive.sum() <= LEAST_RUNGS:
            break
        found[number] = worst
        alive[number] = False
    if worst.off:  # too few are left to go on without it
        found[number] = worst
    rungs = [found.get(k) or replace(judged[k], off=False) for k in range(len(curves.names))]
    floors = [one.floor for one in rungs if not one.off and np.isfinite(one.floor)]
    return Collapse(rungs=tuple(rungs), noise=float(np.median(floors)) if floors else 0.0)


def collapse_problems(collapse: Collapse) -> tuple[Problem, ...]:
    """`rung_off_collapse`, naming every rung that is off, where, and by how much."""
    if not collapse.off:
        return ()
    told = [
        f"{one.rung} (N = {one.n_params:.4g}) by {100 * np.expm1(one.deviation):+.1f} ± "
        f"{100 * one.floor:.1f} % at {100 * one.at:.0f} % of its training"
        for one in collapse.off
    ]
    return (
        Problem(
            code="rung_off_collapse",
            severity="warning",
            text="Loss curves over their end do not collapse on the other rungs': "
            f"{'; '.join(told)}.",
            remedy="Its learning rate, warm-up or batch is off: tune it as the others are, or "
            "leave it out.",
        ),
    )


def _masking_pair(curves: Curves, alive: np.ndarray) -> dict[int, RungShape]:
    """Two rungs that are off only where neither counts among the others: each hides the other."""
    numbers = np.flatnonzero(alive).tolist()
    if len(numbers) < PAIR_RUNGS or any(_judge(curves, k, alive).off for k in numbers):
        return {}
    best: dict[int, RungShape] = {}
    least = ODDS / len(numbers)  # the other of the pair was chosen among that many
    for pair in combinations(numbers, 2):
        rest = alive.copy()
        rest[list(pair)] = False
        both = {}
        for k in pair:
            rest[k] = True
            both[k] = _judge(curves, k, rest)
            rest[k] = False
        odds = max(one.odds for one in both.values())
        if odds < least and all(one.off for one in both.values()):
            best, least = both, odds
    return best


def _judge(curves: Curves, k: int, alive: np.ndarray) -> RungShape:
    """Rung k against the other living rungs, at every place where enough of them are."""
    parts = [_place(curves, k, g, alive) for g in range(curves.x.size)]
    known = [g for g, part in enumerate(parts) if part is not None]
    name, size = curves.names[k], float(curves.n_params[k])
    if not known:
        return RungShape(rung=name, n_params=size, deviation=0.0, at=1.0, floor=float("inf"),
                         odds=1.0, off=False)  # fmt: skip
    found = [part for part in parts if part is not None]
    freedom = np.array([part[2] for part in found])
    square = np.array([part[1] for part in found]) * freedom
    # Scatter falls by a factor ten from the start of a curve to its end: it is pooled with that at
    # the next places alone. It is alike there, so that they add no freedom of their own.
    near = (np.abs(np.subtract.outer(known, known)) <= 1).astype(np.float64)
    others = alive & (np.arange(alive.size) != k)
    rough = float(np.median(curves.rough[others])) ** 2
    share = freedom / (freedom + PRIOR_FREEDOM)
    scatter = share * (near @ square / (near @ freedom)) + (1 - share) * PRIOR_RATIO**2 * rough
    drift = DRIFT * _beyond(curves, k, others)
    floor = np.sqrt((scatter + rough) * np.array([part[3] for part in found]) + drift**2)
    excess = np.array([part[0] for part in found])
    odds = 2 * stdtr(freedom + PRIOR_FREEDOM, -np.abs(excess) / floor)
    odds = odds * int(alive.sum()) * (1 + (len(found) - 1) / ALIKE)
    worst = int(np.argmin(odds))
    return RungShape(
        rung=name,
        n_params=size,
        deviation=float(excess[worst]),
        at=float(curves.x[known[worst]]),
        floor=float(floor[worst]),
        odds=float(min(odds[worst], 1.0)),
        off=bool(odds[worst] < ODDS and abs(excess[worst]) >= LEAST),
    )


def _place(
    curves: Curves, k: int, g: int, alive: np.ndarray
) -> tuple[float, float, float, float] | None:
    """At place g: excess of rung k, variance and freedom of the others' means, factor of it.

    The mean residuals of the other rungs about their own regression are what tells their scatter:
    runs of one rung share its trunk and count once.
    """
    there = np.isfinite(curves.y[:, g]) & alive[curves.rung]
    mine, rest = there & (curves.rung == k), there & (curves.rung != k)
    labels = np.unique(curves.rung[rest])
    if not mine.any() or labels.size < LEAST_RUNGS - 1:
        return None
    member = (curves.rung[rest][None, :] == labels[:, None]).astype(np.float64)
    member /= member.sum(axis=1, keepdims=True)
    design = curves.design[:, _told(curves.design[rest], member)]
    freedom = labels.size - int(np.linalg.matrix_rank(member @ design[rest], tol=1e-6))
    if freedom < 1:
        return None
    inverse = np.linalg.pinv(design[rest], rcond=1e-6)
    slope = inverse @ curves.y[rest, g]
    residual = member @ (curves.y[rest, g] - design[rest] @ slope)
    pull = design[mine].mean(axis=0) @ inverse
    shared = (member > 0) @ pull
    excess = float((curves.y[mine, g] - design[mine] @ slope).mean())
    variance = float(residual @ residual) / freedom
    return excess, variance, float(freedom), 1.0 + float(shared @ shared)


def _told(design: Array, member: Array) -> list[int]:
    """Columns of (1, ln N, ln T, (ln N)^2) that the other rungs can tell.

    Those that vary among them; the bend where it leaves three degrees of freedom.
    """
    spread = design.std(axis=0)
    wanted = [0, *(i for i in (1, 2) if spread[i] > 0.05)]
    if len(wanted) == 3 and len(member) < 4 and (member @ design).std(axis=0)[2] > 0.05:
        wanted = [0, 1]  # with three rungs left a slope in N must do
    return [*wanted, 3] if 1 in wanted and len(member) >= 6 else wanted


def _beyond(curves: Curves, k: int, others: np.ndarray) -> float:
    """How far rung k lies outside the others' sizes, in e-folds."""
    log_n = np.log(curves.n_params)
    return max(float(log_n[k] - log_n[others].max()), float(log_n[others].min() - log_n[k]), 0.0)
