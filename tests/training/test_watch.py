"""Planted faults: a bad step is skipped and counted, a lost training is called diverged."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from isoflop.runs import RunFolder
from isoflop.specs import Optimiser, RunConfig, Schedule
from isoflop.training import train_run
from isoflop.training.engine import Engine, StepResult
from isoflop.training.trainer import Trainer
from isoflop.training.watch import BLOCK, DivergedRun, LossWatch

WISH: dict[str, Any] = {
    "threads": 1, "micro_batch": 0, "device": "cpu", "dtype": "float32", "compile": False,
    "checkpoint_seconds": 1e9,
}  # fmt: skip


@pytest.fixture
def own_run(tiny_trunk: RunConfig) -> RunConfig:
    """A cosine of 100 steps."""
    return replace(
        tiny_trunk, schedule=Schedule(kind="cosine", warmup_tokens=256, n_tokens=100 * 64)
    )


def _see(watch: LossWatch, losses: list[float], norm: float = 1.0) -> None:
    for step, loss in enumerate(losses):
        watch.see(step, torch.tensor(loss), torch.tensor(norm))


def test_nan_in_the_weights_ends_the_run_with_the_step(
    corpus: Path, tmp_path: Path, own_run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Trainer.train_step

    def poisoned(trainer: Trainer) -> None:
        if trainer.step == 40:
            with torch.no_grad():
                next(trainer.model.parameters())[0, 0] = math.nan
                trainer.model.blocks[0].attention.out[0] = math.nan
        real(trainer)

    monkeypatch.setattr(Trainer, "train_step", poisoned)
    folder = RunFolder.create(tmp_path, own_run)
    train_run(corpus, folder, holds=[], wish=WISH)
    assert folder.status().state == "diverged"
    assert "loss became nan at step 40" in folder.status().reason
    assert folder.final() is None


def test_one_bad_gradient_is_skipped_counted_and_forgotten(
    corpus: Path, tmp_path: Path, own_run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Engine._gradient
    calls: list[dict[str, torch.Tensor]] = []

    def poisoned(engine: Engine, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        loss = real(engine, x, y)
        if len(calls) == 30:
            engine.model.final_norm.grad[0] = math.inf
        calls.append({k: v.clone() for k, v in engine.model.state_dict().items()})
        return loss

    monkeypatch.setattr(Engine, "_gradient", poisoned)
    folder = RunFolder.create(tmp_path, own_run)
    train_run(corpus, folder, holds=[], wish=WISH)
    assert all(torch.equal(calls[31][name], value) for name, value in calls[30].items())
    assert not all(torch.equal(calls[32][name], value) for name, value in calls[31].items())
    final = folder.final()
    assert final is not None
    assert (final.n_skipped, final.n_spikes) == (1, 0)
    assert final.loss < math.log(300) - 1
    assert final.grad_norm is not None
    assert math.isfinite(final.grad_norm)


def test_a_huge_rate_is_called_by_its_level(
    corpus: Path, tmp_path: Path, own_run: RunConfig
) -> None:
    wild = replace(own_run, optimiser=Optimiser(lr=30.0, batch_tokens=64))
    folder = RunFolder.create(tmp_path, wild)
    train_run(corpus, folder, holds=[], wish=WISH)
    status = folder.status()
    assert status.state == "diverged"
    assert "above its lowest level" in status.reason or "in a row" in status.reason


def test_a_level_left_for_good_is_divergence_and_a_spike_is_not() -> None:
    watch = LossWatch(ceiling=math.log(300) + 1)
    _see(watch, [3.0] * BLOCK)
    _see(watch, [3.0] * (BLOCK - 1) + [30.0])  # the block's mean rises by 0.84
    assert (watch.n_spikes, watch.best) == (1, 3.0)
    _see(watch, [3.9] * BLOCK)
    with pytest.raises(DivergedRun, match=rf"of the {BLOCK} steps to step {BLOCK - 1} is 4\.1"):
        _see(watch, [4.1] * BLOCK)


def test_a_model_worse_than_knowing_nothing_has_diverged() -> None:
    """ln V + 1 is the highest level there is, ln V + 2 the end; untrained models are below."""
    watch = LossWatch(ceiling=math.log(300) + 1)
    _see(watch, [math.log(300) + 1.9] * BLOCK)
    watch = LossWatch(ceiling=math.log(300) + 1)
    with pytest.raises(DivergedRun):
        _see(watch, [math.log(300) + 2.1] * BLOCK)


def test_two_bad_steps_in_a_row_go_on_and_three_do_not() -> None:
    watch = LossWatch(ceiling=9.0)
    _see(watch, [1.0, math.nan, math.inf, 1.0, math.nan, math.nan, 1.0])
    assert (watch.n_skipped, watch.in_a_row) == (4, 0)
    with pytest.raises(DivergedRun, match=r"gradient is inf at step 0"):
        _see(watch, [1.0, 1.0, 1.0], norm=math.inf)


def test_looking_at_steps_in_groups_changes_no_verdict() -> None:
    """What a GPU does, to wait once in 32 steps."""
    losses = [3.0] * 70 + [math.nan] + [3.1] * 29 + [5.0] * 60  # 160 = 5 groups of 32
    reasons = []
    for every in (1, 32):
        watch = LossWatch(ceiling=9.0, every=every)
        with pytest.raises(DivergedRun) as error:
            _see(watch, losses)  # ends on a whole group
        reasons.append((str(error.value), watch.n_skipped))
    assert reasons[0] == reasons[1]


def test_what_it_remembers_survives_a_checkpoint_bit_for_bit() -> None:
    losses = [3.0 + 0.01 * (i % 7) for i in range(100)]
    whole, first, second = (LossWatch(ceiling=9.0) for _ in range(3))
    _see(whole, losses)
    _see(first, losses[:45])
    second.restore(json.loads(json.dumps(first.state())))
    _see(second, losses[45:])
    assert second.state() == whole.state()


def test_the_fused_optimiser_leaves_out_a_step_it_is_told_to() -> None:
    """The contract on which a GPU's skipping without a wait rests, weights, moments and count."""
    states = []
    for bad in (False, True):
        weight = torch.nn.Parameter(torch.ones(8))
        optimiser = torch.optim.AdamW([weight], lr=0.1, fused=True)
        for step in range(3):
            weight.grad = torch.full((8,), 1.0 + step)
            optimiser.step()
            if bad and step == 1:
                weight.grad = torch.full((8,), math.nan)
                optimiser.found_inf = torch.ones(())
                optimiser.step()
                optimiser.found_inf = torch.zeros(())
        states.append((weight.detach().clone(), optimiser.state_dict()["state"][0]))
    assert torch.equal(states[0][0], states[1][0])
    assert all(torch.equal(states[0][1][name], states[1][1][name]) for name in states[0][1])


def test_steps_report_their_norm_before_clipping(corpus: Path, own_run: RunConfig) -> None:
    config = replace(own_run, optimiser=replace(own_run.optimiser, grad_clip=1e-3))
    engine = Engine(config, WISH)
    x = torch.randint(0, 300, (4, 17))
    result: StepResult = engine.step(x[:, :-1], x[:, 1:], 0.0)
    torch.manual_seed(config.seed)
    twin = type(engine.model)(config.shape)
    twin(x[:, :-1], x[:, 1:]).backward()
    exact = torch.cat([p.grad.flatten() for p in twin.parameters()]).norm()
    assert float(result.norm) == pytest.approx(float(exact), rel=1e-5)
