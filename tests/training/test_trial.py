"""The trial measures, is repaid, leaves no trace, and never prefers what is slower."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from isoflop._errors import RunError
from isoflop.runs import RunFolder
from isoflop.specs import RunConfig, Schedule
from isoflop.training import Engine, train_run, trial
from isoflop.training.engine import StepResult
from isoflop.training.execution import settle
from isoflop.training.trainer import Trainer
from isoflop.training.trial import Candidate, hold_trial

WISH: dict[str, Any] = {
    "threads": 1, "micro_batch": "auto", "device": "cpu", "dtype": "float32", "compile": "auto",
    "checkpoint_seconds": 1e9,
}  # fmt: skip
PLAIN = {**WISH, "micro_batch": 0, "compile": False}
FREE = {"micro_batch", "compile", "threads", "dtype"}
# PyTorch's own import of its compiler warns of PyTorch's own use of what it has deprecated.
_COMPILES = pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")
Speed = Callable[[Candidate], float | str]


@pytest.fixture
def run(tiny_trunk: RunConfig) -> RunConfig:
    """A cosine of 40 steps of 8 sequences."""
    return replace(
        tiny_trunk,
        schedule=Schedule(kind="cosine", warmup_tokens=256, n_tokens=40 * 128),
        optimiser=replace(tiny_trunk.optimiser, batch_tokens=128),
    )


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Speed], list[Candidate]]:
    """Candidates get the speed of a function instead of a measured one; those that were tried."""

    def install(speed: Speed) -> list[Candidate]:
        tried: list[Candidate] = []

        def measure(_bench: Any, candidate: Candidate) -> Candidate:
            found = speed(candidate)
            known = {"fault": found} if isinstance(found, str) else {"tokens_per_s": found}
            tried.append(replace(candidate, **known))
            return tried[-1]

        monkeypatch.setattr(trial._Bench, "measure", measure)
        return tried

    return install


def _hold(run: RunConfig, n_tokens: int, **changes: Any) -> dict[str, Any]:
    return hold_trial(run, {**PLAIN, **changes}, free=FREE, n_sequences=8, n_tokens=n_tokens)


def test_a_short_training_is_not_kept_waiting(run: RunConfig, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    began = time.monotonic()
    folder = RunFolder.create(tmp_path, run)
    execution = settle(folder, WISH, run, n_tokens=run.n_tokens)
    assert time.monotonic() - began < 20
    assert torch.equal(torch.get_rng_state(), state)
    assert (execution["micro_batch"], execution["compile"]) == (0, False)
    (candidate,) = execution["trial"]["candidates"]
    assert candidate["tokens_per_s"] > 0
    assert "do not repay" in execution["trial"]["word"]
    assert json.loads((folder.path / "execution.json").read_text()) == execution
    assert settle(folder, {**WISH, "micro_batch": 4}, run, n_tokens=1) == execution  # reused


def test_numbers_do_not_depend_on_the_trial(
    corpus: Path, tmp_path: Path, run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_WORTH_S", 0.0)
    monkeypatch.setattr(trial, "_MEASURE_S", 0.01)
    folder = RunFolder.create(tmp_path / "auto", run)
    train_run(corpus, folder, holds=[], wish=WISH)
    execution = folder.execution()
    assert execution is not None
    assert len(execution["trial"]["candidates"]) > 1
    chosen = {name: execution[name] for name in ("threads", "micro_batch", "compile", "dtype")}
    again = RunFolder.create(tmp_path / "told", run)
    train_run(corpus, again, holds=[], wish={**WISH, **chosen})
    points = [[replace(point, wall_s=0.0) for point in one.points()] for one in (folder, again)]
    assert points[0] == points[1]


def test_the_fastest_wins_and_what_did_not_work_is_recorded(
    run: RunConfig, scripted: Callable[[Speed], list[Candidate]]
) -> None:
    def speed(one: Candidate) -> float | str:
        if one.micro_batch == 0 and not one.compile:
            return "out of memory"
        return {4: 100.0, 2: 150.0, 1: 90.0}.get(one.micro_batch, 10.0) * (2 if one.compile else 1)

    tried = scripted(speed)
    chosen = _hold(run, 10**9)
    assert {k: chosen[k] for k in ("micro_batch", "compile", "dtype")} == {
        "micro_batch": 2, "compile": True, "dtype": "bfloat16",
    }  # fmt: skip
    assert [(one.micro_batch, one.compile) for one in tried] == [
        (0, False), (4, False), (2, False), (1, False),
        (2, True), (0, True), (4, True), (1, True),
    ]  # fmt: skip
    assert chosen["trial"]["candidates"][0]["fault"] == "out of memory"


@pytest.mark.parametrize("gain", [0.5, 1.0, 1.03])
def test_what_is_not_clearly_faster_is_not_chosen(
    run: RunConfig, scripted: Callable[[Speed], list[Candidate]], gain: float
) -> None:
    tried = scripted(lambda one: 100.0 * (gain if one.compile or one.micro_batch else 1.0))
    chosen = _hold(run, 10**9)
    assert any(one.compile for one in tried)
    assert (chosen["micro_batch"], chosen["compile"], chosen["dtype"]) == (0, False, "float32")


def test_of_compiled_sizes_the_fastest_is_taken(
    run: RunConfig, scripted: Callable[[Speed], list[Candidate]]
) -> None:
    scripted(lambda one: 200.0 + 3.0 * (one.micro_batch == 4) if one.compile else 100.0)
    assert _hold(run, 10**9)["micro_batch"] == 4


@pytest.mark.parametrize(
    ("seconds", "kinds"),
    [(10, {False}), (100, {False}), (1000, {False, True}), (10_000, {False, True})],
)
def test_compilation_must_be_repaid(
    run: RunConfig, scripted: Callable[[Speed], list[Candidate]], seconds: int, kinds: set[bool]
) -> None:
    tried = scripted(lambda one: 100.0)
    word = _hold(run, 100 * seconds)["trial"].get("word", "")
    assert {one.compile for one in tried} == kinds
    assert ("repay" in word) == (seconds < 1000)
    assert (len(tried) == 1) == (seconds == 10)
    # Equal speeds: the whole batch is compiled; its halves, quarters, … only in a long training.
    sizes = [one.micro_batch for one in tried if one.compile]
    assert sizes == {1000: [0], 10_000: [0, 4, 2, 1]}.get(seconds, [])


def test_fewer_threads_are_tried_only_where_their_number_is_free(
    run: RunConfig, scripted: Callable[[Speed], list[Candidate]]
) -> None:
    def speed(one: Candidate) -> float:
        return 100.0 / one.threads

    tried = scripted(speed)
    assert _hold(run, 10**9, threads=2)["threads"] == 1
    tried.clear()
    told = hold_trial(run, {**PLAIN, "threads": 2}, free={"compile"}, n_sequences=8, n_tokens=10**9)
    assert told["threads"] == 2
    assert {one.threads for one in tried} == {2}


def test_without_a_compiler_it_says_so_and_trains(
    corpus: Path, tmp_path: Path, run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    folder = RunFolder.create(tmp_path, run)
    train_run(corpus, folder, holds=[], wish={**PLAIN, "compile": True})
    execution = folder.execution()
    assert execution is not None
    assert execution["compile"] is False
    assert "no compiler 'g++'" in execution["notes"][0]
    assert folder.status().state == "done"


@_COMPILES
def test_a_compiler_that_fails_is_recorded_and_eager_goes_on(
    run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Engine.step

    def broken(engine: Engine, x: Any, y: Any, factor: float) -> StepResult:
        if engine.compiled:
            raise torch._dynamo.exc.TorchDynamoException("g++: no such header\nand more")
        return real(engine, x, y, factor)

    monkeypatch.setattr(Engine, "step", broken)
    monkeypatch.setattr(trial, "_MEASURE_S", 0.01)
    chosen = _hold(run, 10**12)
    assert chosen["compile"] is False
    faults = [one["fault"] for one in chosen["trial"]["candidates"] if one["compile"]]
    assert faults == ["cannot be compiled here: g++: no such header"]


def test_a_branch_is_computed_as_its_trunk_was(
    corpus: Path, tmp_path: Path, tiny_trunk: RunConfig, tiny_branch: RunConfig
) -> None:
    trunk = RunFolder.create(tmp_path, tiny_trunk)
    trunk.freeze_execution({**PLAIN, "micro_batch": 2, "processes": 1})
    branch = RunFolder.create(tmp_path, tiny_branch)
    execution = settle(branch, WISH, tiny_branch, n_tokens=10**12)
    assert execution["micro_batch"] == 2
    assert "trial" not in execution


def test_out_of_memory_halves_the_micro_batch_and_loses_nothing(
    corpus: Path, tmp_path: Path, run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = RunFolder.create(tmp_path / "whole", run)
    train_run(corpus, whole, holds=[], wish={**PLAIN, "micro_batch": 2})
    real = Engine._gradient
    failed: list[int] = []

    def small(engine: Engine, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if (engine.micro_batch or len(x)) > 2:
            real(engine, x, y)  # memory ends after gradients have begun to gather
            failed.append(engine.micro_batch)
            raise torch.OutOfMemoryError("planted")
        return real(engine, x, y)

    monkeypatch.setattr(Engine, "_gradient", small)
    folder = RunFolder.create(tmp_path / "small", run)
    train_run(corpus, folder, holds=[], wish=PLAIN)
    assert failed == [0, 4]
    execution = folder.execution()
    assert execution is not None
    assert execution["micro_batch"] == 2
    assert len(execution["notes"]) == 2
    ends = [one.final() for one in (whole, folder)]
    assert ends[0] is not None
    assert ends[1] is not None
    assert replace(ends[1], wall_s=0.0) == replace(ends[0], wall_s=0.0)


def test_out_of_memory_with_one_sequence_names_the_remedy(
    corpus: Path, tmp_path: Path, run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("planted")

    monkeypatch.setattr(Engine, "_gradient", full)
    folder = RunFolder.create(tmp_path, run)
    with pytest.raises(RunError, match=r"out of memory at step 0 with one sequence"):
        train_run(corpus, folder, holds=[], wish=PLAIN)
    assert folder.status().state == "failed"


@_COMPILES
@pytest.mark.slow
def test_compiled_code_trains_the_same_model(corpus: Path, tmp_path: Path, run: RunConfig) -> None:
    """Attention by products, fused loss: as eager float32 to rounding, and a resume bitwise."""
    losses = []
    for compiled in (False, True):
        trainer = Trainer(
            run, RunFolder.create(tmp_path / str(compiled), run), corpus,
            {**PLAIN, "compile": compiled},
        )  # fmt: skip
        for _ in range(20):
            trainer.train_step()
        if compiled:
            trainer.save(keep=False)
        for _ in range(20):
            trainer.train_step()
        losses.append(trainer.evaluate(stride=1)["prose"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    torch._dynamo.reset()
    folder = RunFolder.create(tmp_path / "True", run)
    resumed = Trainer(run, folder, corpus, {**PLAIN, "compile": True})
    resumed.restore(folder.checkpoints / "last_00000020.pt")
    for _ in range(20):
        resumed.train_step()
    assert resumed.evaluate(stride=1)["prose"] == losses[1]
