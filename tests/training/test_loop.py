"""Training resumes bitwise, branches equal the undivided run, bad runs are said to be bad."""

import fcntl
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from isoflop._errors import InputError, RunError
from isoflop.runs import Point, RunFolder, read_runs
from isoflop.specs import Optimiser, RunConfig
from isoflop.training import train_run
from isoflop.training.__main__ import main
from isoflop.training.loop import InterruptedRun
from isoflop.training.memory import OUT_OF_MEMORY
from isoflop.training.trainer import Trainer
from isoflop.training.watch import DivergedRun

Steps = list[tuple[str, int]]

WISH: dict[str, Any] = {
    "threads": 1,
    "micro_batch": 0,
    "device": "cpu",
    "dtype": "float32",
    "compile": False,
    "checkpoint_seconds": 1e9,
}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Every optimiser step that is computed: (run, steps done before it)."""
    taken: Steps = []
    real = Trainer.train_step

    def counted(trainer: Trainer) -> None:
        taken.append((trainer.folder.run_id, trainer.step))
        real(trainer)

    monkeypatch.setattr(Trainer, "train_step", counted)
    return taken


@pytest.fixture
def own_handlers() -> Iterator[None]:
    """Gives the signal handlers back that the trainer's `main` replaces."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def _train(corpus: Path, runs: Path, trunk: RunConfig, branch: RunConfig) -> Point:
    trunk_folder, folder = RunFolder.create(runs, trunk), RunFolder.create(runs, branch)
    holds = [branch.schedule.hold_tokens]
    train_run(corpus, trunk_folder, holds=holds, wish=WISH)
    train_run(corpus, folder, holds=[], wish=WISH)
    point = folder.final()
    assert point is not None
    return replace(point, wall_s=0.0)


def test_it_learns_and_records(
    corpus: Path, tmp_path: Path, tiny_trunk: RunConfig, tiny_branch: RunConfig
) -> None:
    point = _train(corpus, tmp_path, tiny_trunk, tiny_branch)
    assert point.loss < math.log(300) - 1
    assert point.loss == pytest.approx(sum(point.loss_by_domain.values()) / 2)
    assert point.step == 60
    assert point.bpb is not None
    assert RunFolder(tmp_path / tiny_trunk.run_id).status().state == "done"


def test_a_branch_equals_the_undivided_run_bitwise(
    corpus: Path, tmp_path: Path, tiny_trunk: RunConfig, tiny_branch: RunConfig
) -> None:
    branched = _train(corpus, tmp_path / "a", tiny_trunk, tiny_branch)
    folder = RunFolder.create(tmp_path / "b", tiny_branch)
    execution = {**WISH, "device": "cpu"}
    trainer = Trainer(tiny_branch, folder, corpus, execution)
    while trainer.step < 60:
        trainer.train_step()
    losses = trainer.evaluate(stride=1)
    assert losses == branched.loss_by_domain


def test_resuming_from_any_checkpoint_is_bitwise_and_redoes_nothing(
    corpus: Path, tmp_path: Path, tiny_trunk: RunConfig, tiny_branch: RunConfig, steps: Steps
) -> None:
    whole = _train(corpus, tmp_path / "a", tiny_trunk, tiny_branch)
    trunk, branch = tiny_trunk.run_id, tiny_branch.run_id
    assert steps == [(trunk, i) for i in range(45)] + [(branch, i) for i in range(45, 60)]
    for stop in (1, 20, 44):
        runs = tmp_path / f"b{stop}"
        folder = RunFolder.create(runs, tiny_trunk)
        trainer = Trainer(tiny_trunk, folder, corpus, {**WISH, "device": "cpu"})
        while trainer.step < stop:
            trainer.train_step()
        trainer.save(keep=False)
        steps.clear()
        assert _train(corpus, runs, tiny_trunk, tiny_branch) == whole
        assert steps == [(trunk, i) for i in range(stop, 45)] + [(branch, i) for i in range(45, 60)]


def test_a_finished_run_is_not_trained_again(
    corpus: Path, tmp_path: Path, tiny_trunk: RunConfig, tiny_branch: RunConfig, steps: Steps
) -> None:
    _train(corpus, tmp_path, tiny_trunk, tiny_branch)
    steps.clear()
    _train(corpus, tmp_path, tiny_trunk, tiny_branch)
    assert steps == []


def test_micro_batches_change_the_sum_and_not_the_result(
    corpus: Path, tmp_path: Path, tiny_trunk: RunConfig
) -> None:
    losses = []
    for micro in (0, 1, 2):
        folder = RunFolder.create(tmp_path / str(micro), tiny_trunk)
        trainer = Trainer(tiny_trunk, folder, corpus, {**WISH, "micro_batch": micro})
        for _ in range(10):
            trainer.train_step()
        losses.append(trainer.evaluate(stride=4)["prose"])
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-4)


def test_a_diverged_run_is_marked(corpus: Path, tmp_path: Path, tiny_trunk: RunConfig) -> None:
    wild = replace(tiny_trunk, optimiser=Optimiser(lr=1e30, batch_tokens=64))
    folder = RunFolder.create(tmp_path, wild)
    train_run(corpus, folder, holds=[64 * 50], wish=WISH)
    status = folder.status()
    assert status.state == "diverged"
    assert "loss became" in status.reason


def test_a_diverged_run_is_not_tried_again(
    corpus: Path, tmp_path: Path, tiny_trunk: RunConfig, steps: Steps
) -> None:
    wild = replace(tiny_trunk, optimiser=Optimiser(lr=1e30, batch_tokens=64))
    folder = RunFolder.create(tmp_path, wild)
    train_run(corpus, folder, holds=[64 * 50], wish=WISH)
    before, taken = folder.status(), len(steps)
    train_run(corpus, folder, holds=[64 * 50], wish=WISH)
    assert (folder.status(), len(steps)) == (before, taken)


def test_branches_that_began_before_their_trunk_diverged_are_trained(
    corpus: Path,
    tmp_path: Path,
    tiny_trunk: RunConfig,
    tiny_branch: RunConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    late = replace(
        tiny_branch, schedule=replace(tiny_branch.schedule, n_tokens=120 * 64)
    )  # its cooldown begins at step 105
    whole = Trainer.train_step

    def breaks(trainer: Trainer) -> None:
        if trainer.config.is_trunk and trainer.step == 80:
            raise DivergedRun("planted at step 80")
        whole(trainer)

    monkeypatch.setattr(Trainer, "train_step", breaks)
    folders = [RunFolder.create(tmp_path, run) for run in (tiny_trunk, tiny_branch, late)]
    assert main([str(corpus), *(str(folder.path) for folder in folders)]) == 0
    states = [folder.status().state for folder in folders]
    assert states == ["diverged", "done", "diverged"]
    assert folders[1].final() is not None
    assert "its trunk" in folders[2].status().reason


def test_memory_that_is_short_in_several_processes_ends_with_its_own_code(
    corpus: Path, tmp_path: Path, tiny_trunk: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("planted")

    monkeypatch.setattr("isoflop.training.__main__.train_run", full)
    folder = RunFolder.create(tmp_path, tiny_trunk)
    assert main([str(corpus), str(folder.path)]) == OUT_OF_MEMORY


def test_a_branch_without_its_trunk_says_so(
    corpus: Path, tmp_path: Path, tiny_branch: RunConfig
) -> None:
    folder = RunFolder.create(tmp_path, tiny_branch)
    with pytest.raises(RunError, match="trains the trunk first"):
        train_run(corpus, folder, holds=[], wish=WISH)
    assert folder.status().state == "failed"


def test_a_corrupt_checkpoint_is_named(
    corpus: Path, tmp_path: Path, tiny_trunk: RunConfig, tiny_branch: RunConfig
) -> None:
    trunk, folder = RunFolder.create(tmp_path, tiny_trunk), RunFolder.create(tmp_path, tiny_branch)
    train_run(corpus, trunk, holds=[tiny_branch.schedule.hold_tokens], wish=WISH)
    path = next(trunk.checkpoints.glob("hold_*.pt"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match=path.name):
        train_run(corpus, folder, holds=[], wish=WISH)


def test_checkpoints_cannot_run_code(tmp_path: Path) -> None:
    from isoflop.training.checkpoint import load

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.system, ("touch " + str(tmp_path / "owned"),))

    path = tmp_path / "last_00000001.pt"
    torch.save({"step": Evil()}, path)
    with pytest.raises(RunError, match="corrupt checkpoint"):
        load(path, torch.device("cpu"))
    assert not (tmp_path / "owned").exists()


def test_a_device_that_is_not_here_is_the_reason_of_the_failure(
    corpus: Path, tmp_path: Path, tiny_trunk: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    folder = RunFolder.create(tmp_path, tiny_trunk)
    with pytest.raises(InputError, match=r"launch\.device = 'cuda'"):
        train_run(corpus, folder, holds=[640], wish={**WISH, "device": "cuda"})
    assert folder.status().state == "failed"
    assert folder.status().reason.startswith("launch.device = 'cuda'")
    folder.freeze_execution({**WISH, "device": "cuda"})
    with pytest.raises(RunError, match=r"execution\.json: device = 'cuda'"):
        train_run(corpus, folder, holds=[640], wish=WISH)


@pytest.mark.parametrize(
    ("key", "value"),
    [("threads", None), ("threads", 0), ("dtype", "float8"), ("micro_batch", 1.5), ("compile", 3)],
)
def test_a_corrupt_execution_is_named(
    corpus: Path, tmp_path: Path, tiny_trunk: RunConfig, key: str, value: Any
) -> None:
    folder = RunFolder.create(tmp_path, tiny_trunk)
    text = json.dumps({**WISH, key: value})
    (folder.path / "execution.json").write_text(text)
    with pytest.raises(RunError, match=rf"execution\.json: {key} = "):
        train_run(corpus, folder, holds=[640], wish=WISH)
    assert folder.status().state == "failed"
    assert (folder.path / "execution.json").read_text() == text


def test_a_fault_is_the_reason_of_the_failure(
    corpus: Path, tmp_path: Path, tiny_trunk: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_trainer: Trainer) -> None:
        raise MemoryError("no more")

    monkeypatch.setattr(Trainer, "train_step", broken)
    folder = RunFolder.create(tmp_path, tiny_trunk)
    with pytest.raises(MemoryError):
        train_run(corpus, folder, holds=[640], wish=WISH)
    assert folder.status().state == "failed"
    assert folder.status().reason == "MemoryError: no more"


@pytest.fixture
def job(
    tmp_path: Path, tiny_trunk: RunConfig, tiny_branch: RunConfig
) -> tuple[RunFolder, RunFolder]:
    """The folders of a trunk and its branch."""
    return RunFolder.create(tmp_path, tiny_trunk), RunFolder.create(tmp_path, tiny_branch)


def test_bad_files_end_the_process_with_two(
    corpus: Path, job: tuple[RunFolder, RunFolder], own_handlers: None
) -> None:
    words = [str(corpus), *(str(folder.path) for folder in job), "--device", "cpu"]
    (job[0].path / "metrics.jsonl").write_text("{}\n")
    assert main(words) == 2
    assert "metrics.jsonl, line 1" in job[0].status().reason
    (job[1].path / "config.json").write_text("{")
    assert main(words) == 2


def test_a_trunk_alone_has_no_end(
    corpus: Path, job: tuple[RunFolder, RunFolder], own_handlers: None
) -> None:
    assert main([str(corpus), str(job[0].path)]) == 2
    assert "Name one too" in job[0].status().reason


@pytest.mark.parametrize(("number", "at"), [(signal.SIGTERM, 20), (signal.SIGINT, 50)])
def test_a_signal_saves_and_the_next_start_goes_on(
    corpus: Path,
    tmp_path: Path,
    job: tuple[RunFolder, RunFolder],
    steps: Steps,
    monkeypatch: pytest.MonkeyPatch,
    own_handlers: None,
    number: int,
    at: int,
) -> None:
    words = [str(corpus), *(str(folder.path) for folder in job), "--device", "cpu"]
    counted = Trainer.train_step

    def signalled(trainer: Trainer) -> None:
        counted(trainer)
        if trainer.step == at:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Trainer, "train_step", signalled)
    assert main(words) == 130
    stopped = job[0] if at < 45 else job[1]
    assert stopped.status().state == "preempted"
    assert stopped.status().step == at
    assert len(steps) == at
    assert main(words) == 0
    assert [step for _, step in steps] == list(range(60))  # none lost, none twice
    final = job[1].final()
    assert final is not None
    configs = [folder.config() for folder in job]
    assert replace(final, wall_s=0.0) == _train(corpus, tmp_path / "whole", *configs)


def test_asked_again_while_it_ends_it_still_says_how_it_ended(
    corpus: Path, tmp_path: Path, job: tuple[RunFolder, RunFolder]
) -> None:
    """Slurm and the keeper both ask; Python gives the handlers back before it is gone."""
    config = job[0].config()
    schedule = replace(config.schedule, kind="cosine", n_tokens=1500 * 128)
    folder = RunFolder.create(
        tmp_path / "long",
        replace(config, schedule=schedule, data=replace(config.data, repeat=True)),
    )
    words = [sys.executable, "-m", "isoflop.training", str(corpus), str(folder.path)]
    process = subprocess.Popen([*words, "--device", "cpu"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while folder.status().step == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    while process.poll() is None:
        process.terminate()
        time.sleep(0.002)
    assert process.returncode == 130
    assert folder.status().state == "preempted"


def test_a_signal_between_two_runs_stops_the_job(
    corpus: Path,
    job: tuple[RunFolder, RunFolder],
    steps: Steps,
    monkeypatch: pytest.MonkeyPatch,
    own_handlers: None,
) -> None:
    def trained(*args: Any, **kwargs: Any) -> None:
        train_run(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("isoflop.training.__main__.train_run", trained)
    assert main([str(corpus), *(str(folder.path) for folder in job), "--device", "cpu"]) == 130
    assert job[0].status().state == "done"
    assert {run for run, _ in steps} == {job[0].run_id}


def test_a_signal_before_the_first_run_stops_the_job(
    corpus: Path, job: tuple[RunFolder, RunFolder], steps: Steps, own_handlers: None
) -> None:
    with (job[1].path / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # as a process that outlived its driver
        _later(0.3, lambda: os.kill(os.getpid(), signal.SIGTERM))
        began = time.monotonic()
        assert main([str(corpus), *(str(folder.path) for folder in job)]) == 130
    assert time.monotonic() - began > 0.25
    assert steps == []
    assert job[0].status().state == "queued"


def test_it_waits_for_the_process_that_trains_the_run(
    corpus: Path, job: tuple[RunFolder, RunFolder], steps: Steps, own_handlers: None
) -> None:
    stream = (job[0].path / "lock").open("w")
    fcntl.flock(stream, fcntl.LOCK_EX)
    held: list[int] = []

    def release() -> None:
        held.append(len(steps))
        stream.close()

    _later(0.3, release)
    assert main([str(corpus), *(str(folder.path) for folder in job), "--device", "cpu"]) == 0
    assert held == [0]
    assert len(steps) == 60


def test_an_asked_stop_is_seen_by_the_run_itself(
    corpus: Path, job: tuple[RunFolder, RunFolder], steps: Steps
) -> None:
    with pytest.raises(InterruptedRun):
        train_run(corpus, job[0], holds=[640], wish=WISH, stop_asked=[signal.SIGTERM])
    assert len(steps) == 1
    assert job[0].status().state == "preempted"


def _later(seconds: float, act: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()


def test_points_count_the_distinct_tokens(
    corpus: Path, tmp_path: Path, tiny_trunk: RunConfig
) -> None:
    """All tokens are new up to the limit, then none; a run that repeats nothing says nothing."""
    limit, steps = 5000, 200
    run = replace(
        tiny_trunk,
        schedule=replace(
            tiny_trunk.schedule, kind="cosine", n_tokens=steps * 64, decay_exponent=0.0
        ),
        data=replace(
            tiny_trunk.data,
            weights=(("prose", 1.0),),
            repeat=True,
            unique_tokens=(("prose", limit),),
        ),
        optimiser=replace(tiny_trunk.optimiser, batch_tokens=64),
    )
    fresh = replace(run, seed=run.seed + 1, data=replace(run.data, unique_tokens=()))
    for one in (run, fresh):
        train_run(corpus, RunFolder.create(tmp_path, one), holds=[], wish=WISH)
    points = RunFolder(tmp_path / run.run_id).points()
    assert points[0].n_tokens < limit < points[-1].n_tokens
    for point in points:
        assert point.n_unique_tokens == (None if point.n_tokens <= limit else limit)
    assert {point.n_unique_tokens for point in RunFolder(tmp_path / fresh.run_id).points()} == {
        None
    }
    table = read_runs(tmp_path, kind="any")
    places = zip(table["run"].tolist(), table["n_tokens"].tolist(), strict=True)
    column = dict(zip(places, table["n_unique_tokens"].tolist(), strict=True))
    assert column[run.run_id, steps * 64] == limit
    assert column[fresh.run_id, steps * 64] == steps * 64
    assert "n_unique_tokens" not in read_runs(tmp_path / fresh.run_id)
    both = read_runs(*(tmp_path / one.run_id for one in (fresh, run)))
    assert both["n_unique_tokens"].tolist() == [steps * 64, limit]
