"""Hugging Face: the states of a real Trainer and results of the real lm-eval come back whole."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoflop._errors import RunError
from isoflop.runs.readers import READERS

Written = Callable[[str], tuple[Path, Any]]
READ = READERS["trainer_state"].read
READ_RESULTS = READERS["lm_eval"].read


def expected(logged: list[dict[str, Any]]) -> dict[str, tuple[list[int], list[float]]]:
    """Series of what the Trainer handed out, without the summary at its end."""
    series: dict[str, tuple[list[int], list[float]]] = {}
    for entry in logged:
        if "train_samples_per_second" not in entry:
            for key, value in entry.items():
                if key != "step":
                    series.setdefault(key, ([], []))[0].append(entry["step"])
                    series[key][1].append(value)
    return series


def test_a_resumed_training_is_one_run_with_its_whole_history(written: Written) -> None:
    folder, logged = written("trainer")
    assert READERS["trainer_state"].sniff(folder)
    (run,) = READ(folder)
    series = expected(logged)
    assert {"loss", "eval_loss", "learning_rate", "num_input_tokens_seen"} <= set(run.series)
    assert set(run.series) == set(series)
    for key, (steps, values) in series.items():
        np.testing.assert_array_equal(run.series[key].step, steps)
        np.testing.assert_array_equal(run.series[key].value, values)
    assert run.state == "done"
    assert run.name == "out"
    assert run.summary["train_loss"] == logged[-1]["train_loss"]
    assert run.summary["global_step"] == 30
    assert run.summary["num_input_tokens_seen"] == 30 * 4 * 8
    assert run.config["max_steps"] == 30
    assert run.problems == ()


def test_of_checkpoints_the_newest_that_is_whole_is_read(written: Written, tmp_path: Path) -> None:
    folder, logged = written("trainer")
    shutil.copytree(folder / "out", tmp_path / "out")
    (tmp_path / "out" / "trainer_state.json").unlink()
    (run,) = READ(tmp_path / "out")
    assert run.series["loss"].step[-1] == 30
    # The model's shape lies beside the state.
    assert (run.config["n_embd"], run.config["n_layer"]) == (8, 1)
    torn = tmp_path / "out" / "checkpoint-30" / "trainer_state.json"
    torn.write_text(torn.read_text()[:500])
    (run,) = READ(tmp_path / "out")
    assert run.series["loss"].step[-1] == 20
    assert run.state == "done"
    assert "checkpoint-30" in run.problems[0]
    np.testing.assert_array_equal(run.series["loss"].value, expected(logged)["loss"][1][:10])


def test_results_of_an_evaluation_equal_those_reported(written: Written) -> None:
    folder, truth = written("lm_eval")
    assert READERS["lm_eval"].sniff(folder)
    (run,) = READ_RESULTS(folder)
    assert run.summary["parity/acc"] == truth["acc,none"]
    assert run.summary["parity/acc_stderr"] == truth["acc_stderr,none"]
    assert run.config["n_shot.parity"] == 2
    assert run.config["version.parity"] == 3.0
    assert run.config["n_samples.parity.effective"] == 40
    assert run.config["model"] == "hf"
    assert run.config["model_args.dtype"] == "float32"
    assert run.state == "done"


def test_other_layouts_of_results_are_read(tmp_path: Path) -> None:
    # lighteval, and lm-eval before filters.
    old = {
        "results": {"arc|5": {"acc": 0.25, "acc_stderr": 0.01, "em": "N/A"}},
        "config_general": {"model_name": "m", "model_args": "pretrained=x,dtype=y"},
    }
    (tmp_path / "results_2024.json").write_text(json.dumps(old))
    (run,) = READ_RESULTS(tmp_path)
    assert run.summary == {"arc|5/acc": 0.25, "arc|5/acc_stderr": 0.01}
    assert run.config["model_args.pretrained"] == "x"
    assert run.name == "m"


def test_a_run_between_the_checkpoints_of_another_is_its_own(tmp_path: Path) -> None:
    for name, step in (("", 30), ("checkpoint-9", 9), ("a", 5), ("z/checkpoint-2", 2)):
        folder = tmp_path / "out" / name
        folder.mkdir(parents=True, exist_ok=True)
        state = {"log_history": [{"step": step, "loss": 1.0}], "global_step": step}
        (folder / "trainer_state.json").write_text(json.dumps(state))
    runs = {run.name: run for run in READ(tmp_path)}
    assert {name: run.summary["global_step"] for name, run in runs.items()} == {
        "out": 30, "a": 5, "z": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"log_history": 3, "results": 3}', "[" * 100_000, "\0", "1" * 9999]
)
def test_json_of_another_kind_is_refused_by_name(tmp_path: Path, content: str) -> None:
    for name, read in (("trainer_state.json", READ), ("results_x.json", READ_RESULTS)):
        (tmp_path / name).write_text(content)
        with pytest.raises(RunError, match=name):
            list(read(tmp_path / name))


def test_entries_that_are_none_are_problems(tmp_path: Path) -> None:
    state = {
        "log_history": [3, {"loss": 1.0}, {"step": 1, "loss": "x"}, {"step": 2, "loss": 1e400}]
    }
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    (run,) = READ(tmp_path)
    np.testing.assert_array_equal(run.series["loss"].value, [np.inf])
    assert len(run.problems) == 2
