"""The links of the chain, each on what lies in the study folder."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from isoflop import __version__
from isoflop._errors import InputError, RunError
from isoflop._types import Problem, is_share
from isoflop.accounting import ShapeRule
from isoflop.data import (
    DataCard,
    QualityTable,
    prepare_corpus,
    read_card,
    survey_quality,
)
from isoflop.fitting import Analysis, Forecast, analyse, law_card, make_forecast
from isoflop.ladders import Job, Ladder
from isoflop.ladders.design import CorpusFacts
from isoflop.planning import GOALS, LIMITS, BuildWish, Plan, plan
from isoflop.reports import Curve, Report, write_law_card, write_report
from isoflop.runs import Point, RunFolder, read_runs
from isoflop.runs.folder import read_json, write_json_atomically
from isoflop.runs.table import run_folders
from isoflop.specs import RunConfig
from isoflop.study.arms import arm_jobs, prepare_arms, proposal_outcome
from isoflop.study.caveats import holdout_caveats, with_caveats
from isoflop.study.folder import StudyFolder
from isoflop.study.progress import Stage, silent
from isoflop.study.tuning import read_tuning, regret_column, tuned_ladder


def prepare_data(study: StudyFolder, *, stage: Stage = silent) -> DataCard:
    """Prepare the study's corpus and those of its arms, or return the card of what is there.

    The first link that writes: it makes the study's folder complete.
    """
    study.keep()
    rest = 1.0 / (1 + len(study.config.data.arms))
    with study.named_in_errors():
        card = prepare_corpus(
            study.config.data,
            study.data,
            base=study.base,
            seed=study.config.seed,
            progress=lambda label, share: stage(rest * share, label),
        )
    prepare_arms(study, stage=lambda share, label: stage(rest + (1 - rest) * share, label))
    return card


def study_quality(study: StudyFolder, *, stage: Stage = silent) -> tuple[QualityTable, ...]:
    """What the documents of every domain are like before any filter; the columns stay on disk."""
    study.keep()
    with study.named_in_errors():
        return survey_quality(
            study.config.data,
            study.data,
            base=study.base,
            progress=lambda label, share: stage(share, label),
        )


def ladder_of(study: StudyFolder, card: DataCard) -> Ladder:
    """The study's ladder on its corpus, with those of its arms that are prepared."""
    with study.named_in_errors():
        ladder = tuned_ladder(study, CorpusFacts.of(card))
        return replace(ladder, arms=arm_jobs(study))


def pilot_table(study: StudyFolder, ladder: Ladder) -> dict[str, np.ndarray]:
    """Final points of the pilots, and of them alone: a fit never sees the held-out run.

    Of a tuned ladder with the column `lr_regret`, the expected excess of each run's log loss.

    Raises:
        RunError: no pilot has finished.
    """
    rows = read_runs(study.runs)
    chosen = np.isin(rows["run"], sorted(ladder.pilot_ids))
    if not chosen.any():
        raise RunError(f"{study.runs}: no pilot has finished. Run `isoflop run {study.path}`.")
    table = {name: column[chosen] for name, column in rows.items()}
    regret = regret_column(read_tuning(study), table["run"].tolist())
    return table if regret is None else {**table, "lr_regret": regret}


def base_runs(study: StudyFolder, *, kind: str = "final") -> dict[str, np.ndarray]:
    """Runs of the study's own recipe, every one in its folder that is no arm's; as `read_runs`.

    Raises:
        RunError: there are none, or a file is corrupt.
    """
    rows = read_runs(study.runs, kind=kind)
    arms = {run.run_id for _, job in arm_jobs(study) for run in job.runs}
    own = ~np.isin(rows["run"], sorted(arms))
    if not own.any():
        raise RunError(f"{study.runs}: no run has finished. Run `isoflop run {study.path}`.")
    return {name: column[own] for name, column in rows.items() if not is_share(name)}


def fit_study(study: StudyFolder) -> Analysis:
    """Fit every law to the finished pilots; write `fits/analysis.json` and the law card."""
    card = read_card(study.data)
    ladder = ladder_of(study, card)
    section = study.config.fit
    analysis = analyse(
        pilot_table(study, ladder),
        law=section.law,
        level=section.level,
        n_draws=section.n_draws,
        seed=study.config.seed,
    )
    analysis = with_caveats(study, card, ladder, analysis)
    study.fits.mkdir(exist_ok=True)
    write_json_atomically(study.fits / "analysis.json", analysis.to_json())
    write_law_card(study.law_card, law_card(analysis))
    return analysis


def forecast_holdout(study: StudyFolder, ladder: Ladder, analysis: Analysis) -> Forecast | None:
    """The forecast of the held-out run, written and hashed before that run starts.

    Once the run has started, the forecast that was written then is the only one: it is read back
    and its hash checked, whatever a later fit says. Every held-out run has its own file.

    Raises:
        RunError: the held-out run has started and no forecast was written before.
    """
    holdout = ladder.holdout
    if holdout is None:
        return None
    branch = holdout.branches[0]
    path = forecast_path(study, branch)
    begun = any((study.runs / run.run_id).exists() for run in holdout.runs)
    if (study.runs / branch.run_id).exists() or (begun and path.exists()):
        remedy = f"Delete {study.runs / branch.run_id} to forecast and train it again."
        return Forecast.from_json(read_json(path, remedy=remedy))
    flops = 6.0 * holdout.n_params * branch.n_tokens
    card = read_card(study.data)
    forecast = make_forecast(
        analysis,
        holdout.n_params,
        branch.n_tokens,
        flops,
        n_unique_tokens=branch.data.n_unique(branch.n_tokens, CorpusFacts.of(card).train_tokens),
        problems=holdout_caveats(card, ladder),
    )
    study.fits.mkdir(exist_ok=True)
    write_json_atomically(path, forecast.to_json())
    return forecast


def forecast_path(study: StudyFolder, branch: RunConfig) -> Path:
    """Where the forecast of one held-out run lies."""
    return study.fits / f"forecast-{branch.run_id}.json"


_ASIDE = (
    *LIMITS,
    *("hardware", "n_devices", "mfu", "step_mfu", "price", "sure"),
    *("inference_tokens", "inference_flop_cost", "unique_tokens"),
)
"""What [plan] says beside its goal, under the names that `plan` takes."""


def plan_study(study: StudyFolder, **wishes: Any) -> Plan:
    """Plan from the study's fit; wishes left out or None are taken from [plan]."""
    return write_plan(study, fit_study(study), **wishes)


def write_plan(study: StudyFolder, analysis: Analysis, **wishes: Any) -> Plan:
    """Plan from an analysis and write `plans/plan.json`.

    A study that names no constraint plans for ten times the compute of its largest run.
    """
    section = study.config.plan
    given: dict[str, Any] = {
        name: wishes.get(name) for name in GOALS if wishes.get(name) is not None
    }
    if not given:
        # A score is asked for on the command line only: its task belongs to it.
        own = {n: getattr(section, n) for n in GOALS if n != "score"}
        given = {name: value for name, value in own.items() if value is not None}
    if not given:
        ladder = ladder_of(study, read_card(study.data))
        jobs = [*ladder.pilots, *([ladder.holdout] if ladder.holdout else [])]
        given = {
            "flops": 10.0 * max(6.0 * j.n_params * r.n_tokens for j in jobs for r in j.branches)
        }
    wanted = {name: wishes.get(name) for name in _ASIDE}
    asked = {n: getattr(section, n) if wish is None else wish for n, wish in wanted.items()}
    anywhere = asked["hardware"] == "any"
    asked["hardware"] = study.accelerators() if anywhere else study.accelerator(asked["hardware"])
    # A share of the peak that is asked for replaces the study's, of whichever kind.
    if wishes.get("mfu") is not None or wishes.get("step_mfu") is not None:
        asked |= {name: wishes.get(name) for name in ("mfu", "step_mfu")}
    made = plan(
        wishes.get("law") or analysis.fit,
        **given,
        **{name: value for name, value in asked.items() if value is not None},
        build=wishes.get("build") or BuildWish(rule=shape_rule(study)),
        serving=wishes.get("serving"),
        task=wishes.get("task"),
        explain=bool(wishes.get("explain")),
        force=bool(wishes.get("force")),
        level=study.config.fit.level,
    )
    study.plans.mkdir(exist_ok=True)
    write_json_atomically(study.plans / "plan.json", made.to_json())
    return made


def shape_rule(study: StudyFolder) -> ShapeRule:
    """Decoders with the study's vocabulary and context, otherwise shaped as published ones."""
    return ShapeRule(vocab_size=study.config.data.n_ids, context=study.config.model.context)


def plan_or_caveat(study: StudyFolder, analysis: Analysis) -> tuple[Plan | None, Analysis]:
    """The study's plan; or None, and the analysis with `plan_impossible` among its problems.

    A wish in [plan] that no run can meet costs the plan, not the report.
    """
    try:
        return write_plan(study, analysis), analysis
    except InputError as error:
        problem = Problem(
            code="plan_impossible",
            severity="warning",
            text=f"No plan: {error}",
            remedy="Change [plan] in the study; `isoflop report` then writes the report again.",
            affects=("allocation",),
        )
        return None, replace(analysis, problems=(*analysis.problems, problem))


def actual_loss(study: StudyFolder, holdout: Job | None) -> float | None:
    """The held-out run's validation loss, if it has finished."""
    if holdout is None:
        return None
    folder = RunFolder(study.runs / holdout.branches[0].run_id)
    point = folder.final() if folder.path.exists() else None
    return point.loss if point else None


def read_arms(study: StudyFolder) -> dict[str, Any] | None:
    """The comparison of the study's arms as it was written last; None before there is one."""
    path = study.fits / "arms.json"
    if not study.config.data.arms or not path.exists():
        return None
    remedy = f"Delete it and run `isoflop compare {study.path}`."
    found: dict[str, Any] = read_json(path, remedy=remedy)
    return found


def write_study_report(study: StudyFolder) -> Path:
    """Write `report.html` from what lies in the study folder."""
    card = read_card(study.data)
    ladder = ladder_of(study, card)
    analysis = fit_study(study)
    forecast = None
    if ladder.holdout is not None:
        path = forecast_path(study, ladder.holdout.branches[0])
        if path.exists():
            remedy = "Delete it and run the study again."
            forecast = Forecast.from_json(read_json(path, remedy=remedy))
    plan_, analysis = plan_or_caveat(study, analysis)
    return report_on(study, card, ladder, analysis, forecast, plan_)


def report_on(
    study: StudyFolder,
    card: DataCard,
    ladder: Ladder,
    analysis: Analysis,
    forecast: Forecast | None,
    plan_: Plan | None,
) -> Path:
    """Write `report.html` from results at hand."""
    curves = [
        Curve(
            run=run,
            label=f"N={count:,}" if (count := _n_params(study, run)) else run,
            n_tokens=np.array([p.n_tokens for p in points], dtype=np.float64),
            loss=np.array([p.loss for p in points], dtype=np.float64),
            kind="trunk" if points and points[-1].kind == "intermediate" else "branch",
            n_params=float(count),
        )
        for run, points in _curves(study, ladder).items()
    ]
    report = Report(
        title=study.config.name,
        study=study.config,
        card=card.to_json(),
        table=pilot_table(study, ladder),
        curves=tuple(curves),
        analysis=analysis,
        forecast=forecast,
        actual=actual_loss(study, ladder.holdout),
        plan=plan_,
        arms=read_arms(study),
        proposal=None if (tested := proposal_outcome(study)) is None else tested.to_json(),
        problems=analysis.problems,
        version=__version__,
    )
    write_report(study.report, report)
    return study.report


def _curves(study: StudyFolder, ladder: Ladder) -> dict[str, list[Point]]:
    """Points of the ladder's runs and of longer branches of its trunks; no other study's."""
    jobs = [*ladder.pilots, *([ladder.holdout] if ladder.holdout else [])]
    trunks = {job.trunk.run_id for job in jobs}
    own = {
        folder.run_id: folder.points()
        for folder in run_folders(study.runs)
        if folder.run_id in trunks or folder.config().trunk in trunks
    }
    return {run: points for run, points in own.items() if points}


def _n_params(study: StudyFolder, run: str) -> int:
    from isoflop.accounting import count_params

    return count_params(RunFolder(study.runs / run).config().shape).under("active")
