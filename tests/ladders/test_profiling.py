"""Timed steps replace the formula where they can be had, and say why where they cannot."""

import importlib.util
import json
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from isoflop.accounting import cost_usd, find_accelerator
from isoflop.ladders import design_ladder, planned_runs
from isoflop.ladders.design import CorpusFacts, Ladder
from isoflop.ladders.estimate import priced
from isoflop.ladders.profiling import StepProfile, key_of, profile_ladder
from isoflop.specs import (
    DataSection,
    DomainSection,
    LadderSection,
    LaunchSection,
    ModelSection,
    StudyConfig,
    TrainSection,
)

FACTS = CorpusFacts(corpus_hash="c", train_tokens={"a": 10**9})


def ladder(*widths: int) -> Ladder:
    config = StudyConfig(
        data=DataSection(domains=(DomainSection(name="a", source="path:x"),), vocab_size=300),
        model=ModelSection(context=16, n_heads=2, depth=1),
        train=TrainSection(batch_tokens=64),
        ladder=LadderSection(widths=widths, tokens=(10_000, 20_000)),
    )
    return design_ladder(config, FACTS)


def silent(_share: float, _label: str) -> None:
    pass


def test_twenty_steps_of_every_shape_are_timed_here() -> None:
    pytest.importorskip("torch", reason="times steps of the trainer")
    made, launch = ladder(8, 16), LaunchSection(device="cpu", dtype="float32")
    found = profile_ladder(made, launch=launch, threads=1, progress=silent)
    assert found.words == ()
    assert set(found.steps) == {key_of(job.trunk) for job in made.pilots}
    for step in found.steps.values():
        assert 0 < step.low <= step.seconds <= step.high
        assert step.memory_bytes > 50e6  # a process that has imported torch
        assert (step.device, step.dtype) == ("cpu", "float32")


def test_of_several_processes_one_is_timed_with_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    wishes: list[dict[str, Any]] = []

    def run(_words: object, **options: Any) -> subprocess.CompletedProcess[str]:
        wishes.append(json.loads(options["input"]))
        return subprocess.CompletedProcess([], 1, "", "planted")

    monkeypatch.setattr(subprocess, "run", run)
    launch = LaunchSection(processes=2)
    profile_ladder(ladder(8), launch=launch, threads=1, progress=silent)
    assert wishes[0]["sequences"] == 2  # 4 sequences of a batch


def test_a_device_that_is_not_there_leaves_the_formula_with_a_word() -> None:
    torch = pytest.importorskip("torch", reason="asks the trainer for a device")
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    made, launch = ladder(8, 16), LaunchSection(device="cuda")
    found = profile_ladder(made, launch=launch, threads=1, progress=silent)
    assert found.steps == {}
    (word,) = found.words
    assert "width 8" in word
    assert "no CUDA device is usable here" in word
    assert word.endswith("the formula stands in for it and 1 larger")


def test_without_torch_the_formula_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    found = profile_ladder(ladder(8), launch=LaunchSection(), threads=1, progress=silent)
    assert found.steps == {}
    assert "torch is not installed" in found.words[0]


def test_a_timed_run_takes_its_steps_times_their_seconds() -> None:
    made = ladder(8)
    (job,) = made.pilots
    step = StepProfile(
        seconds=0.01, low=0.008, high=0.02, memory_bytes=123, device="cpu", dtype="float32"
    )
    kwargs: dict[str, Any] = {"threads": 1, "holdout_threads": 1}
    plain = planned_runs(made, **kwargs)
    timed = planned_runs(made, **kwargs, profile={key_of(job.trunk): step})
    for before, after in zip(plain, timed, strict=True):
        assert before.seconds_low < before.seconds < before.seconds_high
        assert (before.measured, after.measured) == (False, True)
        assert after.memory_bytes == 123
    branch = timed[-1]
    steps = job.branches[-1].schedule.cooldown_tokens / 64
    assert branch.seconds == pytest.approx(0.01 * steps)
    assert branch.seconds_low == pytest.approx(0.008 * steps)
    assert branch.seconds_high >= 0.02 * steps


def test_the_price_has_the_range_of_time_and_rent_together() -> None:
    (run, *_) = planned_runs(ladder(8), threads=1, holdout_threads=1)
    accelerator = find_accelerator("H100-SXM")
    timed = replace(run, measured=True, seconds=3600.0, seconds_low=1800.0, seconds_high=7200.0)
    found = priced(timed, 1e15, accelerator, 0.4)
    low, high = cost_usd(0.5, accelerator), cost_usd(2.0, accelerator)
    assert low is not None
    assert high is not None
    assert found.cost_usd == (low[0], high[1])
    assert found.device_hours == 1.0
    guessed = priced(run, 1e15, accelerator, 0.4)
    assert guessed.seconds == pytest.approx(1e15 / (accelerator.bf16_tflops * 1e12 * 0.4))
    shared = priced(run, 1e15, accelerator, 0.4, n_devices=4)
    assert shared.seconds == pytest.approx(guessed.seconds / 4)
    assert shared.device_hours == pytest.approx(guessed.device_hours)
    four = priced(timed, 1e15, accelerator, 0.4, n_devices=4)
    assert (four.seconds, four.device_hours) == (3600.0, 4.0)
