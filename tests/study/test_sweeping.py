"""Rounds of sweeps: an optimum outside the first is reached, what cannot be is named, resumed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted_sweeps import FACTS, H, Trainer, height, log_best, loss_of, planted_study

from isoflop._errors import RunError, StudyError
from isoflop.accounting import count_params
from isoflop.ladders import Job
from isoflop.specs import ModelSection, RunConfig, TrainSection, TuneSection
from isoflop.study.pricing import dry_run
from isoflop.study.sweeping import read_rounds, rounds_path, sweep_study
from isoflop.study.tuning import read_tuning, tune_study, tuned_ladder, tuning_problems


def far(factor: float) -> Callable[[RunConfig], float]:
    """The planted bowl with its best learning rate times a factor."""

    def loss(run: RunConfig) -> float:
        moved = replace(run, optimiser=replace(run.optimiser, lr=run.optimiser.lr / factor))
        return loss_of(moved)

    return loss


@pytest.mark.parametrize("factor", [30.0, 1 / 12])
def test_an_optimum_far_outside_the_first_sweep_is_found(tmp_path: Path, factor: float) -> None:
    study = planted_study(tmp_path)
    train = Trainer(study, far(factor))
    swept = sweep_study(study, FACTS, train)
    assert swept.law is not None
    assert swept.rounds == len(train.titles) == 3
    first = [job.trunk.optimiser.lr for job in train.asked[0]]
    for job in train.asked[0]:
        for run in job.branches:
            true = factor * np.exp(log_best(job.n_params, run.n_tokens)[0])
            assert not min(first) < true < max(first)
            lr, batch = swept.law.best(job.n_params, run.n_tokens)
            assert lr == pytest.approx(np.log(true), abs=1e-6)
            assert batch == pytest.approx(log_best(job.n_params, run.n_tokens)[1], abs=1e-6)
    assert np.array(swept.law.curvature) == pytest.approx(H, abs=1e-6)


def test_nothing_is_trained_twice_and_every_cell_has_one_horizon(tmp_path: Path) -> None:
    study = planted_study(tmp_path)
    train = Trainer(study, far(1 / 12))
    sweep_study(study, FACTS, train)
    asked = [run.run_id for jobs in train.asked for job in jobs for run in job.branches]
    assert len(asked) == len(set(asked)) == train.trained
    ladder = tuned_ladder(study, FACTS)
    assert [job for jobs in train.asked for job in jobs] == list(ladder.sweeps)
    assert len({run.n_tokens for job in ladder.sweeps for run in job.branches}) == 3


def test_a_batch_outside_the_first_sweep_is_reached(tmp_path: Path) -> None:
    study = planted_study(tmp_path, train=TrainSection(batch_tokens=256, base_lr=8e-3))
    swept = sweep_study(study, FACTS, Trainer(study))
    assert swept.law is not None
    # B* is 570 to 1060 tokens; the first round ends at 512.
    assert swept.law.batches == (128, 2048)
    assert swept.law.batch_tokens[1:] == pytest.approx((0.0, 0.3), abs=1e-6)


def test_a_batch_that_cannot_be_smaller_is_no_edge(tmp_path: Path) -> None:
    # No batch is smaller than a context, and B* is below that: a wall, the bowl is found.
    study = planted_study(
        tmp_path,
        model=ModelSection(context=512),
        train=TrainSection(batch_tokens=1024, base_lr=8e-3),
    )

    def loss(run: RunConfig) -> float:
        batch = run.optimiser.batch_tokens * 4
        return loss_of(replace(run, optimiser=replace(run.optimiser, batch_tokens=batch)))

    swept = sweep_study(study, FACTS, Trainer(study, loss))
    assert swept.law is not None
    assert swept.law.batches[0] == 512
    assert swept.law.batch_tokens[1:] == pytest.approx((0.0, 0.3), abs=1e-6)


def test_a_noisy_optimum_outside_the_first_sweep_is_found(tmp_path: Path) -> None:
    # Noise 0.1 % of the loss, one fixed seed. Seeds 0 to 5 were off by at most 0.056 in ln lr; 0.2
    # costs 0.06 % of the loss.
    study = planted_study(tmp_path)
    rng = np.random.default_rng(0)
    noisy = far(8.0)
    swept = sweep_study(
        study, FACTS, Trainer(study, lambda run: noisy(run) * float(np.exp(rng.normal(0, 1e-3))))
    )
    assert swept.law is not None
    assert swept.rounds > 1
    for job in tuned_ladder(study, FACTS).sweeps:
        for run in job.branches:
            true = np.log(8.0) + log_best(job.n_params, run.n_tokens)[0]
            assert swept.law.best(job.n_params, run.n_tokens)[0] == pytest.approx(true, abs=0.2)


def falling(run: RunConfig) -> float:
    """The loss falls with the learning rate for ever, and has a best batch."""
    n, z = count_params(run.shape).under("active"), np.log(run.optimiser.batch_tokens / 700)
    return height(n, run.n_tokens) * float(
        np.exp(0.01 * z * z) * (run.optimiser.lr / 1e-2) ** -0.01
    )


def ridge(run: RunConfig) -> float:
    """Only lr/B matters: a valley without a bottom, that falls a little along itself."""
    n, settings = count_params(run.shape).under("active"), run.optimiser
    x, y = np.log(settings.lr / 8e-3), np.log(settings.batch_tokens / 512)
    return height(n, run.n_tokens) * float(np.exp(0.02 * (x - y) ** 2 - 0.004 * (x + y)))


@pytest.mark.parametrize(
    ("loss", "side"), [(falling, "at the highest learning rate"), (ridge, "at the highest")]
)
def test_what_never_closes_fails_with_its_corners_and_sides(
    tmp_path: Path, loss: Callable[[RunConfig], float], side: str
) -> None:
    study = planted_study(tmp_path, tune=TuneSection(max_share=2.0, rounds=2))
    train = Trainer(study, loss)
    tune_study(study, FACTS, train)
    assert train.titles == ["sweeps", "sweeps, round 2"]
    tuning = read_tuning(study)
    assert tuning is not None
    assert tuning.law is None
    ladder = tuned_ladder(study, FACTS)
    (problem,) = tuning_problems(study, ladder)
    assert problem.code == "tuning_failed"
    assert "after 2 rounds" in problem.text
    assert side in problem.text
    assert f"N = {ladder.sweeps[0].n_params:,}, D = " in problem.text


def test_one_round_is_all_where_one_is_asked_for(tmp_path: Path) -> None:
    study = planted_study(tmp_path, tune=TuneSection(max_share=2.0, rounds=1))
    train = Trainer(study, far(1 / 12))
    swept = sweep_study(study, FACTS, train)
    assert train.titles == ["sweeps"]
    assert swept.law is None
    assert "after 1 round the" in swept.reason
    assert not rounds_path(study).exists()
    with pytest.raises(StudyError, match=r"tune\.rounds"):
        TuneSection(rounds=0)


def test_runs_that_diverge_close_the_upper_side(tmp_path: Path) -> None:
    # All above 1.2 times the best rate of the smallest corner diverge.
    study = planted_study(tmp_path)
    smallest = tuned_ladder(study, FACTS).sweeps[0].n_params
    most = 1.2 * float(np.exp(log_best(smallest, 5e5)[0]))
    swept = sweep_study(study, FACTS, Trainer(study, diverges=most))
    assert swept.law is not None
    assert swept.law.lr[1:] == pytest.approx((-0.4, -0.15), abs=1e-6)


def test_a_fixed_batch_is_swept_no_further(tmp_path: Path) -> None:
    # B* is eight times above the largest batch: no edge where the batch is not tuned.
    study = planted_study(
        tmp_path,
        train=TrainSection(batch_tokens=128, base_lr=1.2e-2),
        tune=TuneSection(max_share=2.0, batch=False),
    )
    swept = sweep_study(study, FACTS, Trainer(study))
    assert swept.law is not None
    assert swept.law.batches == (64, 256)
    n, d = 1e5, 1e6
    z = np.log(128) - log_best(n, d)[1]
    best = log_best(n, d)[0] - H[0, 1] / H[0, 0] * z
    assert np.log(swept.law.lr_given(n, d, 128)) == pytest.approx(best, abs=1e-6)


def test_killed_between_rounds_and_within_one_it_goes_on(tmp_path: Path) -> None:
    whole_study, study = planted_study(tmp_path / "a"), planted_study(tmp_path / "b")
    whole = Trainer(whole_study, far(1 / 12))
    tune_study(whole_study, FACTS, whole)
    first = Trainer(study, far(1 / 12))

    def killed(jobs: list[Job], title: str) -> None:
        if title == "sweeps, round 2":
            first(jobs[:3], title)
            raise KeyboardInterrupt
        first(jobs, title)

    with pytest.raises(KeyboardInterrupt):
        tune_study(study, FACTS, killed)
    assert read_tuning(study) is None
    assert len(read_rounds(study)) == 1
    second = Trainer(study, far(1 / 12))
    tune_study(study, FACTS, second)
    assert second.titles == ["sweeps, round 2", "sweeps, round 3", "bracket"]
    assert first.trained + second.trained == whole.trained
    assert read_tuning(study) == read_tuning(whole_study)
    assert rounds_path(study).read_bytes() == rounds_path(whole_study).read_bytes()


def test_a_lost_file_of_rounds_is_made_again_from_the_losses(tmp_path: Path) -> None:
    study = planted_study(tmp_path)
    sweep_study(study, FACTS, Trainer(study, far(1 / 12)))
    before = rounds_path(study).read_bytes()
    rounds_path(study).unlink()
    again = Trainer(study, far(1 / 12))
    sweep_study(study, FACTS, again)
    assert again.trained == 0
    assert rounds_path(study).read_bytes() == before


def test_rounds_that_are_corrupt_or_of_another_ladder_are_named(tmp_path: Path) -> None:
    study = planted_study(tmp_path)
    study.fits.mkdir()
    rounds_path(study).write_text('{"version": 1, "rounds": [[1]]}')
    with pytest.raises(RunError, match=r"sweeps\.json: not rounds"):
        read_rounds(study)
    rounds_path(study).write_text(json.dumps({"version": 1, "rounds": [{"7": [[0.1, 512]]}]}))
    with pytest.raises(StudyError, match="at N = 7, which is no corner"):
        tuned_ladder(study, FACTS)


def test_dry_run_lists_the_rounds_that_are_known_and_says_so(tmp_path: Path) -> None:
    study = planted_study(tmp_path)
    (words,) = dry_run(study).words
    assert "the first round only" in words
    assert "Up to 2 more" in words
    first = sum(run.kind == "sweep" for run in dry_run(study).runs)
    assert first == 2 * 11 * 3
    tune_study(study, FACTS, Trainer(study))
    assert dry_run(study).words == ()
