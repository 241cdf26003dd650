"""With train.schedule = "cosine" every (width, horizon) is a training of its own."""

import pytest

from isoflop._errors import StudyError
from isoflop.ladders import design_ladder, planned_runs
from isoflop.ladders.design import CorpusFacts
from isoflop.ladders.estimate import own_tokens
from isoflop.specs import StudyConfig, study_from_mapping


def _study(schedule: str, **train: object) -> StudyConfig:
    return study_from_mapping(
        {
            "data": {"domains": [{"name": "a", "source": "path:x"}]},
            "ladder": {"widths": [16, 32], "tokens": [102_400, 204_800, 409_600]},
            "holdout": {"width": 64, "tokens": 819_200},
            "train": {"schedule": schedule, **train},
        }
    )


def test_every_pair_is_a_job_of_its_own() -> None:
    study = _study("cosine", final_factor=0.05)
    ladder = design_ladder(study, CorpusFacts.unknown(study))
    assert [(j.trunk.shape.width, j.trunk.n_tokens) for j in ladder.pilots] == [
        (width, tokens) for width in (16, 32) for tokens in (102_400, 204_800, 409_600)
    ]
    for job in ladder.pilots:
        (run,) = job.runs
        assert (run.trunk, run.schedule.kind) == (None, "cosine")
        assert run.schedule.final_factor == 0.05
        assert own_tokens(job, run) == run.n_tokens
    assert len(ladder.pilot_ids) == 6
    assert ladder.holdout is not None
    assert ladder.holdout.runs[0].n_tokens == 819_200


def test_it_sees_the_tokens_that_branches_share() -> None:
    """Cosine: the sum of the horizons. A trunk: its longest hold, and one cooldown a horizon."""
    total = {}
    for schedule in ("cosine", "wsd"):
        study = _study(schedule)
        ladder = design_ladder(study, CorpusFacts.unknown(study))
        jobs = [job for job in ladder.pilots if job.trunk.shape.width == 16]
        total[schedule] = sum(own_tokens(job, run) for job in jobs for run in job.runs)
        kinds = {run.kind for run in planned_runs(ladder, threads=1, holdout_threads=1)}
        assert ("pilot trunk" in kinds) == (schedule == "wsd")
    horizons = 102_400 + 204_800 + 409_600
    assert total["cosine"] == horizons
    assert total["wsd"] == pytest.approx(0.8 * 409_600 + 0.2 * horizons, rel=0.01)


def test_peak_rate_and_warm_up_are_those_of_the_trunk() -> None:
    runs = {}
    for schedule in ("cosine", "wsd"):
        study = _study(schedule)
        runs[schedule] = design_ladder(study, CorpusFacts.unknown(study)).pilots[0].branches[0]
    assert runs["cosine"].optimiser == runs["wsd"].optimiser
    assert runs["cosine"].schedule.warmup_tokens == runs["wsd"].schedule.warmup_tokens


def test_a_second_decay_is_refused() -> None:
    with pytest.raises(StudyError, match=r"train\.lr_decay_exponent = 0\.3"):
        _study("cosine", lr_decay_exponent=0.3)
