"""Studies with `[tune]` whose losses are planted instead of trained."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from isoflop.accounting import count_params
from isoflop.ladders import Job
from isoflop.ladders.design import CorpusFacts
from isoflop.runs import Point, RunFolder, Status
from isoflop.specs import (
    DataSection,
    DomainSection,
    HoldoutSection,
    LadderSection,
    ModelSection,
    RunConfig,
    StudyConfig,
    TrainSection,
    TuneSection,
)
from isoflop.study import StudyFolder

FACTS = CorpusFacts(corpus_hash="c", train_tokens={"a": 10**9})
H = np.array([[0.030, -0.012], [-0.012, 0.020]])

Loss = Callable[[RunConfig], float]


def log_best(n: float, d: float) -> np.ndarray:
    """ln lr* and ln B* of the planted law: lr* falls with N and D, B* grows with D."""
    return np.array(
        [
            np.log(6e-3) - 0.4 * np.log(n / 1e5) - 0.15 * np.log(d / 1e6),
            np.log(700.0) + 0.3 * np.log(d / 1e6),
        ]
    )


def height(n: float, d: float) -> float:
    """The loss of a tuned run."""
    return float(1.5 + 40 / n**0.35 + 60 / d**0.33)


def loss_of(run: RunConfig) -> float:
    """The planted bowl."""
    n = count_params(run.shape).under("active")
    settings = run.optimiser
    z = np.log([settings.lr, settings.batch_tokens]) - log_best(n, run.n_tokens)
    return height(n, run.n_tokens) * float(np.exp(0.5 * z @ H @ z))


def planted_study(
    path: Path,
    *,
    train: TrainSection | None = None,
    tune: TuneSection | None = None,
    model: ModelSection | None = None,
) -> StudyFolder:
    """Four sizes at four horizons and a held-out run, swept at any corner."""
    config = StudyConfig(
        data=DataSection(domains=(DomainSection(name="a", source="path:x"),)),
        model=model or ModelSection(context=64),
        train=train or TrainSection(batch_tokens=512, base_lr=8e-3),
        ladder=LadderSection(
            widths=(32, 48, 64, 96), tokens=(500_000, 1_000_000, 2_000_000, 4_000_000)
        ),
        tune=tune or TuneSection(max_share=2.0),
        holdout=HoldoutSection(width=160, tokens=4_000_000),
    )
    return StudyFolder(path=path, config=config, base=path, file=path / "study.toml")


class Trainer:
    """Writes the planted loss as every branch's final point; counts what it trains."""

    def __init__(
        self, study: StudyFolder, loss: Loss = loss_of, *, diverges: float = np.inf
    ) -> None:
        self.study, self.loss, self.diverges = study, loss, diverges
        self.titles: list[str] = []
        self.asked: list[list[Job]] = []
        self.trained = 0

    def __call__(self, jobs: list[Job], title: str) -> None:
        self.titles.append(title)
        self.asked.append(jobs)
        for run in (run for job in jobs for run in job.branches):
            folder = RunFolder.create(self.study.runs, run)
            if run.optimiser.lr > self.diverges:
                folder.set_status(Status(state="diverged"))
            elif folder.final() is None:
                self.trained += 1
                folder.append(
                    Point(step=1, n_tokens=run.n_tokens, flops=1.0, loss=self.loss(run), lr=0.0,
                          kind="final")
                )  # fmt: skip
