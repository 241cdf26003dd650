"""`[tune]`: sweeps at the corners -> the ladder's rates -> what they may still cost.

`fits/tuning.json` is written once the sweeps are fitted: the pilots' ids depend on its law, so it
is never made again. The bracket of the largest pilot then adds the regret of every run.
`sweeping` makes the sweeps.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from isoflop._errors import FitError, InputError, RunError
from isoflop._types import Problem
from isoflop.fitting import LrBatchFit, expected_regret
from isoflop.ladders import Job, Ladder
from isoflop.ladders.design import CorpusFacts, design_ladder
from isoflop.ladders.rates import TunedLaw
from isoflop.runs import RunFolder
from isoflop.runs.folder import read_json, write_json_atomically
from isoflop.specs import RunConfig
from isoflop.study.folder import StudyFolder
from isoflop.study.sweeping import Swept, Train, fit_sweeps, read_rounds, sweep_study

VERSION = 1
WORTH_TELLING = 0.003
"""Expected regret of a run, as a share of its loss, from which on it is a warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What the sweeps came to; `law` is None where the best stayed at an edge, or was no bowl."""

    law: TunedLaw | None
    reason: str
    """Why there is no law."""
    summary: dict[str, Any]
    """Exponents with intervals, for the reader."""
    regret: dict[str, float] | None = None
    """Expected excess of ln loss by run id; None before the bracket."""
    bracket: tuple[tuple[float, float], ...] = ()
    """(lr, loss) of the largest pilot's shortest branch; a run that diverged is not in it."""


def tuning_path(study: StudyFolder) -> Path:
    """Where the tuning of a study lies."""
    return study.fits / "tuning.json"


def read_tuning(study: StudyFolder) -> Tuning | None:
    """The study's tuning; None before its sweeps are fitted, or without `[tune]`.

    Raises:
        RunError: the file is corrupt.
    """
    path = tuning_path(study)
    if study.config.tune is None or not path.exists():
        return None
    remedy = "Delete it and the runs of the ladder: the sweeps are kept and fitted again."
    data = read_json(path, remedy=remedy)
    try:
        if data["version"] != VERSION:
            raise InputError(f"version {data['version']!r} is not known.")
        return Tuning(
            law=None if data["law"] is None else TunedLaw.from_json(data["law"]),
            reason=str(data["reason"]),
            summary=dict(data["summary"]),
            regret=None
            if data["regret"] is None
            else {str(run): float(value) for run, value in data["regret"].items()},
            bracket=tuple((float(lr), float(loss)) for lr, loss in data["bracket"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: not a tuning ({error}). {remedy}") from error


def tuned_ladder(study: StudyFolder, facts: CorpusFacts) -> Ladder:
    """The study's ladder, at the rates of its tuning once there is one."""
    tuning = read_tuning(study)
    law = None if tuning is None else tuning.law
    ladder = design_ladder(study.config, facts, law, read_rounds(study))
    if tuning is not None and law is None:  # without a law there is nothing to bracket
        return replace(ladder, bracket=())
    return ladder


def tune_study(study: StudyFolder, facts: CorpusFacts, train: Train) -> None:
    """Train and fit the sweeps, then the bracket; each only if it has not been done."""
    if study.config.tune is None:
        return
    tuning = read_tuning(study)
    if tuning is None:
        tuning = _from_sweeps(sweep_study(study, facts, train))
        _write(study, tuning)
    if tuning.regret is None and tuning.law is not None:
        ladder = tuned_ladder(study, facts)
        train(list(ladder.bracket), "bracket")
        _write(study, _with_regret(study, ladder, tuning))


def tuning_problems(study: StudyFolder, ladder: Ladder) -> tuple[Problem, ...]:
    """`lr_regret` and `tuning_failed`, once a study has been tuned."""
    tuning = read_tuning(study)
    if tuning is None:
        return ()
    if tuning.law is None:
        return (
            Problem(
                code="tuning_failed",
                severity="warning",
                text=f"The sweeps gave no law, and all rungs keep the rates of [train]: "
                f"{tuning.reason}",
                remedy="Raise tune.rounds, or move train.base_lr towards the best of the sweeps, "
                "and delete fits/tuning.json: finished runs are kept.",
            ),
        )
    known = tuning.regret or {}
    most = max((known.get(run, 0.0) for run in ladder.pilot_ids), default=0.0)
    losses = [loss for _, loss in sorted(tuning.bracket)]
    open_ = len(losses) == 3 and losses[1] > min(losses)
    told = "" if not open_ else f" The largest pilot is better at {_better(tuning)}."
    return (
        Problem(
            code="lr_regret",
            severity="warning" if most > WORTH_TELLING else "note",
            text=f"The rates of the rungs are expected to cost up to {100 * most:.2f} % of the "
            f"loss; it is taken off, and what it may be beside is in the intervals.{told}",
            remedy="Raise tune.max_share, so that the sweeps reach larger corners.",
        ),
    )


def _better(tuning: Tuning) -> str:
    lr, _ = min(tuning.bracket, key=lambda pair: pair[1])
    return f"lr = {lr:.3g}"


def regret_column(tuning: Tuning | None, runs: Sequence[str]) -> np.ndarray | None:
    """`lr_regret` of the runs named; None where nothing was tuned."""
    if tuning is None or tuning.regret is None:
        return None
    return np.array([tuning.regret.get(run, 0.0) for run in runs])


def _from_sweeps(swept: Swept) -> Tuning:
    if swept.fitted is None:
        return Tuning(law=None, reason=swept.reason, summary={"rounds": swept.rounds}, regret={})
    summary = {**_summary(swept.fitted), "rounds": swept.rounds}
    return Tuning(law=swept.law, reason="", summary=summary)


def _summary(fitted: LrBatchFit) -> dict[str, Any]:
    """Exponents with their intervals, what was swept, and its problems."""
    found: dict[str, Any] = {
        "n_runs": fitted.n_runs,
        "n_cells": fitted.n_cells,
        "left_out": fitted.left_out,
        "window": fitted.window,
        "problems": [asdict(problem) for problem in fitted.problems],
    }
    for name, estimate in (("lr", fitted.lr), ("batch_tokens", fitted.batch_tokens)):
        component, level = estimate.components[0], estimate.level
        low, high = np.quantile(component.draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
        found[name] = {
            param: {"value": value, "low": bottom, "high": top, "level": level}
            for param, value, bottom, top in zip(
                component.law.names, component.theta.tolist(), low.tolist(), high.tolist(),
                strict=True,
            )
        }  # fmt: skip
    return found


def _with_regret(study: StudyFolder, ladder: Ladder, tuning: Tuning) -> Tuning:
    """Fit the sweeps and the bracket together; expected regret of every pilot at its rate."""
    bracket = _bracket_losses(study, ladder.bracket)
    try:
        fitted = fit_sweeps(study, (*ladder.sweeps, *ladder.bracket))
    except FitError:
        fitted = fit_sweeps(study, ladder.sweeps)  # it was a bowl without the bracket
    jobs = [*ladder.pilots, *([ladder.holdout] if ladder.holdout else [])]
    runs = [run for job in jobs for run in job.branches]
    regret = expected_regret(
        fitted,
        n_params=[job.n_params for job in jobs for _ in job.branches],
        n_tokens=[run.n_tokens for run in runs],
        lr=[run.optimiser.lr for run in runs],
        batch_tokens=[run.optimiser.batch_tokens for run in runs],
    )
    known = dict(zip((run.run_id for run in runs), regret.tolist(), strict=True))
    own = dict(bracket).get(ladder.bracket[0].trunk.optimiser.lr)
    if own is not None:
        # What was measured at the largest pilot outdoes what the law expects of it.
        missed = float(np.log(own / min(loss for _, loss in bracket)))
        top = ladder.bracket[0].trunk.shape
        for run in runs:
            if run.shape == top:
                known[run.run_id] = max(known[run.run_id], missed)
    summary = {**tuning.summary, **_summary(fitted)}
    return replace(tuning, regret=known, bracket=bracket, summary=summary)


def _bracket_losses(study: StudyFolder, jobs: Sequence[Job]) -> tuple[tuple[float, float], ...]:
    found = []
    for job in jobs:
        point = RunFolder(study.runs / _shortest(job).run_id).final()
        if point is not None:
            found.append((job.trunk.optimiser.lr, point.loss))
    return tuple(sorted(found))


def _shortest(job: Job) -> RunConfig:
    return min(job.branches, key=lambda run: run.n_tokens)


def _write(study: StudyFolder, tuning: Tuning) -> None:
    study.fits.mkdir(exist_ok=True)
    data = {**asdict(tuning), "version": VERSION}
    write_json_atomically(tuning_path(study), data)
