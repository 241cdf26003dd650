"""A first ladder, before any run: published laws are the prior, a grid of trunks the design."""

from collections.abc import Iterator
from itertools import product

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array
from isoflop.fitting.design import Design, NextRun
from isoflop.fitting.goals import LOSS, N_OPT, Aim, Goals, read_goals
from isoflop.fitting.greedy import RATIOS, Trunks
from isoflop.fitting.information import make_beliefs
from isoflop.fitting.prior import EXPONENTS
from isoflop.laws import CHINCHILLA, Component, Estimate, find_published, optimum

PAPERS = ("besiroglu", "hoffmann")
"""Published laws with both exponents free and constants at full precision."""

DRAWS = 300

TERM_SD = 0.4
"""ASSUMPTION: sd of the log of each term (A/N^alpha, B/D^beta) at 1e9 parameters and 2e10 tokens:
another text, tokeniser or recipe moves it by half."""

FLOOR_SD = 0.15
"""ASSUMPTION: sd of the log floor; published floors for English text lie between 1.5 and 1.9."""

CENTER = (1e9, 2e10)

N_SIZES = (4, 5, 6)
N_HORIZONS = (3, 4)
SIZE_SPANS = (8.0, 16.0, 32.0, 64.0)
HORIZON_SPANS = (4.0, 8.0, 16.0, 32.0)
TIED = (0.0, 0.5, 1.0)
"""Ladders tried: number of sizes and horizons, largest over smallest, and the power of its size
that a size's horizons grow with (0: the same for all, 1: the same tokens per parameter)."""


def first_design(
    aim: Aim, *, budget_flops: float, sizes: tuple[float, float] | None, branch_share: float
) -> Design:
    """The ladder of at least 4 sizes and 3 horizons that makes the target surest.

    Every size is one trunk with all its horizons. The ladder's centre is the optimum of the
    published laws at the compute that the budget leaves for one run, so larger budgets move it
    up; its shape is the one that leaves least expected variance under constants scattered around
    the published ones.

    Raises:
        InputError: no ladder of that budget has sensible tokens per parameter.
    """
    prior = published_prior()
    goals = read_goals(prior, aim)
    goal = LOSS if aim.of == "loss" else N_OPT
    best: tuple[float, Trunks, Array] | None = None
    for trunks in _ladders(prior, budget_flops, sizes, branch_share):
        beliefs = make_beliefs(prior, trunks.sizes, trunks.tokens, goals.draws, (0.0, 0.0))
        path = [beliefs.variance[goal]]
        for which in range(trunks.sizes.size):
            beliefs = beliefs.after(which)
            path.append(beliefs.variance[goal])
        if best is None or path[-1] < best[0]:
            best = (float(path[-1]), trunks, np.sqrt(path))
    if best is None:
        raise InputError(
            f"`budget_flops` must buy a ladder of {RATIOS[0]:g} to {RATIOS[1]:g} tokens per "
            f"parameter, but got budget_flops={budget_flops:.3g} and sizes={sizes}. Change either."
        )
    return _design(best[1], best[2], goals, budget_flops, prior.source)


def published_prior() -> Estimate:
    """Published additive laws, scattered: what is believed before any run of one's own."""
    rng = np.random.default_rng(17)
    components = []
    for name in PAPERS:
        theta = find_published(name).estimate.best.theta
        normal = rng.standard_normal((DRAWS, theta.size))
        draws = np.tile(theta, (DRAWS, 1))
        draws[:, 0] *= np.exp(FLOOR_SD * normal[:, 0])
        for (amplitude, exponent), center, prior in zip(
            ((1, 2), (3, 4)), CENTER, (EXPONENTS["alpha"], EXPONENTS["beta"]), strict=True
        ):
            draws[:, exponent] *= np.exp(prior.log_sd * normal[:, exponent])
            # The term keeps its size at the centre whatever its exponent: so the scatter of
            # both is independent there.
            kept = theta[amplitude] * center ** (draws[:, exponent] - theta[exponent])
            draws[:, amplitude] = kept * np.exp(TERM_SD * normal[:, amplitude])
        components.append(
            Component(law=CHINCHILLA, theta=theta, draws=draws, weight=1 / len(PAPERS))
        )
    return Estimate(
        components=tuple(components), source=f"published laws: {', '.join(PAPERS)}", sigma=0.01
    )


def _ladders(
    prior: Estimate, budget: float, limits: tuple[float, float] | None, branch_share: float
) -> Iterator[Trunks]:
    """Every shape of ladder, scaled to cost exactly the budget, the longest horizons first."""
    spans = SIZE_SPANS if limits is None else (limits[1] / limits[0],)
    for n_sizes, span, n_horizons, long, tied in product(
        N_SIZES, spans, N_HORIZONS, HORIZON_SPANS, TIED
    ):
        sizes = np.repeat(_around(n_sizes, span), n_horizons)
        tokens = np.tile(_around(n_horizons, long)[::-1], n_sizes) * sizes**tied
        unit = Trunks(sizes=sizes, tokens=tokens, branch_share=branch_share)
        # The whole ladder costs that many times a run at its centre.
        at_center = budget / (unit.total() / 6.0)
        center = _published_size(prior, at_center)
        if limits is not None:
            center = float(np.sqrt(limits[0] * limits[1]))
        sizes, tokens = center * sizes, at_center / 6.0 / center * tokens
        ratio = tokens / sizes
        if ratio.min() >= RATIOS[0] and ratio.max() <= RATIOS[1]:
            yield Trunks(sizes=sizes, tokens=tokens, branch_share=branch_share)


def _around(count: int, span: float) -> Array:
    """`count` values around 1, the largest `span` times the smallest."""
    return np.asarray(np.geomspace(span**-0.5, span**0.5, count))


def _published_size(prior: Estimate, flops: float) -> float:
    sizes = [optimum(one.theta, flops).n_params[0] for one in prior.components]
    return float(np.exp(np.mean(np.log(sizes))))


def _design(trunks: Trunks, sd: Array, goals: Goals, budget: float, source: str) -> Design:
    """The ladder as a design; `sd` (G + 1,) before and after each run."""
    order = {size: number for number, size in enumerate(np.unique(trunks.sizes))}
    runs, chosen = [], list[int]()
    for which in range(trunks.sizes.size):
        runs.append(
            NextRun(
                n_params=float(trunks.sizes[which]),
                n_tokens=float(trunks.tokens[which]),
                flops=float(trunks.cost(chosen)[which]),
                trunk=order[trunks.sizes[which]],
                sd_before=float(sd[which]),
                sd_after=float(sd[which + 1]),
            )
        )
        chosen.append(which)
    return Design(
        runs=tuple(runs),
        candidates=(),
        of=goals.of,
        sd_before=float(sd[0]),
        sd_after=float(sd[-1]),
        flops=float(sum(run.flops for run in runs)),
        budget_flops=budget,
        target=goals.point,
        one_more=None,
        problems=(),
        source=source,
    )
