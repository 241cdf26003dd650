"""The two steps behind `--score --task`: a law of loss to plan by, a law of score on that loss."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from isoflop._errors import InputError
from isoflop.cli.own_law import is_own, law_named, own_function

if TYPE_CHECKING:
    from isoflop._types import Problem, Table
    from isoflop.laws import Estimate, Published


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSteps:
    """What `plan` and `loss_for_score` take."""

    first: "Estimate"
    """Predicts the loss from size and tokens."""
    second: "Estimate"
    """Predicts accuracy or error from that loss."""
    problems: "tuple[Problem, ...]" = ()
    """Of the pair; each step has its own besides."""


def refuse_half(score: float | None, task: str | None) -> None:
    """Refuse a score without a task, or the reverse.

    Raises:
        InputError: one is given without the other.
    """
    if (score is None) != (task is None):
        raise InputError("--score and --task belong together: --score 0.7 --task NAME.")


def task_steps(source: Path | None, law: str | None, task: str) -> TaskSteps:
    """Both steps of a task: fitted to runs that have it, or with published constants of error.

    Args:
        source: a CSV of runs or a study with `bpb_<task>` and `acc_<task>`; for published
            constants, whatever gives a law of loss: a study, a CSV of runs, a law card.
        law: published constants of loss, or FILE.py:FUNCTION to fit in the first step.
        task: a task of the runs, or the name of published constants such as gadre_error_c4_17.

    Raises:
        InputError: no runs with that task and no constants of that name; constants and a source.
    """
    published = _published_scores()
    if law is not None and source is not None and not is_own(law):
        raise InputError(f"give a source or --law, but got {source} and --law {law}. Drop one.")
    if task in published:
        return _with_constants(source, law, published[task])
    if source is None or source.suffix == ".json":
        raise InputError(
            f"--task {task} needs a CSV of runs with the columns bpb_{task} and acc_{task}, or one "
            f"of the published {', '.join(published)}. Name one."
        )
    from isoflop.fitting import fit_task

    made = fit_task(_task_table(source, task), task, law="chinchilla" if law is None
                    else law_named(law))  # fmt: skip
    return TaskSteps(first=made.first, second=made.second)


def _published_scores() -> "dict[str, Published]":
    from isoflop.laws import PUBLISHED

    return {one.name: one for one in PUBLISHED if one.estimate.inputs == ("loss",)}


def _task_table(source: Path, task: str) -> "Table":
    """The runs that have the task; our own records call its bits per byte task_loss_<task>."""
    import numpy as np

    from isoflop.cli.verbs import runs_of

    table = dict(runs_of(source, "final"))
    own, loss = f"task_loss_{task}", f"bpb_{task}"
    if loss not in table and own in table:
        table[loss] = table[own]
    names = [name for name in (loss, f"acc_{task}") if name in table]
    known = np.all([np.isfinite(np.asarray(table[name], float)) for name in names], axis=0)
    return {name: np.asarray(column)[known] for name, column in table.items()} if names else table


def _with_constants(source: Path | None, law: str | None, second: "Published") -> TaskSteps:
    first = _law_of_loss(source, law)
    return TaskSteps(
        first=first,
        second=second.estimate,
        problems=() if _same_release(law, second.name) else (_other(first, second),),
    )


def _law_of_loss(source: Path | None, law: str | None) -> "Estimate":
    if source is None:
        if law is None or is_own(law):
            raise InputError("name what gives the law of loss: a source, or --law NAME.")
        from isoflop.laws import find_published

        return find_published(law).estimate
    if source.suffix == ".json":
        from isoflop.reports import read_law_card

        return read_law_card(source, law=None if law is None else own_function(law)).estimate
    from isoflop.cli.verbs import analysis_of, is_table

    if is_table(source):
        from isoflop.fitting import fit
        from isoflop.runs import read_runs

        return fit(read_runs(source), law="auto" if law is None else law_named(law)).estimate
    return analysis_of(source, [] if law is None else [law]).fit.estimate


def _same_release(law: str | None, task: str) -> bool:
    """Whether both are Gadre's, of models trained on the same data: gadre_c4, gadre_error_c4_17."""
    data = task.removeprefix("gadre_error_").rpartition("_")[0]
    return law == f"gadre_{data}"


def _other(first: "Estimate", second: "Published") -> "Problem":
    from isoflop._types import Problem

    return Problem(
        code="other_evaluation",
        severity="warning",
        text=f"The law of loss ({first.source or 'not named'}) and that of the score "
        f"({second.source}) must be of the same evaluation text and models of the same data; "
        f"here it is not known that they are. {' '.join(second.caveats)}",
        remedy="Measure the loss on that text, or fit both steps to runs of your own (--task).",
    )
