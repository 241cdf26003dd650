"""Rules of rate, weights and multipliers against the tables of their papers."""

import math
from dataclasses import fields, replace
from typing import Any

import pytest

from isoflop._errors import InputError, StudyError
from isoflop.ladders.design import CorpusFacts, design_ladder
from isoflop.specs import (
    DataSection,
    DomainSection,
    LadderSection,
    ModelSection,
    ModelShape,
    Parametrisation,
    RunConfig,
    StudyConfig,
    TrainSection,
)
from isoflop.specs.parametrisation import OBEYED

WIDE = ModelShape(
    vocab_size=300, width=256, depth=8, n_heads=4, ff_width=1024, context=16, qk_norm=False
)
MUP = Parametrisation(kind="mup", base_width=64, base_head_width=16, init_std=0.05)
COMPLETEP = Parametrisation(kind="completep", base_width=64, base_depth=2, init_std=0.05)
MATRICES = ("hidden", "residual")


def test_mup_is_table_8_of_yang() -> None:
    """m_d = 4: std/2 and rate/4 of hidden matrices, decay times 4, output/4, attention 1/H."""
    assert MUP.rule("hidden", WIDE) == (0.025, 0.25, 4.0, 1.0)
    assert MUP.rule("residual", WIDE) == (0.025 / 4, 0.25, 4.0, 1.0)  # sqrt(2 · 8 layers)
    assert MUP.rule("router", WIDE) == (0.0125, 0.25, 4.0, 1.0)
    for role in ("embedding", "positions"):
        assert MUP.rule(role, WIDE) == (0.05, 1.0, 1.0, 1.0)
    assert MUP.rule("head", WIDE) == (0.0, 1.0, 1.0, 1.0)
    assert replace(MUP, zero_head=False).rule("head", WIDE).std == 0.05
    assert MUP.rule("vector", WIDE)[1:] == (1.0, 1.0, 1.0)
    assert MUP.output_scale(WIDE) == 0.25
    assert MUP.attention_scale(WIDE) == 16**-0.5 * 16 / 64
    # The README of mup: 8/H agrees with 1/sqrt(H) at 64.
    at_64 = replace(MUP, base_head_width=64)
    assert at_64.attention_scale(replace(WIDE, n_heads=2)) == 8 / 128
    assert MUP.residual_scale(WIDE) == 1.0


@pytest.mark.parametrize("a", [0.5, 0.75, 1.0])
def test_completep_is_table_1_of_dey(a: float) -> None:
    """m_d = 4, m_L = 4: branches m_L^-a, rates in layers m_L^(a-1), eps over m_d·m_L^a."""
    own = replace(COMPLETEP, depth_exponent=a)
    for role in MATRICES:
        std, lr, decay, eps = own.rule(role, WIDE)
        assert (std, decay) == (0.025, 4.0)  # no 1/sqrt(2L)
        assert lr == pytest.approx(0.25 * 4 ** (a - 1))
        assert eps == pytest.approx(0.25 * 4**-a)
    assert own.rule("vector", WIDE).lr == pytest.approx(4 ** (a - 1))
    for role in ("embedding", "head", "final_vector"):
        assert own.rule(role, WIDE)[1:] == (1.0, 1.0, 0.25)
    assert own.residual_scale(WIDE) == pytest.approx(4**-a)


@pytest.mark.parametrize("kind", ["mup", "completep"])
def test_the_product_of_rate_and_decay_does_not_move(kind: Any) -> None:
    """AdamW shrinks a weight by rate · decay a step: at depth exponent 1 as at the base."""
    own = Parametrisation(kind=kind)
    for width in (64, 128, 512):
        for role in ("hidden", "residual", "router", "head", "embedding"):
            rule = own.rule(role, replace(WIDE, width=width))
            assert rule.lr * rule.weight_decay == 1.0


@pytest.mark.parametrize("qk_norm", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_at_the_base_shape_mup_is_standard(qk_norm: bool, tied: bool) -> None:
    shape = replace(WIDE, qk_norm=qk_norm, tied_head=tied)
    mup = Parametrisation(kind="mup", base_width=256, base_head_width=64)
    standard = Parametrisation(kind="standard")
    for role in ("embedding", "positions", "hidden", "residual", "router", "head", "vector"):
        assert mup.rule(role, shape) == standard.rule(role, shape)
    for scale in ("attention_scale", "output_scale", "residual_scale"):
        assert getattr(mup, scale)(shape) == getattr(standard, scale)(shape)


OTHER: dict[str, Any] = {
    "base_width": 32, "base_depth": 3, "base_head_width": 8, "depth_exponent": 0.5,
    "init_std": 0.1, "zero_head": False, "embedding_multiplier": 2.0, "attention_multiplier": 2.0,
    "output_multiplier": 2.0,
}  # fmt: skip


@pytest.mark.parametrize("kind", ["plain", "standard", "mup", "completep"])
@pytest.mark.parametrize("name", list(OTHER))
def test_a_field_that_a_kind_does_not_obey_is_refused_and_others_act(kind: Any, name: str) -> None:
    shape = replace(WIDE, head_width=24)
    if name not in OBEYED[kind]:
        with pytest.raises(InputError, match=f"{name} = .* changes nothing"):
            Parametrisation(kind=kind, **{name: OTHER[name]})
        return
    before, after = Parametrisation(kind=kind), Parametrisation(kind=kind, **{name: OTHER[name]})
    assert _effects(before, shape) != _effects(after, shape)


def _effects(own: Parametrisation, shape: ModelShape) -> tuple[Any, ...]:
    roles = ("embedding", "hidden", "residual", "head", "vector")
    scales = (own.attention_scale(shape), own.output_scale(shape), own.residual_scale(shape))
    return *(own.rule(role, shape) for role in roles), *scales, own.embedding_multiplier


def test_every_field_is_known_above() -> None:
    assert {one.name for one in fields(Parametrisation)} == {"kind", *OTHER}


def test_a_run_keeps_its_parametrisation_and_an_older_one_its_id(tiny_trunk: RunConfig) -> None:
    assert "parametrisation" not in tiny_trunk.to_json()
    assert "norm" not in tiny_trunk.to_json()["shape"]
    changed = replace(
        tiny_trunk,
        parametrisation=replace(COMPLETEP, depth_exponent=0.5),
        shape=replace(tiny_trunk.shape, norm="layer", bias=True, n_kv_heads=1),
    )
    data = changed.to_json()
    assert data["parametrisation"] == {"kind": "completep", "init_std": 0.05, "depth_exponent": 0.5}
    assert RunConfig.from_json(data, place="x") == changed
    assert changed.run_id != tiny_trunk.run_id


def study(train: dict[str, Any], **model: Any) -> StudyConfig:
    return StudyConfig(
        data=DataSection(domains=(DomainSection(name="a", source="path:a"),)),
        ladder=LadderSection(widths=(32, 64, 128), tokens=(200_000, 400_000)),
        model=ModelSection(**model),
        train=TrainSection(**train),
    )


def rungs(config: StudyConfig) -> list[RunConfig]:
    ladder = design_ladder(config, CorpusFacts.unknown(config))
    return [job.trunk for job in ladder.pilots]


def test_a_study_hands_its_parametrisation_to_every_rung() -> None:
    runs = rungs(
        study({"parametrisation": "completep", "base_width": 32, "init_std": 0.1}, depth=6)
    )
    expected = Parametrisation(
        kind="completep", base_width=32, base_depth=6, base_head_width=8, init_std=0.1
    )
    assert [run.parametrisation for run in runs] == [expected] * 3
    assert [run.optimiser.lr for run in runs] == [5e-3] * 3  # the trainer's groups scale it


def test_the_base_head_is_that_of_the_rung_at_base_width() -> None:
    config = study({"parametrisation": "mup"})
    wide = replace(config, ladder=replace(config.ladder, heads=(2, 4, 8)))
    assert rungs(wide)[0].parametrisation.base_head_width == 16


def test_a_rate_is_scaled_by_one_rule_alone() -> None:
    assert [run.optimiser.lr for run in rungs(study({}))] == [
        5e-3 * (width / 64) ** -0.5 for width in (32, 64, 128)
    ]
    standard = rungs(study({"parametrisation": "standard", "lr_width_exponent": -1.0}))
    assert [run.optimiser.lr for run in standard] == [1e-2, 5e-3, 2.5e-3]
    for kind in ("mup", "completep"):
        with pytest.raises(StudyError, match=r"train\.lr_width_exponent = -0\.5.*keep one"):
            study({"parametrisation": kind, "lr_width_exponent": -0.5})


@pytest.mark.parametrize(("kind", "key"), [("plain", "init_std"), ("mup", "base_depth")])
def test_a_key_that_would_change_nothing_is_refused(kind: str, key: str) -> None:
    with pytest.raises(StudyError, match=rf"train\.{key} = .*change nothing"):
        study({"parametrisation": kind, key: 1})


@pytest.mark.parametrize(
    ("preset", "ff_width"),
    [("gpt2", 256), ("llama", 176), (None, 256)],  # 8/3 · 64 = 170.7, up to a multiple of 16
)
def test_a_preset_sets_what_is_left_out(preset: Any, ff_width: int) -> None:
    shape = rungs(study({}, preset=preset, n_heads=4))[1].shape
    assert shape.ff_width == ff_width
    assert (shape.norm == "layer") == shape.bias == (preset == "gpt2")
    assert (shape.mlp == "swiglu") == (preset == "llama")
    assert shape.embedding_norm == shape.token_shift == shape.qk_norm == (preset is None)


def test_any_field_of_a_preset_may_be_overridden() -> None:
    model = {"preset": "llama", "qk_norm": True, "n_kv_heads": 2, "rope_base": 5e5, "ff_ratio": 4.0,
             "ff_multiple": 1, "norm_eps": 1e-6, "n_experts": 4, "n_shared_experts": 1}  # fmt: skip
    shape = rungs(study({}, **model))[1].shape
    assert (shape.qk_norm, shape.n_kv_heads, shape.rope_base) == (True, 2, 5e5)
    assert (shape.ff_width, shape.norm_eps, shape.mlp) == (256, 1e-6, "swiglu")
    assert (shape.n_experts, shape.n_shared_experts) == (4, 1)
    assert math.isclose(shape.balance_coefficient, 0.01)
