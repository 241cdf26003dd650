"""Files that the real trackers wrote, all the way into tables: what was logged, every digit."""

import math
from pathlib import Path

import numpy as np

from isoflop.runs import Asked, import_runs, read_foreign, read_runs

ASKED = Asked(n_params=(("*", 1e6),), convention="total", batch_tokens=(("*", 100.0),))


def test_a_resumed_trainer_is_one_run_with_counted_parameters(written):
    folder, truth = written("trainer")
    (run,) = read_foreign([folder]).runs
    # 4·8² + 2·8·16 of one layer and the head 32·8.
    assert run.n_params["non_embedding_with_head"] == 256 + 256 + 256
    logged = {row["step"]: row["loss"] for row in truth if "loss" in row}
    seen = {row["step"]: row["eval_loss"] for row in truth if "eval_loss" in row}
    tokens = {row["step"]: row["num_input_tokens_seen"] for row in truth if "loss" in row}
    points = {name: column.tolist() for name, column in run.points.items()}
    at = dict(zip(points["step"], range(len(points["step"])), strict=True))
    assert {step: points["train_loss"][i] for step, i in at.items() if step in logged} == logged
    losses = {s: points["loss"][i] for s, i in at.items() if not math.isnan(points["loss"][i])}
    assert losses == seen
    assert {step: points["n_tokens"][i] for step, i in at.items() if step in tokens} == tokens
    table = read_runs(folder)
    assert table["loss"].tolist() == [seen[max(seen)]]


def test_a_resumed_run_of_wandb_is_one(written):
    folder, _ = written("wandb")
    reading = read_foreign([folder], ASKED)
    assert len(reading.runs) == 1
    assert len(reading.runs[0].segments) == len(list(Path(folder).rglob("*.wandb")))


def test_every_tracker_imports_and_imports_again(written, tmp_path):
    folders = [written(name)[0] for name in ("wandb", "mlflow", "tensorboard", "trackio")]
    first = import_runs(read_foreign(folders, ASKED, home=tmp_path), tmp_path)
    assert {one.run.tool for one in first} >= {"wandb", "mlflow", "tensorboard"}
    assert sum(one.n_new for one in first) > 100
    again = import_runs(read_foreign(folders, ASKED, home=tmp_path), tmp_path)
    assert [(one.is_new, one.n_new) for one in again] == [(False, 0)] * len(first)
    table = read_runs(tmp_path, kind="any")
    assert np.isfinite(table["loss"]).all()
    assert (table["n_params"] == 1e6).all()
