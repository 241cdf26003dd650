"""study.toml is read strictly, and every refusal names the key and the remedy."""

import copy
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from isoflop._errors import InputError, StudyError
from isoflop.specs import (
    ModelShape,
    RunConfig,
    Schedule,
    StudyConfig,
    read_study,
    study_from_mapping,
)

GOOD: dict[str, Any] = {
    "data": {"domains": [{"name": "a", "source": "path:a"}]},
    "ladder": {"widths": [16, 32], "tokens": [1e6, 2_000_000]},
}


def _with(key: str, value: object) -> dict[str, Any]:
    data = copy.deepcopy(GOOD)
    node = data
    *parents, last = key.split(".")
    for parent in parents:
        node = node.setdefault(parent, {})
    node[last] = value
    return data


def test_scientific_notation_is_a_count() -> None:
    assert study_from_mapping(GOOD).ladder.tokens == (1_000_000, 2_000_000)


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("data.vocab", 3, "data.vocab"),
        ("bogus", {}, "bogus"),
        ("data.vocab_size", 3, "vocab_size"),
        ("data.vocab_size", 65_537, "vocab_size"),
        ("data.tokenizer", "gpt2", "data.tokenizer = 'gpt2': `own, path:FILE, or one of"),
        ("data.end_token", "</s>", "data.end_token"),
        ("data.jaccard", 0.0, "jaccard"),
        ("data.domains", [], "data.domains"),
        ("ladder.tokens", [1.5], "ladder.tokens"),
        ("ladder.tokens", [], "ladder.tokens"),
        ("ladder.widths", [16, 16], "ladder.widths"),
        ("ladder.depths", [1], "ladder.depths"),
        ("train.base_lr", float("nan"), "train.base_lr"),
        ("train.base_lr", "fast", "train.base_lr"),
        ("train.batch_tokens", 100, "train.batch_tokens"),
        ("train.cooldown_fraction", 1.0, "cooldown_fraction"),
        ("plan.flops", float("inf"), "plan.flops"),
        ("plan.mfu", 1.5, "plan.mfu"),
        ("model.mlp", "cubic", "model.mlp"),
        ("fit.level", 90, "fit.level"),
        ("fit.n_draws", 99, "fit.n_draws"),
        ("seed", -1, "seed"),
        ("seed", 2**63, "seed"),
        ("data.min_chars", -1, "data.min_chars"),
        ("data.validation_tokens", 0, "data.validation_tokens"),
        ("data.domains", [{"name": "a", "source": "path:a", "max_mb": 0}], "data.domains.max_mb"),
        ("model.context", 0, "model.context"),
        ("model.depth", 0, "model.depth"),
        ("model.depth", 10**400, "model.depth"),
        ("model.n_heads", 0, "model.n_heads"),
        ("model.ff_ratio", 0, "model.ff_ratio"),
        ("train.base_width", 0, "train.base_width"),
        ("train.beta2", 1.5, "train.beta2"),
        ("train.beta2", 1.0, "train.beta2"),
        ("train.weight_decay", -0.1, "train.weight_decay"),
        ("train.warmup_tokens", -1, "train.warmup_tokens"),
        ("train.base_lr", 0, "train.base_lr"),
        ("train.base_lr", 1e300, "train.base_lr"),
        ("train.lr_width_exponent", 1e6, "train.lr_width_exponent"),
        ("train.embedding_lr_factor", 0, "train.embedding_lr_factor"),
        ("train.lr_decay_from_tokens", 0, "train.lr_decay_from_tokens"),
        ("train.batch_tokens", -128, "train.batch_tokens"),
        ("ladder.widths", [16, 0], "ladder.widths"),
        ("ladder.tokens", [10**6, 10**19], "ladder.tokens"),
        ("ladder.depths", [1, 0], "ladder.depths"),
        ("ladder.heads", [-1, 1], "ladder.heads"),
        ("ladder.max_flops", 0, "ladder.max_flops"),
        ("holdout", {"width": 0, "tokens": 10**6}, "holdout.width"),
        ("holdout", {"width": 16, "tokens": 0}, "holdout.tokens"),
        ("holdout", {"width": 16, "tokens": 10**6, "depth": 0}, "holdout.depth"),
        ("holdout", {"width": 16, "tokens": 10**6, "heads": 0}, "holdout.heads"),
        ("plan.flops", 0, "plan.flops"),
        ("plan.loss", -1.0, "plan.loss"),
        ("plan.n_params", 0, "plan.n_params"),
        ("plan.n_tokens", 0, "plan.n_tokens"),
        ("plan.n_devices", 0, "plan.n_devices"),
        ("launch.slots", -1, "launch.slots"),
        ("launch.threads", -2, "launch.threads"),
        ("launch.threads", 10**6, "launch.threads"),
        ("launch.checkpoint_seconds", 0, "launch.checkpoint_seconds"),
    ],
)
def test_refusals_name_the_key(key: str, value: object, word: str) -> None:
    with pytest.raises(StudyError) as caught:
        study_from_mapping(_with(key, value), place="study.toml")
    text = str(caught.value)
    assert text.startswith("study.toml: ")
    assert word in text
    assert "\n" not in text


def _numeric_keys() -> list[tuple[str, str]]:
    found = []
    for part in fields(StudyConfig):
        section = type(getattr(FULL, part.name))
        for key in fields(section) if is_dataclass(section) else ():
            if "int" in str(key.type) or "float" in str(key.type):
                found.append((part.name, key.name))
    return found


FULL = study_from_mapping({**GOOD, "holdout": {"width": 64, "tokens": 10**7}})


@pytest.mark.parametrize(("section", "key"), _numeric_keys(), ids=lambda part: str(part))
def test_every_number_has_bounds(section: str, key: str) -> None:
    data = copy.deepcopy(GOOD)
    if section == "holdout":
        data["holdout"] = {"width": 64, "tokens": 10**7}
    is_list = key in ("widths", "tokens", "depths", "heads") and section == "ladder"
    data.setdefault(section, {})[key] = [-(10**9), -(10**9) - 1] if is_list else -(10**9)
    with pytest.raises(StudyError, match=rf"^study: {section}\.{key} = "):
        study_from_mapping(data)


def test_micro_batches_divide_the_batch() -> None:
    data = _with("launch.micro_batch_tokens", 256)  # defaults: batch 1024, context 128
    assert study_from_mapping(data).launch.micro_batch_tokens == 256
    assert study_from_mapping(GOOD).launch.micro_batch_tokens == 0
    for value in (64, 192, 384, 2048, -128):
        with pytest.raises(StudyError, match=r"launch\.micro_batch_tokens"):
            study_from_mapping(_with("launch.micro_batch_tokens", value))


def test_two_plan_constraints_are_refused() -> None:
    with pytest.raises(StudyError, match="at most one"):
        study_from_mapping(_with("plan", {"flops": 1e18, "loss": 2.0}))


def test_missing_key_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"ladder.* is missing"):
        study_from_mapping({"data": GOOD["data"]})
    with pytest.raises(StudyError, match="isoflop init"):
        read_study(tmp_path / "none.toml")


def test_overrides(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        '[[data.domains]]\nname="a"\nsource="path:a"\n[ladder]\nwidths=[16]\ntokens=[1000]\n'
    )
    study = read_study(path, overrides=["plan.hardware=TPU v4", "ladder.widths=[8, 24]"])
    assert study.plan.hardware == "TPU v4"
    assert study.ladder.widths == (8, 24)
    for wrong in ("seed", "=3", "plan.=3", ".flops=3"):
        with pytest.raises(StudyError, match=r"a\.b=value"):
            read_study(path, overrides=[wrong])
    with pytest.raises(StudyError, match=r"study\.toml --set plan\.mfu=2: plan\.mfu = 2"):
        read_study(path, overrides=["plan.mfu=2"])


def test_schedule_is_warmup_hold_and_one_minus_sqrt() -> None:
    schedule = Schedule(kind="wsd", warmup_tokens=100, n_tokens=1000, cooldown_tokens=200)
    assert schedule.factor(0, 10) == pytest.approx(0.1)
    assert schedule.factor(400, 410) == 1.0
    assert schedule.factor(800, 810) == 1.0
    # 1 - sqrt(1/4): a quarter into the cooldown (arXiv:2405.18392, section 4).
    assert schedule.factor(850, 860) == pytest.approx(0.5)


def test_the_hold_can_fall_as_a_power_of_tokens() -> None:
    """(from/t)^0.5 after `from`; the cooldown starts from where the hold is (arXiv:2408.13359)."""
    schedule = Schedule(
        kind="wsd", warmup_tokens=10, n_tokens=1000, cooldown_tokens=200,
        decay_exponent=0.5, decay_from_tokens=100,
    )  # fmt: skip
    assert schedule.factor(40, 50) == 1.0
    assert schedule.factor(390, 400) == pytest.approx(0.5)
    assert schedule.factor(800, 810) == pytest.approx((1 / 8) ** 0.5)
    assert schedule.factor(850, 860) == pytest.approx((1 / 8) ** 0.5 / 2)
    with pytest.raises(InputError, match="decay_exponent"):
        Schedule(kind="trunk", warmup_tokens=10, decay_exponent=0.5)


@pytest.mark.parametrize("cooldown", [0, 1000, 950])
def test_impossible_schedules_are_refused(cooldown: int) -> None:
    with pytest.raises(InputError):
        Schedule(kind="wsd", warmup_tokens=100, n_tokens=1000, cooldown_tokens=cooldown)


def test_run_id_is_the_hash_of_the_science(tiny_trunk: RunConfig) -> None:
    again = RunConfig.from_json(tiny_trunk.to_json(), place="x")
    assert again == tiny_trunk
    assert again.run_id == tiny_trunk.run_id
    data = tiny_trunk.to_json()
    data["seed"] = 4
    assert RunConfig.from_json(data, place="x").run_id != tiny_trunk.run_id


@pytest.mark.parametrize("change", [{"version": 99}, {"shape": {}}, {"shape": None}])
def test_foreign_run_configurations_are_refused(
    tiny_trunk: RunConfig, change: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=r"^here: "):
        RunConfig.from_json({**tiny_trunk.to_json(), **change}, place="here")


@pytest.mark.parametrize(
    ("keys", "n_ids"),
    [
        ({}, 512), ({"vocab_size": 4096}, 4096),
        ({"tokenizer": "r50k_base"}, 50_257), ({"tokenizer": "cl100k_base"}, 100_277),
        ({"tokenizer": "o200k_base", "vocab_size": 200_019}, 200_019),
        ({"tokenizer": "path:t.json", "vocab_size": 70_000, "end_token": "</s>"}, 70_000),
    ],
)  # fmt: skip
def test_the_tokenizer_tells_the_vocabulary(keys: dict[str, Any], n_ids: int) -> None:
    data = copy.deepcopy(GOOD)
    data["data"].update({"vocab_size": None} | keys)
    assert study_from_mapping(data).data.n_ids == n_ids


def test_a_built_in_tokenizer_has_its_own_vocabulary() -> None:
    data = copy.deepcopy(GOOD)
    data["data"].update({"tokenizer": "cl100k_base", "vocab_size": 512})
    with pytest.raises(StudyError, match=r"vocab_size = 512: `vocab_size = 100277`.*Leave it out"):
        study_from_mapping(data)


def test_shapes_check_their_heads() -> None:
    with pytest.raises(InputError, match="n_heads"):
        ModelShape(vocab_size=300, width=10, depth=1, n_heads=4, ff_width=8, context=8)
    with pytest.raises(InputError, match="even head size"):
        ModelShape(vocab_size=300, width=12, depth=1, n_heads=4, ff_width=8, context=8)
