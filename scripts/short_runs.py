"""Curves of many short trainings in a few processes: our trainer's parts, evaluated often.

A run folder holds two points an octave; a curve that is watched needs dozens. Here the same model,
optimiser, schedule and order of batches are stepped in a loop of their own, a whole run takes a few
seconds, and starting a process for each would take longer than that. What a run showed lies in
`root/curves/<run id>.json`, written at once: a killed study goes on with the next run.

A run may be harmed half-way: from its state there it goes on once for every harm.
"""

import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from isoflop.accounting import count_params
from isoflop.laws import LrPath
from isoflop.monitoring import MeasuredCurve
from isoflop.runs.folder import read_json, write_json_atomically
from isoflop.specs import DataSpec, RunConfig

HEALTHY = "healthy"
HARMS = ("rate", "domain", "labels", "repeat", "decay")
"""Three times the rate; one domain only; 20 % of the target tokens replaced by others; one small
shard over and over; no weight decay. From the middle of the run on."""
LABELS_REPLACED = 0.2
SHARD_SEQUENCES = 256
POINTS = 60
STRIDE = 8
EXECUTION = {"device": "cpu", "dtype": "float32", "compile": False, "micro_batch": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run, and what it is harmed by half-way."""

    config: RunConfig
    harms: tuple[str, ...] = ()


def run_all(root: Path, tasks: Sequence[Task], processes: int) -> None:
    """Train what is not there yet, in order, each process one run after the other."""
    (root / "curves").mkdir(parents=True, exist_ok=True)
    left = [task for task in tasks if not _is_there(root, task)]
    if not left:
        return
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(processes, mp_context=context) as pool:
            for _ in pool.map(_train_one, [root] * len(left), left):
                pass
    except BrokenProcessPool as error:
        raise SystemExit(
            "a process that trains was ended from outside (memory?): run the same command again, "
            "it goes on with what is left"
        ) from error


def _is_there(root: Path, task: Task) -> bool:
    """Whether a run and all that it is harmed by have been trained."""
    path = curve_path(root, task.config)
    return path.exists() and set(task.harms) <= set(read_json(path, remedy="Delete it."))


def curve_path(root: Path, config: RunConfig) -> Path:
    """Where the curves of a run lie."""
    return root / "curves" / f"{config.run_id}.json"


def read_curves_of(root: Path, config: RunConfig) -> dict[str, MeasuredCurve]:
    """The healthy curve of a run and its harmed ones, by name."""
    data = read_json(curve_path(root, config), remedy="Delete it: the run is trained again.")
    return {name: _curve(config, points) for name, points in data.items()}


def seconds_of(root: Path, config: RunConfig) -> float:
    """What a run and its harmed ends took."""
    return float(read_json(curve_path(root, config), remedy="Delete it.")[HEALTHY]["seconds"])


def curve_table(
    root: Path, configs: Sequence[RunConfig], *, every: int = 1
) -> dict[str, np.ndarray]:
    """The healthy curves as `fit_curves` takes them, counted back from their ends by `every`."""
    rows = [row for config in configs for row in _rows(root, config, every)]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def lr_path(config: RunConfig) -> LrPath:
    """The planned learning rate of a run."""
    return LrPath.of(config.schedule, config.optimiser.lr, config.n_tokens)


def n_params(config: RunConfig) -> float:
    """Size of a run [parameters]."""
    return float(count_params(config.shape).under("active"))


def _rows(root: Path, config: RunConfig, every: int) -> Iterator[dict[str, Any]]:
    curve, path = read_curves_of(root, config)[HEALTHY], lr_path(config)
    same = {"run": config.run_id, "trunk": config.run_id, "n_params": n_params(config)}
    for at, lr in zip(path.n_tokens.tolist(), path.lr.tolist(), strict=True):
        yield {**same, "kind": "schedule", "n_tokens": at, "lr": lr, "loss": np.nan}
    last = curve.n_tokens.size - 1
    for i, (at, loss) in enumerate(zip(curve.n_tokens.tolist(), curve.loss.tolist(), strict=True)):
        if (last - i) % every:
            continue
        kind = "final" if i == last else "intermediate"
        rate = float(path.rate(np.array([at]))[0])
        yield {**same, "kind": kind, "n_tokens": at, "lr": rate, "loss": loss}


def _curve(config: RunConfig, points: dict[str, Any]) -> MeasuredCurve:
    tokens = np.array(points["n_tokens"], dtype=np.float64)
    nan = np.full(tokens.size, np.nan)
    domains = {name: np.array(values) for name, values in points["by_domain"].items()}
    return MeasuredCurve(
        run=config.run_id,
        n_tokens=tokens,
        loss=np.mean(list(domains.values()), axis=0),
        lr=nan,  # what was logged would give the tripled rate away
        wall_s=nan,
        by_domain=domains,
        state="done",
    )


def _train_one(root: Path, task: Task) -> None:
    import time

    import torch

    torch.set_num_threads(1)
    began = time.process_time()
    run = _Run(root / "data", task.config)
    half = run.n_steps // 2
    run.go_on(half)
    saved = run.saved() if task.harms else None
    run.go_on(run.n_steps)
    found = {HEALTHY: run.points}
    for harm in task.harms:
        assert saved is not None
        run.take_up(saved)
        run.harm = harm
        run.go_on(run.n_steps)
        found[harm] = run.points
    found[HEALTHY]["seconds"] = time.process_time() - began
    write_json_atomically(curve_path(root, task.config), found)


class _Run:
    """A training under way, in memory."""

    def __init__(self, corpus: Path, config: RunConfig) -> None:
        from isoflop.training import Batches, Engine, ValidationSet

        self.config, self.harm = config, HEALTHY
        self.engine = Engine(config, EXECUTION)
        names, context = [name for name, _ in config.data.weights], config.shape.context
        self.batches = Batches(corpus, config.data, context=context, seed=config.seed)
        self.validation = ValidationSet.open(corpus, names, context=context)
        self.other = {
            "domain": Batches(corpus, _one_domain(config), context=context, seed=config.seed),
            "repeat": Batches(corpus, _one_shard(config), context=context, seed=config.seed),
        }
        self.n_steps = config.n_tokens // config.optimiser.batch_tokens
        self.looks = set(np.unique(np.linspace(0, self.n_steps, POINTS + 1).round().astype(int)))
        self.step = 0
        self.points: dict[str, Any] = {"n_tokens": [], "by_domain": {name: [] for name in names}}

    def saved(self) -> dict[str, Any]:
        """A copy of all that the rest depends on."""
        import copy

        state = copy.deepcopy(self.engine.state())
        return {"state": state, "step": self.step, "points": json.dumps(self.points)}

    def take_up(self, saved: dict[str, Any]) -> None:
        """Go back to a copy."""
        import copy

        self.engine.load(*copy.deepcopy(saved["state"]))
        self.step, self.points = saved["step"], json.loads(saved["points"])

    def go_on(self, to: int) -> None:
        """Step, evaluating at every look."""
        from isoflop.training.evaluate import validation_losses

        batch, schedule = self.config.optimiser.batch_tokens, self.config.schedule
        size = batch // self.config.shape.context
        decays = [group["weight_decay"] for group in self.engine.optimiser.param_groups]
        if self.harm == "decay":
            for group in self.engine.optimiser.param_groups:
                group["weight_decay"] = 0.0
        while self.step < to:
            at = self.step * batch
            factor = schedule.factor(at, at + batch) * (3.0 if self.harm == "rate" else 1.0)
            x, y = self.other.get(self.harm, self.batches).at(self.step * size, size)
            self.engine.step(x, self._targets(y), factor)
            self.step += 1
            if self.step in self.looks:
                self.points["n_tokens"].append(self.step * batch)
                losses = validation_losses(self.engine, self.validation, stride=STRIDE)
                for name, loss in losses.items():
                    self.points["by_domain"][name].append(loss)
        for group, decay in zip(self.engine.optimiser.param_groups, decays, strict=True):
            group["weight_decay"] = decay

    def _targets(self, y: Any) -> Any:
        if self.harm != "labels":
            return y
        import torch

        generator = torch.Generator().manual_seed(self.config.seed * 100_000 + self.step)
        swap = torch.rand(y.shape, generator=generator) < LABELS_REPLACED
        others = torch.randint(0, self.config.shape.vocab_size, y.shape, generator=generator)
        return torch.where(swap, others, y)


def _one_domain(config: RunConfig) -> DataSpec:
    """Text of the last domain only."""
    (*rest, (last, _)) = config.data.weights
    return replace(config.data, weights=(*((name, 0.0) for name, _ in rest), (last, 1.0)))


def _one_shard(config: RunConfig) -> DataSpec:
    """The first few sequences of every domain, over and over."""
    limit = SHARD_SEQUENCES * config.shape.context + 1
    limits = tuple((name, limit) for name, _ in config.data.weights)
    return replace(config.data, unique_tokens=limits, repeat=True)
