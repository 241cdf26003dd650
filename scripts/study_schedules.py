"""Constant and cosine rates are fitted; what do runs of warm-up, hold and cooldown lose then?

`make study-schedules`: five widths at a constant rate and under two cosines each are all that the
law along a run sees. It forecasts the whole curves of runs under a third schedule (WSD: a fifth of
the tokens cools down as 1 - sqrt), of the same widths and of two larger ones. Beside it the linear
law (`tissue_sizes`). The last line, for each law:

    same_sizes   mean relative error of the loss along the WSD curves [%]; of their ends
    new_sizes    the same of sizes never trained

About 15 minutes on two cores; resumable. `--scale` tries it on shorter runs.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from isoflop.data import prepare_corpus, read_card
from isoflop.fitting import CurveFit, fit_curves
from isoflop.ladders.design import CorpusFacts
from isoflop.specs import RunConfig, Schedule
from short_runs import HEALTHY, Task, curve_table, lr_path, n_params, read_curves_of, run_all
from study_watch import BATCH, CONFIG, FITTED_EVERY, PILOT_WIDTHS, WIDTHS, config_of

ROOT = Path("demo-schedules")
SEEN = (("constant", 614_400), ("cosine", 307_200), ("cosine", 614_400))
TOLD = (("wsd", 409_600), ("wsd", 614_400))
SEEDS = 3
"""Runs of every kind, each with data of its own: the error is of the law, not of one order."""
LAWS = ("annealed_sizes", "tissue_sizes")


class Errors(NamedTuple):
    """Mean relative errors [%]: along whole curves and of their ends."""

    along: float
    end: float


def run_of(facts: CorpusFacts, width: int, kind: str, n_tokens: int, seed: int) -> RunConfig:
    """One run; a cosine that falls to its peak again is a constant rate."""
    if kind != "constant":
        return config_of(facts, width, kind, n_tokens, seed)
    config = config_of(facts, width, "cosine", n_tokens, seed)
    schedule = replace(config.schedule, final_factor=1.0)
    return replace(config, schedule=schedule)


def runs_of(
    facts: CorpusFacts, widths: Sequence[int], kinds: Sequence[tuple[str, int]], scale: float
) -> list[RunConfig]:
    """Every width under every schedule and seed."""
    found = []
    for number, (kind, n_tokens) in enumerate(kinds):
        length = max(1, round(scale * n_tokens / BATCH)) * BATCH
        for seed in range(SEEDS):
            own = 100 * (len(kind) + number) + seed
            found += [run_of(facts, width, kind, length, own) for width in widths]
    return found


def errors(fit: CurveFit, root: Path, configs: Sequence[RunConfig]) -> Errors:
    """Of the forecasts of the runs' curves, the runs of one kind averaged over their seeds."""
    groups: dict[tuple[int, Schedule], list[RunConfig]] = {}
    for config in configs:
        groups.setdefault((config.shape.width, config.schedule), []).append(config)
    along, end = [], []
    for group in groups.values():
        curves = [read_curves_of(root, config)[HEALTHY] for config in group]
        at, path = curves[0].n_tokens, lr_path(group[0])
        keep = at >= max(fit.first_tokens, path.warmup_tokens)
        loss = np.mean([curve.loss for curve in curves], axis=0)[keep]
        told = fit.predict(path, n_params(group[0]), at=at[keep], of="mean").mean
        off = 100 * np.abs(told / loss - 1)
        along.append(float(off.mean()))
        end.append(float(off[-1]))
    return Errors(float(np.mean(along)), float(np.mean(end)))


def main() -> None:
    """Train what is not there yet, fit, forecast, print one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path, default=ROOT)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1.0, help="of the lengths, to try it out")
    options = parser.parse_args()
    root: Path = options.into
    root.mkdir(parents=True, exist_ok=True)
    prepare_corpus(CONFIG.data, root / "data", base=Path(), seed=0, progress=lambda _l, _s: None)
    facts = CorpusFacts.of(read_card(root / "data"))
    seen = runs_of(facts, PILOT_WIDTHS, SEEN, options.scale)
    same = runs_of(facts, PILOT_WIDTHS, TOLD, options.scale)
    new = runs_of(facts, WIDTHS, TOLD, options.scale)
    run_all(root, [Task(config=config) for config in (*seen, *same, *new)], options.processes)
    table, words = curve_table(root, seen, every=FITTED_EVERY), []
    for law in LAWS:
        fit = fit_curves(table, law=law)
        inside, beyond = (errors(fit, root, configs) for configs in (same, new))
        words.append(
            f"{law} from {fit.first_tokens:.3g} tokens on: same_sizes={inside.along:.2f}% "
            f"(ends {inside.end:.2f}%) new_sizes={beyond.along:.2f}% (ends {beyond.end:.2f}%)"
        )
    sys.stdout.write(f"study-schedules: {len(seen)} runs fitted; " + "; ".join(words) + "\n")


if __name__ == "__main__":
    main()
