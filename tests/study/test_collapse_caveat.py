"""A study's run folders: the rung whose curve is not the others' is named, a clean one is not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isoflop.ladders import Ladder, design_ladder
from isoflop.ladders.design import CorpusFacts
from isoflop.runs import Point, RunFolder
from isoflop.specs import (
    DataSection,
    DomainSection,
    LadderSection,
    ModelSection,
    StudyConfig,
    TrainSection,
)
from isoflop.study import StudyFolder, collapse_table
from isoflop.study.curves import collapse_caveats

LOOKS = [round(64 * 2 ** (k / 2)) for k in range(12)]


@pytest.fixture
def study(tmp_path: Path) -> StudyFolder:
    config = StudyConfig(
        data=DataSection(domains=(DomainSection(name="a", source="path:x"),)),
        model=ModelSection(context=64),
        train=TrainSection(batch_tokens=512),
        ladder=LadderSection(widths=(24, 32, 48, 64, 96), tokens=(400_000, 800_000, 1_600_000)),
    )
    return StudyFolder(path=tmp_path, config=config, base=tmp_path, file=tmp_path / "study.toml")


def write(study: StudyFolder, *, hot: int | None) -> Ladder:
    """Points of every run by a law; the trunk of rung `hot` hovers 5 % higher until it cools."""
    ladder = design_ladder(study.config, CorpusFacts(corpus_hash="c", train_tokens={"a": 10**9}))
    rng = np.random.default_rng(0)
    for number, job in enumerate(ladder.pilots):
        longest = max(run.schedule.hold_tokens for run in job.branches)
        height = 1.05 if number == hot else 1.0

        def loss(n_tokens: float, n: int = job.n_params) -> float:
            noise = np.exp(0.001 * rng.standard_normal())
            return float((1.6 + 40 / n**0.35 + 60 / n_tokens**0.33) * noise)

        trunk = RunFolder.create(study.runs, job.trunk)
        for step in (step for step in LOOKS if 512 * step <= longest):
            value = 1.03 * height * loss(512 * step)
            trunk.append(Point(step=step, n_tokens=512 * step, flops=1.0, loss=value, lr=0.0,
                               kind="intermediate"))  # fmt: skip
        for run in job.branches:
            RunFolder.create(study.runs, run).append(
                Point(step=1, n_tokens=run.n_tokens, flops=1.0, loss=loss(run.n_tokens), lr=0.0,
                      kind="final")
            )  # fmt: skip
    return ladder


def test_the_rung_that_is_off_is_named_by_its_trunk(study: StudyFolder) -> None:
    ladder = write(study, hot=2)
    (problem,) = collapse_caveats(study, ladder)
    assert problem.code == "rung_off_collapse"
    hot = ladder.pilots[2]
    assert f"{hot.trunk.run_id} (N = {hot.n_params:.4g}) by +" in problem.text
    assert all(job.trunk.run_id not in problem.text for job in ladder.pilots if job != hot)


def test_a_clean_ladder_and_one_of_few_rungs_say_nothing(study: StudyFolder) -> None:
    ladder = write(study, hot=None)
    assert collapse_caveats(study, ladder) == ()
    few = replace(ladder, pilots=ladder.pilots[:3])
    assert collapse_caveats(study, few) == ()
    assert collapse_table(study.path / "elsewhere", ladder.pilots) == {}
