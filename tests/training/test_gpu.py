"""On an accelerator: the same trainer, its numbers its own, its promises those of the CPU.

`make test-gpu` runs them; where there is no CUDA device they are skipped with a word.
"""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from isoflop.runs import Point, RunFolder
from isoflop.specs import RunConfig, Schedule
from isoflop.training import Engine, train_run
from isoflop.training.memory import free_memory
from isoflop.training.trainer import Trainer
from optional import absent

pytestmark = pytest.mark.gpu
SEVERAL = pytest.mark.skipif(
    torch.cuda.device_count() < 2, reason="two CUDA devices are needed: here are fewer"
)
PLAIN: dict[str, Any] = {
    "threads": 1, "micro_batch": 0, "device": "cuda", "dtype": "float32", "compile": False,
    "checkpoint_seconds": 1e9,
}  # fmt: skip
BF16 = {**PLAIN, "dtype": "bfloat16"}


@pytest.fixture(autouse=True)
def _device() -> Iterator[None]:
    if not torch.cuda.is_available():
        absent("no CUDA device is usable here")
    yield
    torch._dynamo.reset()
    free_memory(torch.device("cuda"))


@pytest.fixture
def run(tiny_trunk: RunConfig) -> RunConfig:
    """A cosine of 40 steps of 8 sequences."""
    return replace(
        tiny_trunk,
        schedule=Schedule(kind="cosine", warmup_tokens=256, n_tokens=40 * 128),
        optimiser=replace(tiny_trunk.optimiser, batch_tokens=128),
    )


def _trained(corpus: Path, folder: RunFolder, **wish: Any) -> Point:
    train_run(corpus, folder, holds=[], wish={**PLAIN, **wish})
    final = folder.final()
    assert final is not None
    return final


def _weights(engine: Engine) -> dict[str, torch.Tensor]:
    return {name: value.clone().cpu() for name, value in engine.model.state_dict().items()}


def _assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_float32_trains_what_the_cpu_trains(
    corpus: Path, tmp_path: Path, run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    ends = [
        _trained(corpus, RunFolder.create(tmp_path / device, run), device=device)
        for device in ("cpu", "cuda")
    ]
    assert ends[1].loss_by_domain == pytest.approx(dict(ends[0].loss_by_domain), rel=1e-4)
    assert ends[1].grad_norm == pytest.approx(ends[0].grad_norm, rel=1e-2)


def test_auto_is_bf16_with_weights_in_float32(corpus: Path, tmp_path: Path, run: RunConfig) -> None:
    exact = _trained(corpus, RunFolder.create(tmp_path / "float32", run))
    folder = RunFolder.create(tmp_path / "auto", run)
    final = _trained(corpus, folder, device="auto", dtype="auto")
    execution = folder.execution()
    assert execution is not None
    assert (execution["device"], execution["dtype"]) == ("cuda", "bfloat16")
    assert final.loss == pytest.approx(exact.loss, rel=0.02)  # bf16 has 8 bits
    engine = Engine(run, BF16)
    assert {parameter.dtype for parameter in engine.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("compiled", [False, True])
def test_a_resume_is_bitwise_the_same(
    corpus: Path, tmp_path: Path, run: RunConfig, compiled: bool
) -> None:
    execution = {**BF16, "compile": compiled}
    folder = RunFolder.create(tmp_path, run)
    trainer = Trainer(run, folder, corpus, dict(execution))
    for step in range(24):
        if step == 12:
            trainer.save(keep=False)
        trainer.train_step()
    whole, loss = _weights(trainer.engine), trainer.evaluate(stride=1)
    torch._dynamo.reset()
    again = Trainer(run, folder, corpus, dict(execution))
    again.restore(folder.checkpoints / "last_00000012.pt")
    for _ in range(12):
        again.train_step()
    _assert_equal(whole, _weights(again.engine))
    assert again.evaluate(stride=1) == loss


def test_compiled_code_trains_the_same_model(corpus: Path, tmp_path: Path, run: RunConfig) -> None:
    ends = [
        _trained(corpus, RunFolder.create(tmp_path / str(compiled), run), compile=compiled)
        for compiled in (False, True)
    ]
    assert ends[1].loss == pytest.approx(ends[0].loss, rel=1e-3)
    execution = RunFolder(tmp_path / "True" / run.run_id).execution()
    assert execution is not None
    assert execution["compile"] is True, execution.get("notes")


def test_real_lack_of_memory_halves_the_micro_batch(
    corpus: Path, tmp_path: Path, run: RunConfig
) -> None:
    """The allocator itself is limited to what half of the batch needs, and a little."""
    wide = replace(run, shape=replace(run.shape, width=512, ff_width=2048, depth=4, n_heads=8))
    wide = replace(wide, optimiser=replace(wide.optimiser, batch_tokens=256 * 16))
    wide = replace(wide, data=replace(wide.data, repeat=True))
    total = torch.cuda.get_device_properties(0).total_memory
    peaks = []
    for micro in (0, 128):
        free_memory(torch.device("cuda"))
        torch.cuda.reset_peak_memory_stats()
        Trainer(
            wide, RunFolder.create(tmp_path / str(micro), wide), corpus,
            {**PLAIN, "micro_batch": micro},
        ).train_step()  # fmt: skip
        peaks.append(torch.cuda.max_memory_reserved())
    assert peaks[0] > 1.2 * peaks[1]
    free_memory(torch.device("cuda"))
    folder = RunFolder.create(tmp_path / "limited", wide)
    trainer = Trainer(wide, folder, corpus, dict(PLAIN))
    torch.cuda.set_per_process_memory_fraction((peaks[0] + peaks[1]) / 2 / total)
    try:
        trainer.train_step()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert trainer.step == 1
    assert 0 < trainer.engine.micro_batch <= 128
    assert "out of memory at step 0" in trainer.execution["notes"][0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_left_out_on_the_device_is_left_out(run: RunConfig, bad: float) -> None:
    """As the host would: weights, moments and step count stay, and the next step is as if alone."""
    tokens = torch.randint(0, run.shape.vocab_size, (8, run.shape.context + 1))
    x, y = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    states = []
    for on_device in (True, False):
        engine = Engine(run, PLAIN)
        assert engine._skips_on_device
        engine._skips_on_device = on_device
        engine.step(x, y, 1.0)
        before = _weights(engine)
        hook = next(engine.model.parameters()).register_hook(lambda grad: grad * bad)
        assert not torch.isfinite(engine.step(x, y, 1.0).norm)
        hook.remove()
        _assert_equal(before, _weights(engine))
        engine.step(x, y, 1.0)
        states.append((_weights(engine), engine.optimiser.state_dict()["state"]))
    _assert_equal(states[0][0], states[1][0])
    for key, moments in states[0][1].items():
        for name, value in moments.items():
            assert torch.equal(value.cpu(), states[1][1][key][name].cpu()), (key, name)
        assert float(moments["step"]) == 2.0


def test_a_step_does_not_wait_for_the_device(run: RunConfig) -> None:
    """Batches go over pinned memory: any wait of the host is an error here."""
    engine = Engine(run, BF16)
    tokens = torch.randint(0, run.shape.vocab_size, (8, run.shape.context + 1))
    x, y = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    for _ in range(3):
        engine.step(x, y, 1.0)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = engine.step(x, y, 1.0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(result.loss)


@SEVERAL
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_devices_train_what_one_trains(
    corpus: Path, tmp_path: Path, run: RunConfig, parallel: str
) -> None:
    one = _trained(corpus, RunFolder.create(tmp_path / "one", run))
    folder = RunFolder.create(tmp_path / "two", run)
    words = [sys.executable, "-m", "isoflop.training", str(corpus), str(folder.path)]
    words += ["--device", "cuda", "--dtype", "float32", "--processes", "2", "--parallel", parallel]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    two = folder.final()
    assert two is not None
    assert two.loss_by_domain == pytest.approx(dict(one.loss_by_domain), rel=1e-4)
