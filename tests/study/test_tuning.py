"""Sweeps with a planted bowl: the law is found, the ladder follows it, the rest becomes regret."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted_sweeps import FACTS, H, Trainer, log_best, loss_of, planted_study

from isoflop._errors import RunError, StudyError
from isoflop.ladders import Job
from isoflop.ladders.design import design_ladder
from isoflop.specs import RunConfig, TrainSection, TuneSection
from isoflop.study import StudyFolder
from isoflop.study.tuning import (
    read_tuning,
    regret_column,
    tune_study,
    tuned_ladder,
    tuning_path,
    tuning_problems,
)


@pytest.fixture
def study(tmp_path: Path) -> StudyFolder:
    return planted_study(tmp_path)


def test_the_planted_law_is_found_and_the_ladder_follows_it(study: StudyFolder) -> None:
    train = Trainer(study)
    tune_study(study, FACTS, train)
    # B* of the longest horizon lies above the largest batch of the first round.
    assert train.titles == ["sweeps", "sweeps, round 2", "bracket"]
    tuning = read_tuning(study)
    assert tuning is not None
    assert tuning.law is not None
    # ln loss is the bowl plus one height a cell: the fit's own model, so it is exact.
    assert tuning.law.lr[1:] == pytest.approx((-0.4, -0.15), abs=1e-6)
    assert tuning.law.batch_tokens[1:] == pytest.approx((0.0, 0.3), abs=1e-6)
    assert np.array(tuning.law.curvature) == pytest.approx(H, abs=1e-6)
    ladder = tuned_ladder(study, FACTS)
    assert ladder.tuned
    assert ladder.holdout is not None
    for job in (*ladder.pilots, ladder.holdout):
        horizons = [run.n_tokens for run in job.branches]
        middle = np.sqrt(min(horizons) * max(horizons))
        rate = job.trunk.optimiser
        log_lr, log_batch = log_best(job.n_params, middle)
        batch = rate.batch_tokens
        assert batch % 64 == 0
        assert batch == pytest.approx(np.clip(np.exp(log_batch), *tuning.law.batches), abs=33)
        # At a batch that had to be rounded the best rate moves along the bowl's valley.
        best = log_lr - H[0, 1] / H[0, 0] * (np.log(batch) - log_batch)
        assert np.log(rate.lr) == pytest.approx(best, abs=2e-3)
    sweeps = {run.run_id for job in ladder.sweeps for run in job.branches}
    assert not sweeps & ladder.pilot_ids


def test_regret_is_the_bowls_excess_at_each_runs_own_horizon(study: StudyFolder) -> None:
    tune_study(study, FACTS, Trainer(study))
    ladder, tuning = tuned_ladder(study, FACTS), read_tuning(study)
    assert tuning is not None
    runs = [(job.n_params, run) for job in ladder.pilots for run in job.branches]
    column = regret_column(tuning, [run.run_id for _, run in runs])
    assert column is not None
    top = ladder.pilots[-1].trunk.run_id
    for (n, run), regret in zip(runs, column, strict=True):
        if run.trunk != top:  # the bracket adds what it measured there
            z = np.log([run.optimiser.lr, run.optimiser.batch_tokens]) - log_best(n, run.n_tokens)
            assert regret == pytest.approx(0.5 * z @ H @ z, abs=1e-6)
    assert len(tuning.bracket) == 3
    (problem,) = tuning_problems(study, ladder)
    assert (problem.code, problem.severity) == (
        "lr_regret",
        "note" if max(column) < 3e-3 else "warning",
    )


def test_tuning_is_resumed_and_never_made_again(study: StudyFolder) -> None:
    first = Trainer(study)

    def killed(jobs: list[Job], title: str) -> None:
        if title == "bracket":
            raise KeyboardInterrupt
        first(jobs, title)

    with pytest.raises(KeyboardInterrupt):
        tune_study(study, FACTS, killed)
    half = read_tuning(study)
    assert half is not None
    assert half.regret is None
    assert regret_column(half, ["x"]) is None
    second = Trainer(study)
    tune_study(study, FACTS, second)
    assert second.titles == ["bracket"]
    whole = tuning_path(study).read_bytes()
    third = Trainer(study)
    tune_study(study, FACTS, third)
    assert third.titles == []
    assert tuning_path(study).read_bytes() == whole
    assert read_tuning(study).law == half.law  # type: ignore[union-attr]


def test_sweeps_without_a_bowl_leave_the_rule_and_say_so(study: StudyFolder) -> None:
    tune_study(study, FACTS, Trainer(study, diverges=1e-9))
    tuning = read_tuning(study)
    assert tuning is not None
    assert tuning.law is None
    ladder = tuned_ladder(study, FACTS)
    plain = design_ladder(replace(study.config, tune=None), FACTS)
    assert ladder.pilots == plain.pilots
    assert not ladder.tuned
    # Nothing of it waits for ever in `status`: there is no law to bracket.
    assert {role for role, _ in ladder.jobs} == {"sweep", *(role for role, _ in plain.jobs)}
    (problem,) = tuning_problems(study, ladder)
    assert problem.code == "tuning_failed"
    assert "diverged" in problem.text


def test_a_corrupt_tuning_is_named(study: StudyFolder) -> None:
    study.fits.mkdir()
    tuning_path(study).write_text('{"version": 1, "law": {"lr": [1]}}')
    with pytest.raises(RunError, match=r"tuning\.json: not a tuning"):
        read_tuning(study)


def test_corners_reach_as_far_as_the_share_allows(study: StudyFolder) -> None:
    def corner(share: float) -> tuple[int, int, float]:
        config = replace(study.config, tune=TuneSection(max_share=share))
        ladder = design_ladder(config, FACTS)
        sizes = {job.trunk.shape.width for job in ladder.sweeps}
        longest = max(run.n_tokens for job in ladder.sweeps for run in job.branches)
        own = [
            6 * job.n_params * (max(run.schedule.hold_tokens for run in job.branches)
                                + sum(run.schedule.cooldown_tokens for run in job.branches))
            for job in ladder.sweeps
        ]  # fmt: skip
        pilots = [
            6 * job.n_params * (max(run.schedule.hold_tokens for run in job.branches)
                                + sum(run.schedule.cooldown_tokens for run in job.branches))
            for job in ladder.pilots
        ]  # fmt: skip
        return max(sizes), longest, sum(own) / sum(pilots)

    small, large = corner(0.6), corner(10.0)
    assert small[0] <= large[0]
    assert large[:2] == (96, 3_997_696)  # whole in batches of 16384, the largest of all
    assert small[2] <= 0.6
    with pytest.raises(StudyError, match=r"tune\.max_share = 0\.001: .*must hold for the cheapest"):
        corner(0.001)


def test_every_cell_is_swept_at_three_batches_and_one_horizon(study: StudyFolder) -> None:
    ladder = design_ladder(study.config, FACTS)
    by_batch: dict[int, set[float]] = {}
    for job in ladder.sweeps:
        if job.trunk.shape.width == 32:
            rate = job.trunk.optimiser
            by_batch.setdefault(rate.batch_tokens, set()).add(rate.lr)
    assert {batch: len(rates) for batch, rates in by_batch.items()} == {256: 3, 512: 5, 1024: 3}
    horizons = {tuple(run.n_tokens for run in job.branches) for job in ladder.sweeps}
    assert len(horizons) == 1


def test_a_cosine_takes_the_rate_of_its_own_horizon_and_mup_counts_width_once(
    tmp_path: Path,
) -> None:
    # Planted muP transfer: the best rate of the hidden matrices is 0.01 * 64 / width.
    study = planted_study(
        tmp_path,
        train=TrainSection(
            batch_tokens=512, base_lr=8e-3, parametrisation="mup", base_width=64, schedule="cosine"
        ),
        tune=TuneSection(max_share=5.0, rounds=4),
    )

    def loss(run: RunConfig) -> float:
        hidden = run.optimiser.lr * run.parametrisation.rule("hidden", run.shape).lr
        best = 0.01 * 64 / run.shape.width * (run.n_tokens / 1e6) ** -0.15
        z = np.log([hidden / best, run.optimiser.batch_tokens / 600])
        return 2.0 * float(np.exp(0.5 * z @ H @ z))

    tune_study(study, FACTS, Trainer(study, loss))
    tuning = read_tuning(study)
    assert tuning is not None
    assert tuning.law is not None
    assert tuning.law.lr[1:] == pytest.approx((0.0, -0.15), abs=1e-6)
    ladder = tuned_ladder(study, FACTS)
    for job in ladder.pilots:
        (run,) = job.branches
        hidden = run.optimiser.lr * run.parametrisation.rule("hidden", run.shape).lr
        best = 0.01 * 64 / run.shape.width * (run.n_tokens / 1e6) ** -0.15
        off = np.log(run.optimiser.batch_tokens / 600)
        assert np.log(hidden / best) == pytest.approx(-H[0, 1] / H[0, 0] * off, abs=2e-2)
    assert ladder.bracket[0] in ladder.pilots
    assert tuning.regret is not None
    assert max(tuning.regret.values()) < 1e-4


def test_a_bracket_that_is_better_moves_the_regret_of_the_largest(study: StudyFolder) -> None:
    plain = Trainer(study)
    ladder_of_top: list[float] = []

    def loss(run: RunConfig) -> float:
        # The sweeps know nothing of the largest size: there the best rate is 1.6 times higher.
        return loss_of(run) * (0.98 if run.optimiser.lr in ladder_of_top else 1.0)

    plain.loss = loss

    def train(jobs: list[Job], title: str) -> None:
        if title == "bracket":
            ladder_of_top.append(max(job.trunk.optimiser.lr for job in jobs))
        plain(jobs, title)

    tune_study(study, FACTS, train)
    ladder, tuning = tuned_ladder(study, FACTS), read_tuning(study)
    assert tuning is not None
    assert tuning.regret is not None
    own, higher = dict(tuning.bracket)[ladder.bracket[0].trunk.optimiser.lr], tuning.bracket[-1][1]
    missed = float(np.log(own / higher))
    assert missed > 0.01
    for run in ladder.pilots[-1].branches:
        assert tuning.regret[run.run_id] == pytest.approx(missed, abs=1e-3)
    assert max(tuning.regret[run.run_id] for run in ladder.pilots[0].branches) < missed
    (problem,) = tuning_problems(study, ladder)
    assert "The largest pilot is better at" in problem.text
