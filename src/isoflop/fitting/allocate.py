"""Chinchilla's three approaches to N_opt ~ C^a, D_opt ~ C^b, each with intervals by trunk.

- envelope (1): at each compute, the size whose curve is lowest; a power law through the winners.
- isoflop (2): at each compute, a parabola in log N through the sizes' losses; a power law
  through the vertices. A parabola is biased where the valley is wide (Czech et al. 2026,
  arXiv:2603.22339): its N_opt is off by a constant factor, its exponents are not.
- parametric (3): the closed form of the fitted additive law.

For 1 and 2 every size's losses are interpolated over log compute (PCHIP) and never beyond its
own horizons; intervals repeat the whole procedure on losses with the fit's noise added.
"""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from isoflop._types import Array, Interval, Problem
from isoflop.fitting.analysis import Allocation, IsoflopProfile
from isoflop.fitting.exponents import draws_interval, slope_interval, sum_problems
from isoflop.fitting.fit_result import Fit
from isoflop.fitting.noise import Noise, draw_noise
from isoflop.fitting.table import Runs
from isoflop.laws import CHINCHILLA, optimum

N_BUDGETS = 9
"""isoFLOP budgets, as many as Hoffmann et al. 2022 used."""

N_ENVELOPE = 200
"""Points along the envelope; Hoffmann et al. used 1500, which changes nothing."""


_EDGES = Problem(
    code="edge_minimum",
    severity="warning",
    text="The best size is the smallest or largest run at nearly every compute: the envelope "
    "has no exponents but those of the ladder's own edges.",
    remedy="Add smaller and larger sizes at each compute.",
    affects=("allocation",),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Log losses (K, G, B) of each size at each budget; NaN where a size has no such run."""

    sizes: Array
    flops: Array
    log_loss: Array
    tokens: Array
    """(K, G)"""


def noisy_losses(runs: Runs, noise: Noise, n_draws: int, seed: int) -> Array:
    """Log losses (B + 1, R): the measured ones first, then draws with the fit's noise added."""
    rng = np.random.default_rng([seed, 2])
    drawn = np.log(runs.loss) + draw_noise(noise, runs.trunk, n_draws, rng)
    return np.concatenate([np.log(runs.loss)[None], drawn])


def curves_at(runs: Runs, flops: Array, losses: Array, budgets: Array) -> Curves:
    """Interpolate each size's log loss (B, R) over log compute to the budgets (G,)."""
    sizes = np.unique(runs.columns["n_params"])
    values = np.full((sizes.size, budgets.size, len(losses)), np.nan)
    tokens = np.full((sizes.size, budgets.size), np.nan)
    for k, size in enumerate(sizes):
        rows = np.flatnonzero(runs.columns["n_params"] == size)
        at, where = np.unique(np.log(flops[rows]), return_inverse=True)
        if at.size < 2:
            continue
        # Repeats of one run (seeds) are averaged.
        share = (where[:, None] == np.arange(at.size)) / np.bincount(where)
        mean = losses[:, rows] @ share
        mean_d = np.log(runs.columns["n_tokens"][rows]) @ share
        inside = (np.log(budgets) >= at[0] - 1e-9) & (np.log(budgets) <= at[-1] + 1e-9)
        query = np.clip(np.log(budgets[inside]), at[0], at[-1])
        values[k, inside] = PchipInterpolator(at, mean.T, axis=0)(query)
        tokens[k, inside] = np.exp(np.interp(query, at, mean_d))
    return Curves(sizes=sizes, flops=budgets, log_loss=values, tokens=tokens)


def by_isoflop(runs: Runs, flops: Array, losses: Array, level: float) -> Allocation | None:
    """Approach 2; None where no budget is covered by three sizes."""
    budgets = _covered_budgets(runs, flops)
    if budgets.size < 2:
        return None
    curves = curves_at(runs, flops, losses, budgets)
    profiles = tuple(_profile(curves, g) for g in range(budgets.size))
    vertices = np.stack([_vertices(curves, g, "size") for g in range(budgets.size)])
    data = np.stack([_vertices(curves, g, "data") for g in range(budgets.size)])
    good = np.array([profile.status == "ok" for profile in profiles])
    problems = _profile_problems(profiles)
    if good.sum() < 2:
        return None if not profiles else _empty("isoflop", profiles, problems, level)
    keep = np.isfinite(vertices[:, 0]) & good
    log_c = np.log(budgets[keep])
    a = slope_interval(log_c, vertices[keep], level)
    b = slope_interval(log_c, data[keep], level)
    return Allocation(
        approach="isoflop",
        a=a,
        b=b,
        sum_ab=a.value + b.value,
        flops=budgets[keep],
        n_opt=np.exp(vertices[keep, 0]),
        d_opt=np.exp(data[keep, 0]),
        profiles=profiles,
        problems=problems + sum_problems(a, b),
    )


def by_envelope(runs: Runs, flops: Array, losses: Array, level: float) -> Allocation | None:
    """Approach 1; None where no compute is covered by two sizes."""
    grid = np.geomspace(flops.min(), flops.max(), N_ENVELOPE)
    curves = curves_at(runs, flops, losses, grid)
    present = np.isfinite(curves.log_loss[:, :, 0])
    covered = present.sum(axis=0) >= 2
    if not covered.any():
        return None
    filled = np.where(np.isfinite(curves.log_loss), curves.log_loss, np.inf)
    winner = filled.argmin(axis=0)
    first = present.argmax(axis=0)
    last = present.shape[0] - 1 - present[::-1].argmax(axis=0)
    # A winner with no smaller or no larger rival at that compute says only "at least" or
    # "at most": leaving it in would tie the exponent to the ladder's own shape.
    inner = (winner > first[:, None]) & (winner < last[:, None]) & covered[:, None]
    if np.unique(winner[inner[:, 0], 0]).size < 2:
        return _empty("envelope", (), (_EDGES,), level)
    log_n = np.where(inner, np.log(curves.sizes)[winner], np.nan)
    log_d = np.log(curves.tokens[winner, np.arange(grid.size)[:, None]])
    log_d = np.where(inner, log_d, np.nan)
    keep = np.isfinite(log_n[:, 0])
    a = slope_interval(np.log(grid), log_n, level)
    b = slope_interval(np.log(grid), log_d, level)
    return Allocation(
        approach="envelope",
        a=a,
        b=b,
        sum_ab=a.value + b.value,
        flops=grid[keep],
        n_opt=np.exp(log_n[keep, 0]),
        d_opt=np.exp(log_d[keep, 0]),
        problems=sum_problems(a, b),
    )


def by_law(fit: Fit, flops: Array, level: float, k: float) -> Allocation:
    """Approach 3: the closed form of the additive law, over the compute of the runs."""
    component = next(c for c in fit.estimate.components if c.law.name == CHINCHILLA.name)
    best = optimum(component.theta, flops, k=k)
    draws = optimum(component.draws, flops[:1], k=k)
    return Allocation(
        approach="parametric",
        a=draws_interval(float(best.a), draws.a, level),
        b=draws_interval(float(best.b), draws.b, level),
        sum_ab=float(best.a + best.b),
        flops=flops,
        n_opt=best.n_params,
        d_opt=best.n_tokens,
        problems=tuple(p for p in fit.problems if "allocation" in p.affects),
    )


def _covered_budgets(runs: Runs, flops: Array) -> Array:
    """Log-spaced budgets at which at least three sizes (four where possible) have a run."""
    sizes = np.unique(runs.columns["n_params"])
    grid = np.geomspace(flops.min(), flops.max(), 400)
    count = np.zeros(grid.size, dtype=int)
    for size in sizes:
        own = flops[runs.columns["n_params"] == size]
        if np.unique(own).size < 2:
            continue  # `curves_at` has no curve of it
        count += (grid >= own.min() * (1 - 1e-9)) & (grid <= own.max() * (1 + 1e-9))
    for needed in (4, 3):
        inside = grid[count >= needed]
        if inside.size >= 20:
            budgets = np.geomspace(inside[0], inside[-1], N_BUDGETS)
            # Where sizes were run at few budgets there are gaps between the covered ones.
            near = np.abs(np.log(budgets)[:, None] - np.log(grid)).argmin(axis=1)
            return np.asarray(budgets[count[near] >= 3])
    return np.empty(0)


def _parabola(curves: Curves, g: int, over: str) -> tuple[Array, Array, Array]:
    """Coefficients (3, B) in u = centred log N or log D, the centre and the u of the sizes."""
    rows = np.isfinite(curves.log_loss[:, g, 0])
    axis = np.log(curves.sizes[rows]) if over == "size" else np.log(curves.tokens[rows, g])
    center = axis.mean()
    u = axis - center
    if u.size < 3:
        return np.full((3, curves.log_loss.shape[2]), np.nan), np.array(center), u
    basis = np.stack([np.ones_like(u), u, u**2], axis=1)
    return np.linalg.lstsq(basis, curves.log_loss[rows, g], rcond=None)[0], np.array(center), u


def _vertices(curves: Curves, g: int, over: str) -> Array:
    """Log of the optimum (B,); NaN where the parabola has no minimum inside the sizes."""
    (_, c1, c2), center, u = _parabola(curves, g, over)
    if u.size < 3:
        return np.full(c1.shape, np.nan)
    bowl = c2 > 1e-12
    vertex = np.where(bowl, -c1 / np.where(bowl, 2 * c2, 1.0), np.nan)
    # Half a step of grace for draws: cutting them off at the edge would narrow the interval.
    grace = 0.5 * np.ptp(u)
    inside = (vertex > u.min() - grace) & (vertex < u.max() + grace)
    return np.asarray(np.where(inside, vertex + center, np.nan))


def _profile(curves: Curves, g: int) -> IsoflopProfile:
    coefficients, center, u = _parabola(curves, g, "size")
    c0, c1, c2 = (float(c[0]) for c in coefficients)
    rows = np.isfinite(curves.log_loss[:, g, 0])
    loss = np.exp(curves.log_loss[rows, g, 0])
    vertex = -c1 / (2 * c2) if c2 > 1e-12 else np.nan
    lowest = int(np.argmin(loss))
    if not c2 > 1e-12:
        status = "no_minimum"
    elif not u.min() < vertex < u.max() or lowest in (0, loss.size - 1):
        status = "edge_minimum"
    else:
        status = "ok"
    data = float(np.exp(_vertices(curves, g, "data")[0]))
    return IsoflopProfile(
        flops=float(curves.flops[g]),
        n_params=curves.sizes[rows],
        loss=loss,
        n_tokens=curves.tokens[rows, g],
        coefficients=(c0, c1, c2),
        n_opt=float(np.exp(vertex + center)),
        d_opt=data,
        loss_opt=float(np.exp(c0 - c1**2 / (4 * c2))) if c2 > 1e-12 else float("nan"),
        status=status,  # type: ignore[arg-type]
    )


def _empty(
    approach: str, profiles: tuple[IsoflopProfile, ...], problems: tuple[Problem, ...], level: float
) -> Allocation:
    """An allocation that the profiles do not support: exponents unknown, reasons attached."""
    unknown = Interval(value=float("nan"), low=-np.inf, high=np.inf, level=level)
    return Allocation(
        approach=approach,  # type: ignore[arg-type]
        a=unknown,
        b=unknown,
        sum_ab=float("nan"),
        flops=np.empty(0),
        n_opt=np.empty(0),
        d_opt=np.empty(0),
        profiles=profiles,
        problems=problems,
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
