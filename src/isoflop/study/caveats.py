"""What a study knows of its runs that a table of losses cannot show."""

from dataclasses import replace

from isoflop._types import Problem
from isoflop.data import DataCard, corpus_problems
from isoflop.fitting import Analysis
from isoflop.ladders import Job, Ladder
from isoflop.runs import RunFolder
from isoflop.study.curves import collapse_caveats
from isoflop.study.folder import StudyFolder
from isoflop.study.tuning import tuning_problems


def with_caveats(
    study: StudyFolder, card: DataCard, ladder: Ladder, analysis: Analysis
) -> Analysis:
    """The analysis with what the runs themselves say among its problems.

    `diverged_runs`, `repeated_data`, `rung_off_collapse`, `lr_regret`, `tuning_failed` and
    `filtered_domain`.
    """
    found = (
        *_diverged(study, ladder),
        *_repeated(card, ladder.pilots),
        *collapse_caveats(study, ladder),
        *tuning_problems(study, ladder),
        *corpus_problems(card),
    )
    return replace(analysis, problems=tuple(dict.fromkeys((*analysis.problems, *found))))


def holdout_caveats(card: DataCard, ladder: Ladder) -> tuple[Problem, ...]:
    """What sets the held-out run apart from the pilots: another shape, tokens seen twice."""
    if ladder.holdout is None:
        return ()
    shape = ladder.holdout.trunk.shape
    found = list(_repeated(card, (ladder.holdout,)))
    for name, key in (("depth", "depth"), ("n_heads", "heads")):
        seen = sorted({getattr(job.trunk.shape, name) for job in ladder.pilots})
        if getattr(shape, name) not in seen:
            found.append(
                Problem(
                    code="shape_confounded",
                    severity="warning",
                    text=f"The held-out run has {name} {getattr(shape, name)}, the pilots have "
                    f"{', '.join(map(str, seen))}: not size alone moves its loss.",
                    remedy=f"Leave holdout.{key} out, or vary it over the ladder.",
                    affects=("forecast",),
                )
            )
    return tuple(found)


def _diverged(study: StudyFolder, ladder: Ladder) -> tuple[Problem, ...]:
    lost = []
    for job in ladder.pilots:
        states = {run.run_id: _state(study, run.run_id) for run in job.runs}
        broken = states[job.trunk.run_id] == "diverged"
        lost += [
            run.run_id
            for run in job.branches
            if states[run.run_id] == "diverged" or (broken and states[run.run_id] != "done")
        ]
    if not lost:
        return ()
    return (
        Problem(
            code="diverged_runs",
            severity="warning",
            text=f"{len(lost)} of {len(ladder.pilot_ids)} pilots diverged and are not in the fit: "
            f"{', '.join(lost)}.",
            remedy="Lower train.base_lr: runs beside them may be mistuned too.",
        ),
    )


def _state(study: StudyFolder, run_id: str) -> str:
    folder = RunFolder(study.runs / run_id)
    return folder.status().state if folder.path.exists() else "queued"


def _repeated(card: DataCard, jobs: tuple[Job, ...]) -> tuple[Problem, ...]:
    """`repeated_data` where a run reads some domain more than once.

    Source: Muennighoff et al. 2023, arXiv:2305.16264: up to about four epochs are nearly as good
    as new tokens, more are not.
    """
    tokens = {domain.name: domain.train_tokens for domain in card.domains}
    epochs = max(
        share * run.n_tokens / max(run.data.available(tokens)[name], 1)
        for job in jobs
        for run in job.branches
        for name, share in run.data.weights
    )
    if epochs <= 1:
        return ()
    return (
        Problem(
            code="repeated_data",
            severity="warning" if epochs > 4 else "note",
            text=f"Some domain's tokens were seen up to {epochs:.1f} times. Only the law "
            "`repeated` counts that, and over all domains at once.",
            remedy="Add documents, train on fewer tokens, or see which law the fit has chosen.",
        ),
    )
