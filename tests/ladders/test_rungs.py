"""Designs resolve to the shapes and tokens that they promise; families to the published counts."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from isoflop._errors import StudyError
from isoflop.accounting import count_params
from isoflop.ladders import design_ladder, planned_runs
from isoflop.ladders.design import CorpusFacts
from isoflop.ladders.families import FAMILIES
from isoflop.ladders.rungs import Rung, resolve_rungs
from isoflop.specs import (
    DataSection,
    DomainSection,
    LadderSection,
    ModelSection,
    ModelShape,
    StudyConfig,
    TrainSection,
)


def study(model: ModelSection | None = None, **ladder: Any) -> StudyConfig:
    return StudyConfig(
        data=DataSection(domains=(DomainSection(name="a", source="path:x"),)),
        model=model or ModelSection(context=64, n_heads=2),
        train=TrainSection(batch_tokens=256),
        ladder=LadderSection(**ladder),
    )


def rungs(**ladder: Any) -> list[Rung]:
    return resolve_rungs(study(**ladder))


SIZES = {"min_params": 5e4, "max_params": 2e6}


def test_every_budget_of_an_isoflop_design_is_met_around_its_expected_optimum() -> None:
    made = rungs(design="isoflop", min_flops=1e12, max_flops=1e14, n_budgets=3, n_sizes=5)
    points = [(rung.n_params, t) for rung in made for t in rung.horizons]
    for budget in (1e12, 1e13, 1e14):
        own = [(n, t) for n, t in points if abs(6 * n * t / budget - 1) < 1e-3]
        sizes = np.array([n for n, _ in own])
        best = np.sqrt(budget / 120)
        assert len(own) == 5
        assert sizes.min() < best / 2 < best < 2 * best < sizes.max()
        assert all(6 * n * t <= budget for n, t in own)
    # Budgets share shapes, so that their runs share trunks: fewer trunks than 3 x 5.
    assert len(points) == 15
    assert len(made) <= 13


def test_a_grid_crosses_the_same_horizons_with_every_size() -> None:
    made = rungs(design="grid", min_tokens=1e6, max_tokens=8e6, n_horizons=4, n_sizes=3, **SIZES)
    assert {rung.horizons for rung in made} == {(1_000_000, 2_000_000, 4_000_000, 8_000_000)}
    assert [rung.n_params for rung in made] == pytest.approx([5e4, 3.16e5, 2e6], rel=0.1)


def test_an_envelope_spans_its_factor_around_every_sizes_own_optimum() -> None:
    for rung in rungs(design="envelope", **SIZES):
        ratio = np.array(rung.horizons) / rung.n_params
        assert ratio == pytest.approx(20 * 4.0 ** np.array([-1, -1 / 3, 1 / 3, 1]), rel=1e-4)


def test_a_ray_has_one_ratio_and_large_d_one_horizon_pair() -> None:
    for rung in rungs(design="ray", tokens_per_param=30, **SIZES):
        assert rung.horizons[0] / rung.n_params == pytest.approx(30, rel=1e-4)
    made = rungs(design="large_d", n_sizes=4, **SIZES)
    longest = round(200 * made[-1].n_params)
    assert {rung.horizons for rung in made} == {(longest // 2, longest)}
    assert len(made) == 4


def test_large_n_refuses_a_model_that_its_tokens_would_bind() -> None:
    keys: dict[str, Any] = {"design": "large_n", "max_params": 2e6, "min_tokens": 1e5}
    (one,) = rungs(**keys, max_tokens=1.6e6, n_horizons=5)
    assert one.horizons == (100_000, 200_000, 400_000, 800_000, 1_600_000)
    assert one.horizons[-1] <= 2 * one.n_params
    with pytest.raises(StudyError, match=r"ladder\.max_tokens = 1e\+07.*Raise max_params"):
        rungs(**keys, max_tokens=1e7)


def test_shapes_follow_aspect_and_head_size() -> None:
    made = rungs(design="ray", aspect=32, head_dim=16, n_sizes=4, min_params=2e5, max_params=2e7)
    for rung in made:
        assert rung.shape.head_dim == 16
        assert rung.shape.depth == max(1, round(rung.shape.width / 32))
    found = [rung.n_params for rung in made]
    assert found == pytest.approx(np.geomspace(2e5, 2e7, 4), rel=0.2)
    assert made[-1].shape.depth > made[0].shape.depth


def test_the_nearest_width_is_found() -> None:
    config = study(design="ray", **SIZES)
    for rung in resolve_rungs(config):
        wish = np.geomspace(5e4, 2e6, 5)
        target = wish[np.argmin(np.abs(np.log(wish / rung.n_params)))]
        for other in (rung.shape.width - 4, rung.shape.width + 4):
            shape = replace(rung.shape, width=other, ff_width=4 * other)
            miss = abs(np.log(count_params(shape).under() / target))
            assert abs(np.log(rung.n_params / target)) <= miss


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"design": "ray", **SIZES, "span": 4}, r"ladder\.span = 4"),
        ({"design": "isoflop", "min_flops": 1e12}, r"ladder\.max_flops = None.*given for isoflop"),
        ({"design": "ray", "min_params": 2e6, "max_params": 5e4}, r"min_params < max_params"),
        ({"design": "ray", **SIZES, "family": "olmo"}, r"family or design, not both"),
        ({"widths": (16,)}, r"ladder\.tokens = \(\)"),
        ({"design": "ray", "min_params": 5e4, "max_params": 5.1e4}, r"ladder\.n_sizes = 5.*width"),
        ({"design": "ray", "min_params": 10, "max_params": 5e4}, r"smallest shape"),
        ({"design": "ray", **SIZES, "max_flops": 1}, r"ladder\.max_flops = 1: leaves no run"),
        ({"family": "pythia", "widths": (4,)}, r"ladder\.widths"),
    ],
)
def test_impossible_designs_name_their_key(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(StudyError, match=words):
        rungs(**keys)


def test_a_design_becomes_trunks_with_branches_in_whole_batches() -> None:
    config = study(design="isoflop", min_flops=1e12, max_flops=1e13, n_budgets=2, n_sizes=3)
    facts = CorpusFacts(corpus_hash="c", train_tokens={"a": 10**9})
    ladder = design_ladder(config, facts)
    branches = [run for job in ladder.pilots for run in job.branches]
    assert all(run.n_tokens % 256 == 0 for run in branches)
    assert len(branches) == 6
    shortest = min(run.n_tokens for run in branches)
    assert {run.schedule.warmup_tokens for run in branches} <= set(range(256, shortest // 10 + 1))
    poor = CorpusFacts(corpus_hash="c", train_tokens={"a": 10**5})
    with pytest.raises(StudyError, match=r"ladder\.isoflop tokens = \d+: needs"):
        design_ladder(config, poor)


@pytest.mark.parametrize(
    "keys",
    [
        {"design": "grid", **SIZES, "min_tokens": 1e6, "max_tokens": 1e7},
        {"design": "isoflop", "min_flops": 1e12, "max_flops": 1e14},
        {"design": "envelope", **SIZES},
        {"design": "ray", **SIZES},
        {"design": "large_d", **SIZES},
        {"design": "large_n", "max_params": 2e6, "min_tokens": 1e5, "max_tokens": 2e6},
        *({"family": name, "max_flops": 3e22} for name in FAMILIES),
    ],
    ids=lambda keys: keys.get("design") or keys["family"],
)
def test_every_design_is_priced_run_by_run(keys: dict[str, Any]) -> None:
    config = study(**keys) if "design" in keys else study(ModelSection(context=64), **keys)
    facts = CorpusFacts(corpus_hash="c", train_tokens={"a": 10**15})
    ladder = design_ladder(config, facts)
    planned = planned_runs(ladder, threads=1, holdout_threads=1)
    assert len(planned) == sum(len(job.runs) for job in ladder.pilots)
    assert len({run.run_id for run in planned}) == len(planned)
    limit = config.ladder.max_flops
    assert all(limit is None or run.flops <= limit for run in planned if run.kind == "pilot")


def plain(vocab: int, width: int, depth: int, heads: int, ff: int, **more: Any) -> ModelShape:
    return ModelShape(
        vocab_size=vocab, width=width, depth=depth, n_heads=heads, ff_width=ff, context=2048,
        token_shift=False, **more,
    )  # fmt: skip


def test_olmo_shapes_have_exactly_the_published_parameters() -> None:
    # Bhagia et al. 2024, arXiv:2412.04403: counts without the input embedding, vocabulary padded
    # to 100,352; their query and key norms have a gain each of the width (2·d a layer).
    for one in FAMILIES["olmo"]().shapes:
        shape = plain(100_352, one.width, one.depth, one.n_heads, one.ff_width, mlp="swiglu",
                      qk_norm=False)  # fmt: skip
        count = count_params(shape)
        qk_gains = 2 * one.width * one.depth
        assert count.total - count.embedding + qk_gains == one.published
        assert one.tokens[0] == 20 * one.published


def test_pythia_shapes_have_exactly_the_published_parameters() -> None:
    # Biderman et al. 2023, arXiv:2304.01373, Table 1: without both embeddings; LayerNorms and
    # linear layers have biases, which ours have not: 11·d a layer and d at the end more.
    for one in FAMILIES["pythia"]().shapes:
        shape = plain(50_304, one.width, one.depth, one.n_heads, one.ff_width, mlp="gelu",
                      qk_norm=False)  # fmt: skip
        biases = (11 * one.depth + 1) * one.width
        assert count_params(shape).under("non_embedding") + biases == one.published
        assert one.tokens == (299_892_736_000.0,)  # 143,000 steps of 2,097,152 tokens


def test_baichuan_shapes_have_the_published_parameters() -> None:
    # Yang et al. 2023, arXiv:2309.10305, Table 5, in millions to two digits: matrices alone.
    for one in FAMILIES["baichuan2"]().shapes:
        shape = plain(257, one.width, one.depth, one.n_heads, one.ff_width, mlp="swiglu")
        count = count_params(shape)
        assert count.attention + count.mlp == pytest.approx(one.published, rel=2e-3)


def test_chinchilla_and_cerebras_shapes_have_the_published_parameters() -> None:
    shapes = FAMILIES["chinchilla"]().shapes
    assert len(shapes) == 50
    for one in shapes:
        # Vocabulary 32,000, tied; relative positions add one width x width matrix a layer.
        if one.width in (2688, 2944) or one.width > 4096:
            continue  # heads times their size are not the width there
        sizes = (one.width, one.depth, one.n_heads, one.ff_width)
        shape = plain(32_000, *sizes, mlp="gelu", tied_head=True)
        n = count_params(shape).under() + one.depth * one.width**2
        assert n == pytest.approx(one.published, rel=0.015), one
    for one in FAMILIES["cerebras_gpt"]().shapes:
        shape = plain(50_257, one.width, one.depth, one.n_heads, one.ff_width, mlp="gelu",
                      tied_head=True, positions="learned")  # fmt: skip
        assert count_params(shape).total == pytest.approx(one.published, rel=0.03), one
        assert one.tokens[0] / one.published == pytest.approx(20, rel=0.025)


def test_a_family_is_cut_by_compute_and_takes_another_ratio() -> None:
    model = ModelSection(context=64, mlp="gelu")
    made = resolve_rungs(study(model, family="cerebras_gpt", tokens_per_param=1, max_flops=3e17))
    assert [rung.shape.width for rung in made] == [768, 1088]
    assert all(rung.horizons == (rung.n_params,) for rung in made)
    whole = resolve_rungs(study(model, family="chinchilla"))
    assert max(6 * r.n_params * t for r in whole for t in r.horizons) == pytest.approx(3e21)
    cut = resolve_rungs(study(model, family="chinchilla", max_flops=1e19))
    found = {round(np.log10(6 * r.n_params * t), 2) for r in cut for t in r.horizons}
    assert found == {18.78, 19.0}
    with pytest.raises(StudyError, match=r"model\.depth = 3: ladder\.family brings"):
        resolve_rungs(study(replace(model, depth=3), family="olmo"))
