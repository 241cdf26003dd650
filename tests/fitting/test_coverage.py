"""Nominal 90 % intervals cover 85-96 % on simulated ladders, also where the law is wrong (slow).

Every cell is 400 ladders of 9 to 60 runs. Compute beyond the dearest run: 10 and 100 times, grown
along its own D/N. Three intervals at each: the loss of a new run (drawn as the ladder's runs were,
bad ones included), the mean curve, and the compute-optimal size.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import pytest
from simulated import HORIZONS, SIZES, TRUTH

from isoflop.fitting import fit
from isoflop.laws import find_law, optimum
from isoflop.planning import plan

N_LADDERS = 400
"""With true coverage 0.90 the sd of a share of 400 is 1.5 %: outside 85-96 % by chance in less
than 0.1 % of new seeds (the seeds here are fixed, so the test itself never flickers). Which
cells hold, and which do not, was seen on the first 100 of them (LOG.md)."""

FAR = np.array([10.0, 100.0])


@dataclass(frozen=True, kw_only=True)
class Cell:
    """How the runs of a ladder are drawn: noise of log loss, shared by a size or own."""

    sizes: np.ndarray
    horizons: np.ndarray
    shared: float
    own: float
    bad: float = 0.0
    """Share of runs that are worse by an exponential of mean 3 %."""
    coupling: float = 1.0
    """k of the coupled law (arXiv:2608.07222); 1 is Chinchilla's."""

    @property
    def theta(self):
        """Parameters of the law that draws the runs."""
        return TRUTH if self.coupling == 1 else np.append(TRUTH, self.coupling)

    @property
    def law(self):
        """The law that draws the runs."""
        return find_law("chinchilla" if self.coupling == 1 else "skaling")


CELLS = {
    "9 runs": Cell(sizes=SIZES[::2], horizons=HORIZONS[::2], shared=0.0, own=0.005),
    "25 runs": Cell(sizes=SIZES, horizons=HORIZONS, shared=0.0, own=0.005),
    "25 branches of 5 trunks": Cell(sizes=SIZES, horizons=HORIZONS, shared=0.005, own=0.004),
    "25 runs, 10 % bad": Cell(sizes=SIZES, horizons=HORIZONS, shared=0.0, own=0.003, bad=0.1),
    "25 branches, law coupled": Cell(
        sizes=SIZES, horizons=HORIZONS, shared=0.003, own=0.003, coupling=0.77
    ),
    "60 branches of 6 trunks": Cell(
        sizes=np.geomspace(1e4, 1.6e5, 6),
        horizons=np.geomspace(5e5, 8e6, 10),
        shared=0.0035,
        own=0.003,
    ),
    "60 branches, 10 % bad": Cell(
        sizes=np.geomspace(1e4, 1.6e5, 6),
        horizons=np.geomspace(5e5, 8e6, 10),
        shared=0.0035,
        own=0.003,
        bad=0.1,
    ),
}


def _cores():
    """A process for every core, behind whatever runs beside: tests of engines wait for answers."""
    return ProcessPoolExecutor(
        len(os.sched_getaffinity(0)),
        mp_context=get_context("spawn"),  # pytest's own workers have threads, which do not fork
        initializer=os.nice,
        initargs=(10,),
    )


def _noise(cell, trunk, rng):
    shared = cell.shared * rng.standard_normal(int(trunk.max()) + 1)[trunk]
    bad = rng.random(trunk.size) < cell.bad
    return (
        shared + cell.own * rng.standard_normal(trunk.size) + bad * rng.exponential(0.03, bad.size)
    )


def _covered(name, seed):
    """Whether each interval holds its truth, (3 quantities, 2 distances)."""
    cell, rng = CELLS[name], np.random.default_rng([seed, sorted(CELLS).index(name)])
    n, d = (grid.ravel() for grid in np.meshgrid(cell.sizes, cell.horizons, indexing="ij"))
    trunk = np.repeat(np.arange(cell.sizes.size), cell.horizons.size)
    loss = cell.law.predict(cell.theta, {"n_params": n, "n_tokens": d})
    table = {"n_params": n, "n_tokens": d, "loss": loss * np.exp(_noise(cell, trunk, rng))}
    if cell.shared:
        table["trunk"] = np.array([f"t{i}" for i in trunk])
    found = fit(table, n_draws=300, seed=seed)
    at = {"n_params": n.max() * np.sqrt(FAR), "n_tokens": d.max() * np.sqrt(FAR)}
    mean = cell.law.predict(cell.theta, at)
    new = mean * np.exp(_noise(cell, np.arange(FAR.size), rng))
    held = [
        (one.low <= truth) & (truth <= one.high)
        for one, truth in ((found.predict(at), new), (found.predict(at, of="mean"), mean))
    ]
    flops = 6 * n.max() * d.max() * FAR
    best = optimum(cell.theta, flops, law=cell.law).n_params
    plans = [plan(found, flops=float(c)).n_params for c in flops]
    held.append(np.array([p.low <= one <= p.high for p, one in zip(plans, best, strict=True)]))
    return np.array(held)


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_intervals_cover(name):
    with _cores() as pool:
        held = list(pool.map(_covered, [name] * N_LADDERS, range(N_LADDERS), chunksize=10))
    shares = dict(zip(("new run", "mean curve", "N_opt"), np.mean(held, axis=0), strict=True))
    said = {what: share.tolist() for what, share in shares.items()}
    assert all(0.85 <= one <= 0.96 for share in said.values() for one in share), said


REFIT = np.array([1.817218, 477.826, 0.347310, 2143.417, 0.367172])
"""The best known optimum of the 240 Chinchilla points (Huber 1e-3 on logs)."""

PEERS = {"clean": (0.064, 0.77), "bad": (0.057, 0.74)}
"""Median widths of 95 % intervals, of L [nats/token] at (7e9, 1.4e11) and of ln N_opt at 1e22
FLOPs, by the narrowest of two other packages that covered: a wild cluster bootstrap of least
squares on clean runs, a case bootstrap of Huber's loss where runs are bad."""


def _peer_case(kind, seed):
    """Covered and width of the mean curve's L, covered and width of ln N_opt."""
    rng = np.random.default_rng([seed, 44])
    grid = np.meshgrid(np.logspace(7.3, 9, 5), np.geomspace(5, 80, 5), indexing="ij")
    n, ratio = (one.ravel() for one in grid)
    noise = (0.005 if kind == "clean" else 0.003) * rng.standard_normal(n.size)
    if kind == "bad":
        noise += (rng.random(n.size) < 0.1) * rng.exponential(0.03, n.size)
    law = find_law("chinchilla")
    loss = law.predict(REFIT, {"n_params": n, "n_tokens": n * ratio}) * np.exp(noise)
    table = {"n_params": n, "n_tokens": n * ratio, "loss": loss}
    found = fit(table, n_draws=300, seed=seed, level=0.95)
    at = {"n_params": np.array([7e9]), "n_tokens": np.array([1.4e11])}
    mean, truth = found.predict(at, of="mean"), law.predict(REFIT, at)[0]
    best = plan(found, flops=1e22, level=0.95).n_params
    size = float(optimum(REFIT, [1e22]).n_params[0])
    return (
        mean.low[0] <= truth <= mean.high[0],
        mean.high[0] - mean.low[0],
        best.low <= size <= best.high,
        np.log(best.high / best.low),
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", PEERS)
def test_no_wider_than_the_narrowest_peer_that_covers(kind):
    count = 200
    with _cores() as pool:
        cases = np.array(list(pool.map(_peer_case, [kind] * count, range(count), chunksize=10)))
    # 95 % of 200 has an sd of 1.5 %.
    assert cases[:, 0].mean() >= 0.91
    assert cases[:, 2].mean() >= 0.91
    assert np.median(cases[:, 1]) <= PEERS[kind][0]
    assert np.median(cases[:, 3]) <= PEERS[kind][1]
