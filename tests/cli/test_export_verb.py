"""`isoflop export`: a process of the trainer writes the files, the verb tells what it wrote."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isoflop.cli.entry import run
from isoflop.runs import RunFolder
from isoflop.specs import RunConfig
from isoflop.specs.shape import PRESETS
from optional import need_package


@pytest.fixture(autouse=True)
def packages() -> None:
    """torch and safetensors; must be there in CI, skips elsewhere."""
    need_package("torch", "train")
    need_package("safetensors", "hf")


def trained(config: RunConfig, place: Path) -> Path:
    """A run folder with one checkpoint."""
    from isoflop.training import Transformer
    from isoflop.training.checkpoint import Checkpoint, save

    folder = RunFolder.create(place, config)
    state: dict[str, Any] = Transformer(config.shape).state_dict()
    made = Checkpoint(step=7, wall_s=0.0, model=state, optimiser={})
    save(folder.checkpoints, made, keep=False)
    return folder.path


def test_it_writes_a_model_and_says_what(
    tiny_trunk: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = replace(tiny_trunk.shape, **PRESETS["llama"])
    folder = trained(replace(tiny_trunk, shape=shape), tmp_path / "runs")
    assert run(["export", str(folder), "--to", str(tmp_path / "hf"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    assert (result["model_type"], result["step"]) == ("llama", 7)
    assert (result["run"], result["tokenizer"]) == (folder.name, False)
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["hidden_size"] == shape.width
    assert run(["export", str(folder), "--to", str(tmp_path / "hf")]) == 2
    assert "in use already" in capsys.readouterr().err


def test_what_is_not_exact_is_one_line_and_two(
    tiny_trunk: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained(tiny_trunk, tmp_path / "runs")
    assert run(["export", str(folder), "--to", str(tmp_path / "hf")]) == 2
    said = capsys.readouterr().err
    assert "token_shift = True" in said
    assert "train with token_shift = false" in said
    assert "Traceback" not in said
    assert not (tmp_path / "hf").exists()


def test_no_folder_and_a_missing_package_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["export", str(tmp_path / "none"), "--to", str(tmp_path / "hf")]) == 2
    assert "STUDY/runs/ID" in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run(["export", str(tmp_path), "--to", str(tmp_path / "hf")]) == 2
    assert "pip install 'isoflop[train]'" in capsys.readouterr().err
