"""What a study would train and what it costs, before anything starts."""

from dataclasses import dataclass, replace

from isoflop._errors import DataError
from isoflop.accounting import (
    FLOPS_PER_PARAM_TOKEN,
    MFU_PRIOR,
    Accelerator,
    RunSetting,
    train_flops,
)
from isoflop.data import read_card
from isoflop.ladders import PlannedRun, planned_runs, priced
from isoflop.ladders.design import CorpusFacts
from isoflop.ladders.estimate import own_tokens
from isoflop.ladders.profiling import profile_ladder
from isoflop.ladders.slots import slots_and_threads
from isoflop.planning.rates import PLAN_YEAR
from isoflop.specs.launch import LaunchSection
from isoflop.study.arms import arm_jobs
from isoflop.study.folder import StudyFolder
from isoflop.study.progress import Stage, silent
from isoflop.study.sweeping import read_rounds
from isoflop.study.tuning import read_tuning, tuned_ladder


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """Every run that `run` is known to train, and in words what is not known of them."""

    runs: tuple[PlannedRun, ...]
    words: tuple[str, ...] = ()


def dry_run(study: StudyFolder, *, profile: bool = False, stage: Stage = silent) -> DryRun:
    """Every run that `run` would train, before anything starts.

    Without a corpus, token budgets are not checked against it. With `profile`, twenty steps of
    every shape are timed on this machine. Of the sweeps of `[tune]` only the rounds that are known:
    at first the first one, and the pilots at the rates of [train].
    """
    launch = study.config.launch
    try:
        facts = CorpusFacts.of(read_card(study.data))
    except DataError:
        facts = CorpusFacts.unknown(study.config)
    with study.named_in_errors():
        ladder = replace(tuned_ladder(study, facts), arms=arm_jobs(study))
    _, threads = slots_and_threads(launch, ladder.pilots)
    holdout = [ladder.holdout] if ladder.holdout else []
    _, holdout_threads = slots_and_threads(launch, holdout)
    timed = None
    if profile:
        timed = profile_ladder(ladder, launch=launch, threads=threads, progress=stage)
    planned = planned_runs(
        ladder,
        threads=threads,
        holdout_threads=holdout_threads,
        launch=launch,
        profile=timed.steps if timed else None,
    )
    words = (*(timed.words if timed else ()), *_sweeps_to_come(study))
    if launch.device != "cuda" and not launch.gpus_per_job:
        return DryRun(runs=tuple(planned), words=words)
    # On accelerators the plan's hardware and MFU price every run; a branch is its cooldown only.
    own = {
        run.run_id: train_flops(run.shape, own_tokens(job, run))
        for _, job in ladder.jobs
        for run in job.runs
    }
    section = study.config.plan
    # Pilots run somewhere before the plan has chosen among all.
    named = "H100-SXM" if section.hardware == "any" else section.hardware
    accelerator = study.accelerator(named)
    runs = [
        priced(
            run,
            own[run.run_id],
            accelerator,
            section.mfu or section.step_mfu or _usual_mfu(run, accelerator, launch),
            n_devices=launch.total_processes,
        )
        for run in planned
    ]
    return DryRun(runs=tuple(runs), words=words)


def _usual_mfu(run: PlannedRun, accelerator: Accelerator, launch: LaunchSection) -> float:
    """What published runs reached on such devices."""
    setting = RunSetting(
        bf16_tflops=accelerator.bf16_tflops,
        flops_per_token=FLOPS_PER_PARAM_TOKEN * run.n_params,
        year=PLAN_YEAR,
        n_devices=launch.total_processes,
    )
    return MFU_PRIOR.median(setting)


def _sweeps_to_come(study: StudyFolder) -> tuple[str, ...]:
    """What is not priced, since it hangs on losses: further rounds of the sweeps."""
    tune = study.config.tune
    if tune is None or read_tuning(study) is not None:
        return ()
    known = 1 + len(read_rounds(study))
    listed = "the first round" if known == 1 else f"rounds 1 to {known}"
    left = max(tune.rounds - known, 0)
    more = f" Up to {left} more follow where a corner's best rate lies at an edge." if left else ""
    return (
        f"Of the sweeps {listed} only.{more} The pilots stand here at the rates of "
        "[train]; they take those of the sweeps.",
    )
