"""Run folders of every past version are read: each as a training of its time wrote it.

Config: version 1 from the start; fields came later and are absent where they have their default.
Points: first without tasks, then with tasks and gradients, then with distinct tokens.
"""

import hashlib
import json

import pytest

from isoflop.runs import Point, RunFolder, Status, read_runs

FIRST_CONFIG = {
    "data": {"corpus_hash": "55d0", "repeat": False, "weights": [["speech", 0.5], ["code", 0.5]]},
    "optimiser": {
        "batch_tokens": 512, "beta1": 0.9, "beta2": 0.95, "embedding_lr_factor": 3.0,
        "eps": 1e-10, "grad_clip": 1.0, "lr": 0.01, "weight_decay": 0.1,
    },
    "schedule": {
        "cooldown_tokens": 799744, "decay_exponent": 0.5, "decay_from_tokens": 250000,
        "kind": "wsd", "n_tokens": 3999744, "warmup_tokens": 131072,
    },
    "seed": 2,
    "shape": {
        "context": 64, "depth": 2, "ff_width": 256, "mlp": "relu2", "n_heads": 4,
        "positions": "rope", "qk_norm": True, "tied_head": False, "token_shift": True,
        "vocab_size": 512, "width": 64,
    },
    "trunk": "cedcb8fff1e8",
    "version": 1,
}  # fmt: skip
FIRST_POINT = {
    "bpb": 1.85, "flops": 3145526673408.0, "kind": "final", "loss": 2.6058, "loss_code": 2.69,
    "loss_speech": 2.68, "lr": 8.9e-07, "n_tokens": 3999744, "step": 7812, "wall_s": 118.9,
}  # fmt: skip
TASKS = {"acc_code": 0.4, "task_loss_code": 1.1, "grad_norm": 0.7, "n_skipped": 1, "n_spikes": 2}
LATER_SHAPE = {"norm": "layer", "bias": True, "n_kv_heads": 2, "rope_base": 5e5, "n_experts": 4}

CONFIGS = {
    "first": FIRST_CONFIG,
    "cosine": {
        **FIRST_CONFIG,
        "schedule": {**FIRST_CONFIG["schedule"], "kind": "cosine", "cooldown_tokens": 0,
                     "final_factor": 0.2, "decay_exponent": 0.0, "decay_from_tokens": 0},
        "trunk": None,
    },
    "families": {**FIRST_CONFIG, "shape": {**FIRST_CONFIG["shape"], **LATER_SHAPE}},
    "repeated": {
        **FIRST_CONFIG,
        "data": {**FIRST_CONFIG["data"], "repeat": True, "unique_tokens": [["code", 1000]]},
    },
}  # fmt: skip
POINTS = {
    "first": (FIRST_POINT, {}),
    "tasks": ({**FIRST_POINT, **TASKS}, {"n_skipped": 1, "n_spikes": 2, "grad_norm": 0.7}),
    "unique": ({**FIRST_POINT, **TASKS, "n_unique_tokens": 9000}, {"n_unique_tokens": 9000}),
}


def written(root, config, point):
    text = json.dumps(config, sort_keys=True, separators=(",", ":"))
    run_id = hashlib.sha256(text.encode()).hexdigest()[:12]
    folder = RunFolder(root / "runs" / run_id)
    folder.path.mkdir(parents=True)
    (folder.path / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True))
    (folder.path / "metrics.jsonl").write_text(json.dumps(point, sort_keys=True) + "\n")
    return folder


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("point", POINTS)
def test_a_folder_of_every_version_is_read(tmp_path, config, point):
    line, later = POINTS[point]
    folder = written(tmp_path, CONFIGS[config], line)
    # Read, it is what was written: the id is the hash of what lies there.
    assert folder.config().to_json() == CONFIGS[config]
    (only,) = folder.points()
    assert (only.loss, only.step, only.loss_by_domain["code"]) == (2.6058, 7812, 2.69)
    assert folder.last() == folder.final() == only
    for name, value in later.items():
        assert getattr(only, name) == value
    if point == "first":
        assert (only.n_skipped, only.grad_norm, only.n_unique_tokens) == (0, None, None)
    assert read_runs(tmp_path)["loss"].tolist() == [2.6058]


def test_a_status_of_every_version_is_read():
    assert Status.from_json({"state": "queued"}).attempt == 0
    whole = {
        "attempt": 1,
        "heartbeat": 1.5,
        "n_tokens": 9,
        "reason": "",
        "state": "done",
        "step": 7,
    }
    assert Status.from_json(whole) == Status(**whole)


def test_points_are_written_with_the_keys_of_their_version():
    line, _ = POINTS["unique"]
    assert Point.from_json(line).to_json() == line
