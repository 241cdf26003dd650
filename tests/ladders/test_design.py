"""A ladder's trainings: counts, budgets, refusals, and that a pilot is never the held-out run."""

from dataclasses import replace
from typing import Any

import pytest

from isoflop._errors import StudyError
from isoflop.accounting import count_params
from isoflop.ladders import design_ladder, estimate_seconds, extend_job, planned_runs
from isoflop.ladders.design import CorpusFacts
from isoflop.specs import (
    DataSection,
    DomainSection,
    HoldoutSection,
    LadderSection,
    ModelSection,
    StudyConfig,
    TrainSection,
)

FACTS = CorpusFacts(corpus_hash="c", train_tokens={"a": 10_000_000, "b": 10_000_000})


@pytest.fixture
def study() -> StudyConfig:
    domains = tuple(DomainSection(name=n, source="path:x") for n in "ab")
    return StudyConfig(
        data=DataSection(domains=domains),
        model=ModelSection(context=64),
        train=TrainSection(batch_tokens=512),
        ladder=LadderSection(widths=(24, 32, 64), tokens=(500_000, 1_000_000, 2_000_000)),
        holdout=HoldoutSection(width=96, tokens=4_000_000),
    )


def test_a_grid_of_branches_on_one_trunk_a_size(study: StudyConfig) -> None:
    ladder = design_ladder(study, FACTS)
    assert [len(job.branches) for job in ladder.pilots] == [3, 3, 3]
    for job in ladder.pilots:
        assert job.trunk.trunk is None
        for branch in job.branches:
            assert branch.trunk == job.trunk.run_id
            assert branch.as_trunk() == job.trunk
            assert branch.n_tokens % 512 == 0
            assert branch.schedule.cooldown_tokens == pytest.approx(0.2 * branch.n_tokens, abs=512)
    assert ladder.holdout is not None
    assert ladder.holdout.branches[0].run_id not in ladder.pilot_ids
    assert len(ladder.pilot_ids) == 9


def test_learning_rate_and_warmup_rules(study: StudyConfig) -> None:
    ladder = design_ladder(study, FACTS)
    rates = [job.trunk.optimiser.lr for job in ladder.pilots]
    width = study.train.base_width
    expected = [study.train.base_lr * (w / width) ** -0.5 for w in (24, 32, 64)]
    assert rates == pytest.approx(expected)
    for job in ladder.pilots:
        warmup = job.trunk.schedule.warmup_tokens
        assert warmup <= min(count_params(job.trunk.shape).under(), 50_000)


def test_max_flops_cuts_the_corner(study: StudyConfig) -> None:
    limit = 1e12
    cut = replace(study, ladder=replace(study.ladder, max_flops=limit))
    for job in design_ladder(cut, FACTS).pilots:
        assert all(6 * job.n_params * run.n_tokens <= limit for run in job.branches)
    with pytest.raises(StudyError, match=r"ladder\.max_flops"):
        design_ladder(replace(study, ladder=replace(study.ladder, max_flops=1.0)), FACTS)


def test_more_tokens_than_the_corpus_has(study: StudyConfig) -> None:
    poor = CorpusFacts(corpus_hash="c", train_tokens={"a": 10_000_000, "b": 600_000})
    with pytest.raises(StudyError, match=r"ladder\.tokens = 2000000.*'b'.*data\.repeat = true"):
        design_ladder(study, poor)
    repeating = replace(study, data=replace(study.data, repeat=True))
    assert design_ladder(repeating, poor).pilots[0].trunk.data.repeat


def test_a_small_holdout_is_refused(study: StudyConfig) -> None:
    small = replace(study, holdout=HoldoutSection(width=40, tokens=500_000))
    with pytest.raises(StudyError, match="checks no extrapolation"):
        design_ladder(small, FACTS)


def test_a_holdout_on_a_pilots_trunk_is_refused(study: StudyConfig) -> None:
    shared = replace(study, holdout=HoldoutSection(width=64, tokens=8_000_000))
    with pytest.raises(StudyError, match=r"holdout\.width = 64.*trunk.*ladder\.widths"):
        design_ladder(shared, FACTS)
    deeper = replace(study, holdout=HoldoutSection(width=64, tokens=8_000_000, depth=4))
    assert design_ladder(deeper, FACTS).holdout is not None


@pytest.mark.parametrize(
    ("ladder", "words"),
    [
        # 512000 and 512511 tokens are both 1000 batches of 512: one and the same run.
        ({"tokens": (500_000, 512_000, 512_511)}, r"ladder\.tokens.*512000 and 512511"),
        ({"tokens": (300, 500_000)}, r"ladder\.tokens = 300: .*cooldown"),
        ({"widths": (24, 30, 64)}, r"ladder\.widths = 30: .*n_heads == 0"),
        ({"widths": (24, 36, 64)}, r"ladder\.widths = 36: .*even head size"),
        ({"heads": (4, 5, 4)}, r"ladder\.widths = 32: .*n_heads=5"),
    ],
)
def test_impossible_rungs_name_their_key(
    study: StudyConfig, ladder: dict[str, Any], words: str
) -> None:
    with pytest.raises(StudyError, match=words):
        design_ladder(replace(study, ladder=replace(study.ladder, **ladder)), FACTS)


def test_impossible_holdouts_name_their_key(study: StudyConfig) -> None:
    odd = replace(study, holdout=HoldoutSection(width=97, tokens=4_000_000))
    with pytest.raises(StudyError, match=r"holdout\.width = 97: .*n_heads == 0"):
        design_ladder(odd, FACTS)
    short = replace(study, holdout=HoldoutSection(width=960, tokens=600))
    with pytest.raises(StudyError, match=r"holdout\.tokens = 600: .*cooldown"):
        design_ladder(short, FACTS)


def test_a_model_without_feed_forward_is_refused(study: StudyConfig) -> None:
    flat = replace(study, model=replace(study.model, ff_ratio=0.01))
    with pytest.raises(StudyError, match=r"model\.ff_ratio = 0\.01"):
        design_ladder(flat, FACTS)


def test_horizons_one_batch_apart_are_two_runs(study: StudyConfig) -> None:
    ladder = replace(study.ladder, tokens=(500_000, 512_000, 512_512))
    for job in design_ladder(replace(study, ladder=ladder), FACTS).pilots:
        assert len({run.run_id for run in job.runs}) == 4


def test_extension_continues_the_same_trunk(study: StudyConfig) -> None:
    branch = design_ladder(study, FACTS).pilots[0].branches[-1]
    job = extend_job(branch, 6_000_000, FACTS)
    assert job.trunk.run_id == branch.trunk
    assert job.branches[0].schedule.hold_tokens > branch.schedule.hold_tokens
    with pytest.raises(StudyError, match="Ask for more"):
        extend_job(branch, 1_000_000, FACTS)
    with pytest.raises(StudyError, match="Ask for more"):
        extend_job(branch, branch.n_tokens + 511, FACTS)  # less than one batch more


def test_planned_runs_price_everything(study: StudyConfig) -> None:
    ladder = design_ladder(study, FACTS)
    planned = planned_runs(ladder, threads=1, holdout_threads=2)
    assert len(planned) == 3 * 4 + 2
    assert all(run.seconds > 0 and run.memory_bytes > 0 for run in planned)
    shape = ladder.pilots[0].trunk.shape
    assert estimate_seconds(shape, 2000) == pytest.approx(2 * estimate_seconds(shape, 1000))
    assert [r.run_id for r in planned if r.kind == "pilot"] == [
        run.run_id for job in ladder.pilots for run in job.branches
    ]


def test_a_temperature_sets_the_shares_by_size(study: StudyConfig) -> None:
    """p ~ tokens^(1/T): 8 to 1 is 8/9 at T = 1, and 2 to 1 at T = 3."""
    facts = CorpusFacts(corpus_hash="c", train_tokens={"a": 80_000_000, "b": 10_000_000})
    for temperature, share in ((1.0, 8 / 9), (3.0, 2 / 3), (1e6, 0.5)):
        mixed = replace(study, data=replace(study.data, temperature=temperature))
        weights = dict(design_ladder(mixed, facts).pilots[0].trunk.data.weights)
        assert weights["a"] == pytest.approx(share, rel=1e-5)
        assert sum(weights.values()) == pytest.approx(1.0, abs=1e-12)
    domains = (replace(study.data.domains[0], weight=2.0), study.data.domains[1])
    with pytest.raises(StudyError, match=r"data\.temperature.*given for a"):
        replace(study.data, domains=domains, temperature=1.0)


def test_a_limit_of_unique_tokens_asks_for_repetition(study: StudyConfig) -> None:
    domains = (replace(study.data.domains[0], unique_tokens=100_000), study.data.domains[1])
    limited = replace(study, data=replace(study.data, domains=domains))
    with pytest.raises(StudyError, match=r"domain 'a', which has 100000\..*data\.repeat = true"):
        design_ladder(limited, FACTS)
    ladder = design_ladder(replace(limited, data=replace(limited.data, repeat=True)), FACTS)
    run = ladder.pilots[0].branches[-1]
    assert run.data.unique_tokens == (("a", 100_000),)
    assert run.data.n_unique(run.n_tokens, FACTS.train_tokens) == 100_000 + run.n_tokens // 2
