"""Every kind of model and parametrisation trains and resumes bitwise; old files still load."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from isoflop.runs import Point, RunFolder
from isoflop.specs import Optimiser, Parametrisation, RunConfig
from isoflop.specs.shape import PRESETS
from isoflop.training import Transformer, train_run
from isoflop.training.loop import Trainer
from isoflop.training.optimiser import parameter_groups

WISH: dict[str, Any] = {
    "threads": 1, "micro_batch": 0, "device": "cpu", "dtype": "float32", "compile": False,
    "checkpoint_seconds": 1e9,
}  # fmt: skip
MUP = Parametrisation(kind="mup", base_width=8, base_head_width=4, init_std=0.1)
KINDS: dict[str, tuple[dict[str, Any], Parametrisation]] = {
    "gpt2, standard": (PRESETS["gpt2"], Parametrisation(kind="standard")),
    "llama with shared keys, mup": ({**PRESETS["llama"], "n_kv_heads": 1}, MUP),
    "experts, completep": (
        {"n_experts": 3, "n_shared_experts": 1, "bias": True},
        replace(MUP, kind="completep", base_depth=2),
    ),
    "experts, plain": ({"n_experts": 4, "n_active_experts": 1}, Parametrisation()),
}


def train(corpus: Path, runs: Path, trunk: RunConfig, branch: RunConfig) -> Point:
    folders = [RunFolder.create(runs, run) for run in (trunk, branch)]
    train_run(corpus, folders[0], holds=[branch.schedule.hold_tokens], wish=WISH)
    train_run(corpus, folders[1], holds=[], wish=WISH)
    point = folders[1].final()
    assert point is not None
    return replace(point, wall_s=0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_and_a_resumed_run_is_the_same_bit_for_bit(
    corpus: Path, tmp_path: Path, tiny_trunk: RunConfig, tiny_branch: RunConfig, kind: str
) -> None:
    fields, own = KINDS[kind]
    shape = replace(tiny_trunk.shape, depth=2, **fields)
    trunk = replace(tiny_trunk, shape=shape, parametrisation=own)
    branch = replace(tiny_branch, shape=shape, parametrisation=own, trunk=trunk.run_id)
    whole = train(corpus, tmp_path / "whole", trunk, branch)
    assert whole.loss < math.log(300) - 0.5
    folder = RunFolder.create(tmp_path / "parts", trunk)
    trainer = Trainer(trunk, folder, corpus, {**WISH, "device": "cpu"})
    while trainer.step < 20:
        trainer.train_step()
    trainer.save(keep=False)
    assert train(corpus, tmp_path / "parts", trunk, branch) == whole


OLD_NAMES = [
    "embedding", "final_norm", "head", "blocks.0.attention_norm", "blocks.0.mlp_norm",
    "blocks.0.attention.qkv", "blocks.0.attention.out", "blocks.0.attention.shift",
    "blocks.0.attention.gain", "blocks.0.mlp.up", "blocks.0.mlp.down",
]  # fmt: skip
"""Parameters of the first version's model, in its order: checkpoints hold them by name, and the
optimiser's state by place."""


def test_a_checkpoint_of_the_first_version_finds_its_places(tiny_trunk: RunConfig) -> None:
    model = Transformer(tiny_trunk.shape)
    assert [name for name, _ in model.named_parameters()] == OLD_NAMES
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    settings = Optimiser(lr=0.1, batch_tokens=64, embedding_lr_factor=3.0)
    groups = parameter_groups(
        model.named_parameters(), model.shape, settings, tiny_trunk.parametrisation
    )
    matrices = [n for n in OLD_NAMES if n.endswith(("head", "qkv", "out", "up", "down"))]
    vectors = [n for n in OLD_NAMES if n not in (*matrices, "embedding")]
    assert [[names[id(p)] for p in group["params"]] for group in groups] == [
        matrices, ["embedding"], vectors
    ]  # fmt: skip
    rules = [(group["lr_factor"], group["weight_decay"], group["eps"]) for group in groups]
    assert rules == [(1.0, 0.1, 1e-10), (3.0, 0.0, 1e-10), (1.0, 0.0, 1e-10)]


def test_the_first_versions_draws_are_the_same(tiny_trunk: RunConfig) -> None:
    """Embedding, then the matrices that read the stream, layer by layer; nothing else draws."""
    shape = replace(tiny_trunk.shape, depth=2)
    torch.manual_seed(5)
    model = Transformer(shape)
    torch.manual_seed(5)
    expected = {"embedding": torch.empty(300, 16).normal_(0.0, 0.5)}
    for i in range(2):
        expected[f"blocks.{i}.attention.qkv"] = torch.empty(48, 16).normal_(0.0, 0.25)
        expected[f"blocks.{i}.mlp.up"] = torch.empty(32, 16).normal_(0.0, 0.25)
    for name, parameter in model.named_parameters():
        if name in expected:
            assert torch.equal(parameter, expected[name])
        else:
            value = {"shift": 0.5, "gain": 1.0}.get(name.rpartition(".")[2], 0.0)
            value = 1.0 if name.endswith("norm") else value
            assert torch.equal(parameter, torch.full_like(parameter, value))
