"""Chinchilla's approach 2: a parabola per budget, a power law through the minima.

- Where the table holds isoFLOP groups (few budgets with four sizes or more each) their runs are
  taken as they are; else every size's curve is read at common budgets.
- The parabola's bias is taken away with the exponents of approach 3 (`vertex`); the vertices as
  published procedures use them stay beside (`variants`).
- How far the answer hangs on single runs or budgets is told: without runs that the table flags as
  outliers, without those far from the law, without any one budget.
"""

from dataclasses import dataclass

import numpy as np

from isoflop._types import Array, Problem
from isoflop.fitting.analysis import Allocation, IsoflopProfile, Variant
from isoflop.fitting.exponents import Lines, empty_allocation, lines_through, sum_problems
from isoflop.fitting.size_curves import Curves, isoflop_curves
from isoflop.fitting.table import Runs
from isoflop.fitting.vertex import LEAST_CURVATURE, parabola, unbiased

MOVED = 1.25
"""Factor in N_opt or D_opt beyond which an answer without some runs is another answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """What approach 2 is given: runs, their FLOPs (R,), log losses (B + 1, R), and who is suspect.

    The first row of `losses` is what was measured, the others draws.
    """

    runs: Runs
    flops: Array
    losses: Array
    label: np.ndarray
    """Experiment of each run (R,)."""
    flagged: np.ndarray
    """Mask (R,) of the runs that the table flags in its column `outlier`."""
    far: np.ndarray
    """Mask (R,) of the runs far from the fitted law."""
    exponents: tuple[float, float] | None
    """alpha and beta of approach 3, None where it has none: then nothing is corrected."""

    def without(self, gone: np.ndarray) -> "Ladder":
        """The measured losses of the other runs, without draws."""
        keep = ~gone
        return Ladder(
            runs=self.runs.where(keep),
            flops=self.flops[keep],
            losses=self.losses[:1, keep],
            label=self.label[keep],
            flagged=self.flagged[keep],
            far=self.far[keep],
            exponents=self.exponents,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Minima:
    """Logs of the minima (G, B) over size and tokens, corrected, and as the parabolas have them."""

    log_c: Array
    log_n: Array
    log_d: Array
    raw_n: Array
    raw_d: Array
    profiles: tuple[IsoflopProfile, ...]

    @property
    def good(self) -> np.ndarray:
        """Budgets (G,) with an interior minimum of a convex parabola."""
        return np.array([p.status == "ok" for p in self.profiles], dtype=bool)


def by_isoflop(
    ladder: Ladder, asked: float, level: float
) -> tuple[Allocation, Lines | None] | None:
    """Approach 2 and its lines; None where no budget is covered by three sizes.

    `asked` [FLOPs] is where variants of the answer are compared.
    """
    curves = isoflop_curves(ladder.runs, ladder.flops, ladder.losses, ladder.label)
    if curves is None:
        return None
    minima = _minima(curves, ladder.exponents)
    problems = _profile_problems(minima.profiles)
    good = minima.good
    if good.sum() < 2:
        return empty_allocation("isoflop", minima.profiles, problems, level), None
    lines = lines_through(minima.log_c[good], minima.log_n[good], minima.log_d[good])
    a, b = lines.exponents(level)
    variants = _variants(ladder, curves, minima)
    allocation = Allocation(
        approach="isoflop",
        a=a,
        b=b,
        sum_ab=a.value + b.value,
        flops=np.exp(minima.log_c[good]),
        n_opt=np.exp(minima.log_n[good, 0]),
        d_opt=np.exp(minima.log_d[good, 0]),
        profiles=minima.profiles,
        variants=variants,
        measured=curves.measured,
        problems=(
            *problems,
            *sum_problems(a, b),
            *_moved(lines, variants, asked, ladder),
        ),
    )
    return allocation, lines


def _minima(curves: Curves, exponents: tuple[float, float] | None) -> _Minima:
    count = curves.flops.size
    shape = (count, curves.loss.shape[2])
    log_n, log_d, raw_n, raw_d = (np.full(shape, np.nan) for _ in range(4))
    profiles = []
    for g in range(count):
        rows = np.isfinite(curves.loss[:, g, 0])
        size, tokens = np.log(curves.sizes[rows]), np.log(curves.tokens[rows, g])
        loss = curves.loss[rows, g].T
        raw_n[g], raw_d[g] = _vertices(size, loss), _vertices(tokens, loss)
        log_n[g], log_d[g] = raw_n[g], raw_d[g]
        if exponents is not None and size.size >= 3:
            log_n[g] = unbiased(raw_n[g], size, *exponents)
            log_d[g] = unbiased(raw_d[g], tokens, *exponents[::-1])
        best = (float(log_n[g, 0]), float(log_d[g, 0]))
        profiles.append(_profile(float(curves.flops[g]), size, tokens, loss[0], best))
    return _Minima(
        log_c=np.log(curves.flops),
        log_n=log_n,
        log_d=log_d,
        raw_n=raw_n,
        raw_d=raw_d,
        profiles=tuple(profiles),
    )


def _vertices(axis: Array, loss: Array) -> Array:
    """Log of the optimum (B,); NaN where the parabola has no minimum near the sizes."""
    if axis.size < 3:
        return np.full(len(loss), np.nan)
    _, c1, c2 = parabola(np.broadcast_to(axis, loss.shape), loss)
    bowl = c2 > LEAST_CURVATURE
    vertex = np.where(bowl, -c1 / np.where(bowl, 2 * c2, 1.0), np.nan)
    # Half a step of grace for draws: cutting them off at the edge would narrow the interval.
    grace = 0.5 * np.ptp(axis)
    inside = (vertex > axis.min() - grace) & (vertex < axis.max() + grace)
    return np.asarray(np.where(inside, vertex, np.nan))


def _profile(
    flops: float, size: Array, tokens: Array, loss: Array, best: tuple[float, float]
) -> IsoflopProfile:
    center = float(size.mean())
    u = size - center
    c0, c1, c2 = (float(c) for c in parabola(u, loss)) if size.size >= 3 else (float("nan"),) * 3
    convex = c2 > LEAST_CURVATURE
    vertex = -c1 / (2 * c2) if convex else float("nan")
    lowest = int(np.argmin(loss))
    if not convex:
        status = "no_minimum"
    elif not u.min() < vertex < u.max() or lowest in (0, loss.size - 1):
        status = "edge_minimum"
    else:
        status = "ok"
    return IsoflopProfile(
        flops=flops,
        n_params=np.exp(size),
        loss=loss,
        n_tokens=np.exp(tokens),
        coefficients=(c0, c1, c2),
        vertex=float(np.exp(vertex + center)),
        n_opt=float(np.exp(best[0])),
        d_opt=float(np.exp(best[1])),
        loss_opt=c0 - c1**2 / (4 * c2) if convex else float("nan"),
        status=status,  # type: ignore[arg-type]
    )


def _variants(ladder: Ladder, curves: Curves, minima: _Minima) -> tuple[Variant, ...]:
    """The answer as the parabolas have it, and without what may carry it alone."""
    good = minima.good
    every = len(ladder.runs)
    raw = lines_through(minima.log_c[good], minima.raw_n[good], minima.raw_d[good])
    found = [raw.variant("uncorrected", every)]
    if ladder.flagged.any():
        found += _again(ladder, ladder.flagged, "without_flagged")
    if ladder.far.any():
        found += _again(ladder, ladder.far, "without_far")
    if curves.measured and good.sum() > 3:
        for g in np.flatnonzero(good):
            rest = good & (np.arange(good.size) != g)
            lines = lines_through(minima.log_c[rest], minima.log_n[rest], minima.log_d[rest])
            where = f"without_budget {np.exp(minima.log_c[g]):.3g}"
            found.append(lines.variant(where, every - minima.profiles[g].loss.size))
    return tuple(found)


def _again(ladder: Ladder, gone: np.ndarray, what: str) -> list[Variant]:
    rest = ladder.without(gone)
    curves = isoflop_curves(rest.runs, rest.flops, rest.losses, rest.label)
    if curves is None:
        return []
    minima = _minima(curves, rest.exponents)
    good = minima.good
    if good.sum() < 2:
        return []
    lines = lines_through(minima.log_c[good], minima.log_n[good], minima.log_d[good])
    return [lines.variant(what, len(rest.runs))]


def _moved(
    lines: Lines, variants: tuple[Variant, ...], asked: float, ladder: Ladder
) -> tuple[Problem, ...]:
    """`allocation_moves`: what the optimum is without flagged runs, far runs or one budget."""
    whole = lines.variant("all", len(ladder.runs))
    told = {one.what: one for one in variants}
    parts = []
    for what, mask, words in (
        ("without_flagged", ladder.flagged, "that the table flags as outliers"),
        ("without_far", ladder.far, "far from the law"),
    ):
        if what in told:
            count = f"{int(mask.sum())} runs {words}"
            parts.append((told[what], f"Without the {count}", what == "without_flagged"))
    dropped = [one for one in variants if one.what.startswith("without_budget")]
    if dropped:
        farthest = max(dropped, key=lambda one: abs(np.log(one.d_opt(asked) / whole.d_opt(asked))))
        budget = farthest.what.removeprefix("without_budget ")
        parts.append((farthest, f"Without the budget of {budget} FLOPs alone", False))
    return tuple(
        _move_problem(words, one, whole, asked)
        for one, words, always in parts
        if always or abs(np.log(one.d_opt(asked) / whole.d_opt(asked))) > np.log(MOVED)
    )


def _move_problem(words: str, one: Variant, whole: Variant, asked: float) -> Problem:
    ratio = one.d_opt(asked) / whole.d_opt(asked)
    far = max(ratio, 1 / ratio) > MOVED
    return Problem(
        code="allocation_moves",
        severity="warning" if far else "note",
        text=(
            f"{words} the isoFLOP profiles give D_opt = {one.d_opt(asked):.3g} and N_opt = "
            f"{one.n_opt(asked):.3g} at {asked:.3g} FLOPs, exponents {one.a:.3f} and {one.b:.3f}; "
            f"with them {whole.d_opt(asked):.3g}, {whole.n_opt(asked):.3g}, {whole.a:.3f} and "
            f"{whole.b:.3f}."
        ),
        remedy="Look at these runs; what the optimum hangs on is worth a second training."
        if far
        else "Nothing: the answer is the same.",
        affects=("allocation",),
    )


def _profile_problems(profiles: tuple[IsoflopProfile, ...]) -> tuple[Problem, ...]:
    texts = {
        "edge_minimum": ("have their minimum at the edge", "Add sizes beyond that edge."),
        "no_minimum": ("are not convex", "Add sizes, or seeds where the noise hides the valley."),
    }
    found = []
    for code, (what, remedy) in texts.items():
        count = sum(profile.status == code for profile in profiles)
        if count:
            found.append(
                Problem(
                    code=code,
                    severity="warning" if count * 2 > len(profiles) else "note",
                    text=f"{count} of {len(profiles)} isoFLOP profiles {what}; left out.",
                    remedy=remedy,
                    affects=("allocation",),
                )
            )
    return tuple(found)
