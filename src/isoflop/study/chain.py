"""The whole chain, resumable: every link looks at what is on disk and does the rest."""

import importlib.util
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from isoflop._errors import MissingExtraError, RunError, StudyError
from isoflop._types import Problem
from isoflop.data import check_corpus, read_card
from isoflop.fitting import Analysis, Forecast
from isoflop.ladders import Job, Ladder, OwnTrainer, extend_job, find_launcher, run_jobs
from isoflop.ladders.design import CorpusFacts
from isoflop.ladders.lock import exclusive
from isoflop.planning import Plan
from isoflop.runs import RunFolder
from isoflop.study.arms import Tested, compare_study_arms, proposal_outcome, train_arms
from isoflop.study.folder import StudyFolder
from isoflop.study.links import (
    actual_loss,
    fit_study,
    forecast_holdout,
    ladder_of,
    pilot_table,
    plan_or_caveat,
    prepare_data,
    report_on,
)
from isoflop.study.progress import stage_bar
from isoflop.study.tuning import tune_study

# (module, extra, what needs it): looked for before hours of work, not after them.
# The first is only for our own trainer.
_NEEDED = (("torch", "train", "training a ladder"), ("matplotlib", "plot", "the report"))
_NEEDED_FOR_DATA = tuple((name, "data", "preparing a corpus") for name in ("daft", "tokenizers"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a study came to."""

    analysis: Analysis
    forecast: Forecast | None
    actual: float | None
    plan: Plan | None
    report: Path
    n_pilots: int
    decades: float
    """log10 of the held-out run's compute over the smallest pilot's."""
    problems: tuple[Problem, ...]
    arms: dict[str, Any] | None = None
    """The comparison of the data recipes, as `ArmComparison.to_json` says it."""
    tested: Tested | None = None
    """The mixture that the arms proposed, and what its run came to."""


def run_study(study: StudyFolder, *, console: Console | None = None) -> Outcome:
    """Corpus, ladder, fits, forecast, held-out run, plan, report; goes on where it stopped.

    A [plan] that no run can meet ends in the problem `plan_impossible`, not in an error.

    Raises:
        MissingExtraError: a package that the work will need is not installed.
        InputError: the study, the corpus or a file in the folder cannot be used, or another
            process is working on the study.
        WorkerError: a training failed as often as [launch] allows.
        KeyboardInterrupt: asked to stop; everything has been saved.
    """
    _require_extras(study)
    with exclusive(study.path):
        return _run(study, console)


def extend_run(
    study: StudyFolder, run_id: str, n_tokens: int, *, console: Console | None = None
) -> Outcome:
    """Carry a finished run on to `n_tokens` from its trunk's last checkpoint before cooldown.

    The longer run is a new branch of the same trunk; it joins the study's runs, not its fit.

    Raises:
        RunError: no such branch.
        StudyError: fewer tokens than the run has seen, or more than the corpus has.
        MissingExtraError, InputError, WorkerError, KeyboardInterrupt: as `run_study`.
    """
    _require_extras(study)
    folder = RunFolder(study.runs / run_id)
    if not folder.path.exists():
        raise RunError(f"{folder.path}: no such run. `isoflop status {study.path}` lists them.")
    config = folder.config()
    if config.trunk is None:
        words = (
            "is a trunk. Name one of its branches."
            if config.is_trunk
            else "has no trunk to go on from. Only branches of a trunk can be carried on."
        )
        raise StudyError(f"--extend {run_id}: {words}")
    job = extend_job(config, n_tokens, CorpusFacts.of(read_card(study.data)))
    with exclusive(study.path):
        _train(study, [job], console, "extension")
        return _run(study, console)


def demo_line(outcome: Outcome) -> str:
    """One line of figures: the forecast of the held-out run against its outcome."""
    head = f"ok pilots={outcome.n_pilots} decades={outcome.decades:.2f}"
    forecast, actual = outcome.forecast, outcome.actual
    if forecast is None:
        return f"{head} (no held-out run)"
    loss = forecast.loss
    text = f"{head} forecast={loss.value:.4f} low={loss.low:.4f} high={loss.high:.4f}"
    if actual is None:
        return f"{text} actual=diverged"
    return (
        f"{text} actual={actual:.4f}"
        f" abs_error_pct={100 * abs(loss.value / actual - 1):.2f}"
        f" halfwidth_pct={100 * (loss.high - loss.low) / 2 / loss.value:.2f}"
        f" naive_error_pct={100 * abs(forecast.naive_loss / actual - 1):.2f}"
    )


def _require_extras(study: StudyFolder) -> None:
    there = (study.data / "card.json").exists()
    needed = _NEEDED if study.config.trainer is None else _NEEDED[1:]
    for module, extra, use in needed if there else (*needed, *_NEEDED_FOR_DATA):
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(module, extra=extra, needed_for=use)


def _run(study: StudyFolder, console: Console | None) -> Outcome:
    with stage_bar(console, "corpus") as stage:
        card = prepare_data(study, stage=stage)
        check_corpus(study.data)
    with study.named_in_errors():
        tune_study(
            study, CorpusFacts.of(card), lambda jobs, title: _train(study, jobs, console, title)
        )
    ladder = ladder_of(study, card)
    _train(study, list(ladder.pilots), console, "pilots")
    with stage_bar(console, "fits"):
        analysis = fit_study(study)
    forecast, actual = None, None
    if ladder.holdout is not None:
        forecast = forecast_holdout(study, ladder, analysis)
        _train(study, [ladder.holdout], console, "held-out run")
        actual = actual_loss(study, ladder.holdout)
    plan, analysis = plan_or_caveat(study, analysis)
    arms, tested = _arms(study, console)
    report = report_on(study, card, ladder, analysis, forecast, plan)
    outcome = _outcome(study, ladder, analysis, forecast, actual, plan, report)
    return replace(outcome, arms=arms, tested=tested)


def _arms(
    study: StudyFolder, console: Console | None
) -> tuple[dict[str, Any] | None, Tested | None]:
    """Train the arms, compare them, and test the mixture that they propose."""
    if not study.config.data.arms:
        return None, None
    train_arms(
        study,
        lambda jobs, title, corpus: _train(study, list(jobs), console, title, corpus=corpus),
    )
    with stage_bar(console, "comparing arms") as stage:
        return compare_study_arms(study, stage=stage), proposal_outcome(study)


def own_trainer(study: StudyFolder) -> OwnTrainer | None:
    """The study's own training program, if it has one."""
    section = study.config.trainer
    return None if section is None else OwnTrainer(section=section, base=study.base)


def _train(
    study: StudyFolder,
    jobs: list[Job],
    console: Console | None,
    title: str,
    *,
    corpus: Path | None = None,
) -> None:
    with stage_bar(console, title) as stage:
        run_jobs(
            jobs,
            launcher=find_launcher(study.config.launch.launcher, study.config.launch),
            corpus=corpus or study.data,
            runs=study.runs,
            launch=study.config.launch,
            progress=stage,
            evaluation=study.config.eval,
            own=own_trainer(study),
        )


def _outcome(
    study: StudyFolder,
    ladder: Ladder,
    analysis: Analysis,
    forecast: Forecast | None,
    actual: float | None,
    plan: Plan | None,
    report: Path,
) -> Outcome:
    table = pilot_table(study, ladder)
    largest = forecast.flops if forecast else float(table["flops"].max())
    problems = dict.fromkeys((*analysis.problems, *(plan.problems if plan else ())))
    if forecast is not None:
        problems |= dict.fromkeys(forecast.problems)
    return Outcome(
        analysis=analysis,
        forecast=forecast,
        actual=actual,
        plan=plan,
        report=report,
        n_pilots=len(table["loss"]),
        decades=math.log10(largest / float(table["flops"].min())),
        problems=tuple(problems),
    )
