"""The sweeps of `[tune]`, round after round, until every corner's best rate is interior.

`fits/sweeps.json` holds what the rounds after the first train. It is written before a round
starts, so a study that is stopped anywhere goes on with the same one.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from isoflop._errors import FitError, InputError, RunError
from isoflop.fitting import LrBatchFit, fit_lr_batch
from isoflop.ladders import Job, Ladder
from isoflop.ladders.design import CorpusFacts, design_ladder
from isoflop.ladders.rates import Rate, TunedLaw, train_rule
from isoflop.ladders.sweep_rounds import Cell, Edge, SweepRound, next_round, open_edges
from isoflop.ladders.sweeps import reachable_batches
from isoflop.laws import Estimate
from isoflop.runs import RunFolder, read_runs
from isoflop.runs.folder import read_json, write_json_atomically
from isoflop.study.folder import StudyFolder

VERSION = 1
EDGES_TOLD = 4

Train = Callable[[list[Job], str], None]
"""Trains jobs to their end under a title."""


class Swept(NamedTuple):
    """What the sweeps came to: a bowl and its law, or why there is none."""

    fitted: LrBatchFit | None
    law: TunedLaw | None
    reason: str
    rounds: int


def rounds_path(study: StudyFolder) -> Path:
    """Where the further rounds of a study's sweeps lie."""
    return study.fits / "sweeps.json"


def read_rounds(study: StudyFolder) -> tuple[SweepRound, ...]:
    """The rounds after the first; none before they are needed, or without `[tune]`.

    Raises:
        RunError: the file is corrupt.
    """
    path = rounds_path(study)
    if study.config.tune is None or not path.exists():
        return ()
    remedy = "Delete it: the rounds are made again from the losses, and finished runs are kept."
    data = read_json(path, remedy=remedy)
    try:
        if data["version"] != VERSION:
            raise InputError(f"version {data['version']!r} is not known.")
        return tuple(
            {
                int(n): tuple(Rate(float(lr), int(batch)) for lr, batch in rates)
                for n, rates in sorted(one.items(), key=lambda item: int(item[0]))
            }
            for one in data["rounds"]
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: not rounds of sweeps ({error}). {remedy}") from error


def sweep_study(study: StudyFolder, facts: CorpusFacts, train: Train) -> Swept:
    """Train the sweeps and fit their bowl; on from the edge where the best lies at one.

    At most `tune.rounds` rounds. All jobs of the rounds known are handed to `train` first, which
    leaves finished runs alone; of a later round only its own.
    """
    tune = study.config.tune
    assert tune is not None
    rounds = list(read_rounds(study))
    ladder = _ladder(study, facts, rounds)
    jobs = list(ladder.sweeps)
    while True:
        done = len(rounds) + 1
        train(jobs, "sweeps" if done == 1 else f"sweeps, round {done}")
        fitted, law, reason = _bowl(study, ladder.sweeps)
        cells = _cells(study, ladder.sweeps)
        edges = open_edges(tune, cells, law)
        if law is not None and not edges:
            return Swept(fitted, law, "", done)
        more = next_round(tune, cells, edges) if done < tune.rounds else {}
        if not more:
            return Swept(None, None, _why(edges, reason, done), done)
        rounds.append(more)
        _write(study, rounds)
        known = set(ladder.sweeps)
        ladder = _ladder(study, facts, rounds)
        jobs = [job for job in ladder.sweeps if job not in known]


def fit_sweeps(study: StudyFolder, jobs: Sequence[Job]) -> LrBatchFit:
    """The bowl of all final points of the jobs.

    Raises:
        FitError: too few of them, or no bowl.
    """
    ids = [run.run_id for job in jobs for run in job.branches]
    if all(RunFolder(study.runs / run).final() is None for run in ids):
        raise FitError("Every run of the sweeps diverged. Lower train.base_lr.")
    rows = read_runs(study.runs)
    chosen = np.isin(rows["run"], ids)
    return fit_lr_batch(
        {name: column[chosen] for name, column in rows.items()},
        level=study.config.fit.level,
        seed=study.config.seed,
    )


def _ladder(study: StudyFolder, facts: CorpusFacts, rounds: Sequence[SweepRound]) -> Ladder:
    return design_ladder(study.config, facts, None, rounds)


def _bowl(
    study: StudyFolder, sweeps: Sequence[Job]
) -> tuple[LrBatchFit | None, TunedLaw | None, str]:
    try:
        fitted = fit_sweeps(study, sweeps)
    except FitError as error:
        return None, None, str(error)
    batches = [job.trunk.optimiser.batch_tokens for job in sweeps]
    law = TunedLaw(
        lr=_log_linear(fitted.lr),
        batch_tokens=_log_linear(fitted.batch_tokens),
        curvature=tuple(map(tuple, fitted.curvature.tolist())),  # type: ignore[arg-type]
        batches=(min(batches), max(batches)),
    )
    return fitted, law, ""


def _log_linear(estimate: Estimate) -> tuple[float, float, float]:
    """(ln c, a, b) of c N^a D^b; an input that the sweep could not tell has exponent 0."""
    component = estimate.components[0]
    powers = dict(zip(component.law.inputs, component.theta[1:].tolist(), strict=True))
    return (
        float(np.log(component.theta[0])),
        powers.get("n_params", 0.0),
        powers.get("n_tokens", 0.0),
    )


def _cells(study: StudyFolder, sweeps: Sequence[Job]) -> list[Cell]:
    """What was swept at every (N, D), in the order of the sweeps."""
    config = study.config
    horizons = sorted({run.n_tokens for job in sweeps for run in job.branches})
    batches, rule = reachable_batches(config, horizons), train_rule(config)
    centers: dict[int, Rate] = {}
    losses: dict[tuple[int, int], dict[Rate, float]] = {}
    for job in sweeps:
        centers[job.n_params] = rule(job.trunk.shape, horizons)
        for run in job.branches:
            rate = Rate(run.optimiser.lr, run.optimiser.batch_tokens)
            point = RunFolder(study.runs / run.run_id).final()
            cell = losses.setdefault((job.n_params, run.n_tokens), {})
            cell[rate] = float("inf") if point is None else point.loss
    return [
        Cell(n_params=n, n_tokens=d, center=centers[n], batches=batches, losses=found)
        for (n, d), found in losses.items()
    ]


def _why(edges: Sequence[Edge], reason: str, rounds: int) -> str:
    """Which corners end at an edge, and what the bowl lacks."""
    after = f"after {rounds} round{'s' if rounds > 1 else ''}"
    if not edges:
        return f"{after} no corner ends at an edge, but {reason}"
    told = "; ".join(map(str, edges[:EDGES_TOLD]))
    more = f"; and {len(edges) - EDGES_TOLD} more" if len(edges) > EDGES_TOLD else ""
    return f"{after} the lowest loss still lies at an edge of the sweep at {told}{more}."


def _write(study: StudyFolder, rounds: Sequence[Mapping[int, Sequence[Rate]]]) -> None:
    study.fits.mkdir(exist_ok=True)
    plain: list[dict[str, Any]] = [
        {str(n): [list(rate) for rate in rates] for n, rates in one.items()} for one in rounds
    ]
    write_json_atomically(rounds_path(study), {"version": VERSION, "rounds": plain})
